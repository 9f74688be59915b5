"""What a run recorded of each measure: paths of single chains, how often each value occurred, and the mean so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.plotting.marks import COLOURS, GREY, band, colour, guide, points
from pyrank.plotting.paper import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

PATHS = len(COLOURS)
"""Chains that are drawn, each in a colour of its own."""

POINTS = 500
"""Of a path: more would stand closer than a line is wide."""

BINS = 30

STEPS = (1, 2, 2.5, 5, 10)
"""Between ticks, up to a power of ten."""

SAME = 1e-12
"""Relative spread of values that are one but for rounding."""

SETTLED = 0.1
"""Part of the record after which the whole band of the mean is in view."""


@dataclass(frozen=True)
class Record:
    """What is known of one measure.

    Attributes
    ----------
    name, value
        Written above its axes.
    layers, paths
        Where, shape (samples,), and what each chain was there, (chains, samples).
    values
        Single values, of any shape, of all chains; None where ``paths`` are all that was kept, the means of batches.
    counts
        For ranks: how often 0, 1, ... occurred; otherwise None.
    ends, mean, low, high
        Layers, the mean over all layers up to each of them, and its interval: all of shape (ends,).
    """

    name: str
    value: str
    layers: NDArray[np.int64]
    paths: Floats
    values: Floats | None
    counts: NDArray[np.int64] | None
    ends: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats


def records(measures: Sequence[Record], *, title: str, caption: str) -> Figure:
    """Draw a row for each measure: paths of chains, the histogram along the same axis, and the running mean.

    Parameters
    ----------
    measures
        At least one.
    title, caption
        As of a `sheet`; what the axes show is added to the caption.
    """
    from matplotlib.ticker import MaxNLocator

    size = (11, 0.6 + 2.1 * len(measures))
    caption = f"{caption} {_legend(measures)}"
    figure, axes = sheet(
        title=title, caption=caption, rows=len(measures), columns=3, size=size, width_ratios=(4, 1.3, 3)
    )
    for row, measure in enumerate(measures):
        path, histogram, mean = axes[3 * row : 3 * row + 3]
        path.set_title(f"{measure.name}: {measure.value}", loc="left", fontsize=10)
        _draw_paths(path, measure)
        histogram.sharey(path)
        histogram.tick_params(labelleft=False)
        _draw_histogram(histogram, measure)
        _draw_mean(mean, measure)
        for each in (path, mean):
            each.xaxis.set_major_locator(MaxNLocator("auto", steps=STEPS, integer=True))
            each.ticklabel_format(axis="y", useOffset=False)
        path.yaxis.set_major_locator(MaxNLocator("auto", steps=STEPS, integer=measure.counts is not None))
    for each, label in zip(axes[-3:], ("layer", "share", "layer"), strict=True):
        each.set_xlabel(label)
    return figure


def _legend(measures: Sequence[Record]) -> str:
    chains = max(len(measure.paths) for measure in measures)
    drawn = f"chains 0 to {PATHS - 1} of {chains:,}" if chains > PATHS else "each chain" if chains > 1 else "the chain"
    if any(measure.values is None for measure in measures):
        drawn += " by the means of batches, as there is no trace"
    return (f"Left: {drawn}. Middle: how often each value occurred in all chains. Right: the mean so far, "
            "its 95 % interval, and the last mean.")  # fmt: skip


def _draw_paths(axes: Axes, measure: Record) -> None:
    paths = _drawable(measure.paths[:PATHS])
    if np.isnan(paths).all():
        _say(axes, "no finite value")
        return
    step = -(-len(measure.layers) // POINTS)
    style = "o" if len(measure.layers) == 1 else "-"
    for number, path in enumerate(paths):
        axes.plot(measure.layers[::step], path[::step], style, color=colour(number), linewidth=0.8, alpha=0.8)


def _draw_histogram(axes: Axes, measure: Record) -> None:
    if measure.counts is not None and measure.counts.any():
        _bars(axes, np.flatnonzero(measure.counts), measure.counts[measure.counts > 0], 0.9)
        return
    if measure.values is None:
        _say(axes, "needs a trace")
        return
    values = measure.values[np.isfinite(measure.values)]
    if not values.size:
        _say(axes, "no finite value")
    elif np.ptp(values) <= SAME * np.abs(values).max():
        axes.hlines(values[:1], 0, 1, color=GREY, linewidth=6)
    else:
        counts, edges = np.histogram(values, BINS)
        _bars(axes, (edges[:-1] + edges[1:]) / 2, counts, edges[1] - edges[0])


def _bars(axes: Axes, places: ArrayLike, counts: NDArray[np.int64], width: float) -> None:
    axes.barh(places, counts / counts.sum(), width, color=GREY)


def _draw_mean(axes: Axes, measure: Record) -> None:
    mean, low, high = map(_drawable, (measure.mean, measure.low, measure.high))
    if np.isnan(mean).all():
        _say(axes, "no finite value")
        return
    if len(mean) == 1:
        points(axes, measure.ends, mean, mean - low, 0)
        return
    band(axes, measure.ends, mean, low, high, 0)
    guide(axes, measure.ends[[0, -1]], mean[[-1, -1]])
    settled = measure.ends >= measure.ends[0] + SETTLED * (measure.ends[-1] - measure.ends[0])
    inside = np.concatenate([mean, low[settled], high[settled]])
    bottom, top = np.nanmin(inside), np.nanmax(inside)
    if top > bottom:
        axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))


def _say(axes: Axes, remark: str) -> None:
    """Write a remark where there is nothing to draw."""
    axes.text(0.5, 0.5, remark, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    axes.grid(visible=False)


def _drawable(values: Floats) -> Floats:
    """Return values with NaN, which leaves a gap, in the place of infinities."""
    return np.where(np.isfinite(values), values, np.nan)
