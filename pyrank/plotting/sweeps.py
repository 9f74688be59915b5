"""A first look at a sweep: one number over one axis, colours for a second one, and panels for the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyrank.plotting.marks import beside, points
from pyrank.plotting.paper import legend, log_ticks, sheet, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADE = 4.0
"""Ratio of the largest to the smallest value from which on an axis is logarithmic."""

MOST_TICKS = 8
"""Values on a logarithmic axis that are written one by one."""

COLUMNS = 3


@dataclass(frozen=True)
class Series:
    """Points of one colour: values on the axis, numbers, and half-widths of their intervals, NaN where unknown."""

    label: str
    x: Sequence[Any]
    y: Sequence[float]
    error: Sequence[float]


def sweep(panels: Mapping[str, Sequence[Series]], *, x: str, y: str, title: str, caption: str) -> Figure:
    """Draw a panel for each title, with all of its series.

    An axis is logarithmic if its values are positive and a factor of four apart; values that are not all finite numbers
    stand in their order. Series are drawn side by side.

    Parameters
    ----------
    panels
        At least one.
    x, y
        What is written at the axes.
    title, caption
        As of a `sheet`.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = sheet(
        title=title, caption=caption, rows=rows, columns=columns, size=(max(6.5, 4.2 * columns), 0.8 + 3.6 * rows),
        sharex=True, sharey=True,
    )  # fmt: skip
    everything = [series for some in panels.values() for series in some]
    places = _places(everything)
    span = [places.get(value, value) for series in everything for value in series.x]
    log = not places and _spread(span)
    for each, (name, some) in zip(axes, panels.items(), strict=False):
        each.set_title(name, loc="left", fontsize=10)
        for number, series in enumerate(some):
            at = beside([places.get(value, value) for value in series.x], span, number, len(some), log=log)
            points(each, at, series.y, series.error, number, series.label)
    for each in axes[len(panels) :]:
        each.set_visible(False)
    _scale(axes[0], everything, places, log)
    for each in axes[-columns:]:
        each.set_xlabel(x)
    for each in axes[::columns]:
        each.set_ylabel(y)
    if any(series.label for series in everything):
        legend(figure)
    return figure


def _places(series: Sequence[Series]) -> dict[Any, int]:
    """Return where values stand that are not all finite numbers, in their order; nothing for numbers."""
    values = dict.fromkeys(value for each in series for value in each.x)
    if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return {}
    return {value: place for place, value in enumerate(values)}


def _scale(axes: Axes, series: Sequence[Series], places: Mapping[Any, int], log: bool) -> None:
    """Scale the axes, which all panels share."""
    if places:
        labels = [symbol(value) if isinstance(value, float) else str(value) for value in places]
        axes.xaxis.set_ticks(list(places.values()), labels=labels)
    elif log:
        values = sorted({value for each in series for value in each.x})
        if len(values) <= MOST_TICKS:
            log_ticks(axes.xaxis, values)
        else:
            axes.set_xscale("log")
    if _spread([low for each in series for low in each.y]) and all(
        low > error or math.isnan(error) for each in series for low, error in zip(each.y, each.error, strict=True)
    ):
        axes.set_yscale("log")


def _spread(values: Sequence[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) >= DECADE * min(finite)
