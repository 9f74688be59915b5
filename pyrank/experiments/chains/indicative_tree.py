"""How does the one-dimensional model of recentring and ReLU form clusters? A path ends in two, seldom with an outlier.

Ido Nachum, Marco Bondaschi, Michael Gastpar, Anatoly Khina: "Batch Normalization Decomposed", 2024, arXiv:2412.02843.
Figure 4.

In the model a layer has one weight, and a batch is n numbers x. Only the sign of the weight matters, so that a batch
has two children, the positive one ``ReLU(x - mean x)`` and the negative one ``ReLU(mean x - x)``: a binary tree. A
scale means nothing along one path, so that batches are kept as integers without a common divisor and every
transformation is exact: two points have collapsed when they are equal, and there is no tolerance.

Three things are looked at. The tree of one batch, drawn. Random paths, on which each sign is a fair coin: how many
distinct points are left, and how large the two clusters at the end are; two clusters, one of them at 0, never change
again. And all nodes of one level together, in their own scale, as the features of a representation of width
2^level: there the nodes in which a sample is far out weigh most, and a single sample may escape although it seldom is
alone on a path. The batches are gaussian.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.estimate.intervals import mean_interval, share_interval
from pyrank.experiments import Claim, Result, at_least, publish
from pyrank.experiments.chains.escaped_outlier import ESCAPE_ANGLE, ESCAPE_LENGTH, Ends
from pyrank.experiments.shares import share_claim
from pyrank.support.text import plus_minus, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Batch = tuple[int, ...]
Floats = NDArray[np.float64]

NAME = "indicative-tree"
PAPER = "Nachum et al. 2024"
GRID = 1 << 30
"""Gaussian numbers are rounded to multiples of 1 / GRID, so that a batch is made of integers."""
ALMOST_ALL = 0.99
DRAWN_LEVELS = 3


@dataclass(frozen=True)
class Settings:
    """Random paths of ``depth`` layers for each size of batch, and whole ``levels`` for ``batches`` of each size.

    The first size is drawn.
    """

    sizes: tuple[int, ...]
    paths: int
    depth: int
    batches: int
    levels: int
    seed: int = 0


PRESETS = {
    "quick": Settings(sizes=(5, 10, 20), paths=4_000, depth=40, batches=80, levels=14),
    "paper": Settings(sizes=(5, 10, 20, 50), paths=100_000, depth=80, batches=400, levels=16),
}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Of ``paths`` random paths, ``two`` end in two clusters, ``apart`` in one cluster and a single sample, and ``zero``
    with all samples at 0. ``layers`` is the mean number of layers until two clusters are left. Of ``batches`` batches,
    ``escaped`` have an outlier at the last level; ``length``, in units of n - 1, and ``angle``, in degrees, are means
    over all batches, with half widths of 95 % intervals.
    """

    size: int
    paths: int
    two: int
    apart: int
    zero: int
    layers: float
    batches: int
    escaped: int
    length: float
    length_half_width: float
    angle: float
    angle_half_width: float


@dataclass(frozen=True)
class Walks:
    """Random paths: how many distinct points each has at each depth, and how large its smallest cluster at the end is.

    ``distinct`` has the shape (paths, depth + 1), ``smallest`` and ``zero`` have (paths,).
    """

    distinct: NDArray[np.int64]
    smallest: NDArray[np.int64]
    zero: NDArray[np.bool_]


def child(batch: Batch, positive: bool) -> Batch:
    """Return ``ReLU(x - mean x)`` or ``ReLU(mean x - x)`` up to a positive factor, exactly."""
    sign = 1 if positive else -1
    size, total = sign * len(batch), sign * sum(batch)
    cut = [max(size * x - total, 0) for x in batch]
    return tuple(x // (math.gcd(*cut) or 1) for x in cut)


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Compute, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`.

    There are no chains to simulate on a device, and there is nothing to show progress of: this takes seconds, and a
    minute or two at the published size.
    """
    walks = {size: walk(settings, size) for size in settings.sizes}
    levels = {size: escapes(settings, size) for size in settings.sizes}
    rows = [_row(size, walks[size], levels[size]) for size in settings.sizes]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=_judge(rows, settings),
        figure=_figure(walks, levels, settings, caption),
        caption=caption,
        data={
            "smallest clusters": {str(size): Counter(map(int, walks[size].smallest)) for size in settings.sizes},
            "mean distinct points": {str(size): walks[size].distinct.mean(axis=0) for size in settings.sizes},
        },
    )


def start(rng: np.random.Generator, size: int) -> Batch:
    """Draw a gaussian batch."""
    return tuple(int(x) for x in np.rint(GRID * rng.normal(size=size)))


def walk(settings: Settings, size: int) -> Walks:
    """Follow random paths from gaussian batches of one size."""
    rng = np.random.default_rng((settings.seed, 0, size))
    distinct = np.zeros((settings.paths, settings.depth + 1), dtype=np.int64)
    smallest = np.zeros(settings.paths, dtype=np.int64)
    zero = np.zeros(settings.paths, dtype=bool)
    for path in range(settings.paths):
        batch = start(rng, size)
        for layer in range(settings.depth + 1):
            batch = child(batch, bool(rng.random() < 0.5)) if layer else batch
            distinct[path, layer:] = len(set(batch))
            if distinct[path, layer] <= 2:
                break
        smallest[path] = min(Counter(batch).values())
        zero[path] = not any(batch)
    return Walks(distinct, smallest, zero)


def escapes(settings: Settings, size: int) -> Floats:
    """Return length / (n - 1) and angle of the outlier at levels 1, 2, ... of every batch; (2, batches, levels)."""
    rng = np.random.default_rng((settings.seed, 1, size))
    found = []
    for _ in range(settings.batches):
        ends = [Ends.of(torch.from_numpy(level)[None]) for level in _levels(rng.normal(size=size), settings.levels)]
        found.append([[end.length[0] for end in ends], [end.angle[0] for end in ends]])
    return np.swapaxes(found, 0, 1)


def _levels(batch: Floats, levels: int) -> Iterator[Floats]:
    """Yield all nodes of level 1, 2, ... in their own scale; (2^level, n)."""
    nodes = batch[None]
    for _ in range(levels):
        centred = nodes - nodes.mean(axis=1, keepdims=True)
        nodes = np.maximum(np.concatenate([centred, -centred]), 0.0)
        yield nodes


def _row(size: int, walks: Walks, levels: Floats) -> Row:
    (length, angle), half_widths = mean_interval(levels[:, :, -1].T)
    two = walks.distinct[:, -1] == 2
    return Row(
        size=size,
        paths=len(two),
        two=int(two.sum()),
        apart=int((two & (walks.smallest == 1)).sum()),
        zero=int(walks.zero.sum()),
        layers=float((walks.distinct > 2).sum(axis=1).mean()),
        batches=levels.shape[1],
        escaped=int(_escaped(levels)[:, -1].sum()),
        length=float(length),
        length_half_width=float(half_widths[0]),
        angle=float(angle),
        angle_half_width=float(half_widths[1]),
    )


def _escaped(levels: Floats) -> NDArray[np.bool_]:
    escaped: NDArray[np.bool_] = (levels[0] > ESCAPE_LENGTH) & (levels[1] > ESCAPE_ANGLE)
    return escaped


def _judge(rows: Sequence[Row], settings: Settings) -> tuple[Claim, ...]:
    fig = f"{PAPER}, Fig. 4"
    two, paths = sum(row.two for row in rows), sum(row.paths for row in rows)
    claims = [
        share_claim(
            f"a path ends in two clusters, within {settings.depth} layers", fig, (two, paths), at_least, ALMOST_ALL,
            f"n = {', '.join(str(row.size) for row in rows)}; exact arithmetic; all samples at 0 at the end: "
            f"{sum(row.zero for row in rows)} paths",
        )
    ]  # fmt: skip
    claims += [
        share_claim(
            f"most paths end in one cluster and a single sample apart, n = {row.size}", f"{fig}, path by path",
            (row.apart, row.paths), at_least, 0.5,
            "the other paths end in two clusters of more than one sample each",
        )
        for row in rows
    ]  # fmt: skip
    claims += [
        share_claim(
            f"all {2**settings.levels:,} nodes of level {settings.levels} together: one sample escapes in most "
            f"batches, n = {row.size}", f"{PAPER}, Fig. 3 and 4", (row.escaped, row.batches), at_least, 0.5,
            f"angle above {ESCAPE_ANGLE:g} degrees and length above {ESCAPE_LENGTH:g} (n - 1)",
        )
        for row in rows
    ]  # fmt: skip
    return tuple(claims)


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        low, high = share_interval(row.apart, row.paths)
        lines.append(
            (f"{row.size}", f"{row.paths:,}", f"{row.two:,}", f"{row.zero}", f"{row.layers:.2f}",
             f"{row.apart / row.paths:.4f}", f"{low:.4f}-{high:.4f}", f"{row.escaped}/{row.batches}",
             plus_minus(row.length, row.length_half_width), plus_minus(row.angle, row.angle_half_width))
        )  # fmt: skip
    head = ("n", "paths", "two clusters", "all zero", "layers", "one apart", "95 %", "escaped", "length/(n-1)",
            "angle")  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        "Paths: how many end in two clusters or with all samples at 0, mean layers until two clusters are left, share",
        "in which one of them is a single sample. Escaped: batches with an outlier at the last level, all nodes taken",
        "together; length and angle (degrees) of the outlier there, mean over batches. ± half of the 95 % interval.",
    ])  # fmt: skip


def _figure(walks: dict[int, Walks], levels: dict[int, Floats], settings: Settings, caption: str) -> Figure:
    figure, axes = plotting.sheet(
        title="One weight per layer: each path ends in two clusters, all paths together show an outlier",
        caption=caption, rows=2, columns=2, size=(10, 9.5), height_ratios=(1.25, 1),
    )  # fmt: skip
    distinct, lengths = axes[2:]
    grid = axes[0].get_gridspec()
    assert grid is not None
    for each in axes[:2]:
        each.remove()
    _draw_tree(figure.add_subplot(grid[0, :]), start(np.random.default_rng(settings.seed), settings.sizes[0]))
    for number, size in enumerate(settings.sizes):
        counts = walks[size].distinct[:, : settings.levels + 1]
        low, high = np.quantile(counts, (0.05, 0.95), axis=0)
        plotting.band(distinct, np.arange(counts.shape[1]), counts.mean(axis=0), low, high, number, f"n = {size}")
        mean, half_width = mean_interval(levels[size][0])
        at = np.arange(1, settings.levels + 1)
        plotting.band(lengths, at, mean, mean - half_width, mean + half_width, number)
    distinct.set_yscale("log", base=2)
    plotting.log_ticks(distinct.yaxis, (2, *settings.sizes))
    distinct.set_xlabel("layer of a path")
    distinct.set_ylabel("distinct points")
    lengths.axhline(1.0, color=plotting.marks.GREY, linestyle="-.", linewidth=1.4)
    lengths.set_xlabel("level of the tree, all nodes together")
    lengths.set_ylabel("length of the outlier / (n - 1)")
    lengths.set_ylim(0, 1.05)
    plotting.legend(figure)
    return figure


def _draw_tree(axes: Axes, root: Batch) -> None:
    """Draw a batch and its descendants, each on a number line of its own, with a tick at its mean."""
    nodes = [root]
    for level in range(DRAWN_LEVELS + 1):
        for place, batch in enumerate(nodes):
            _draw_node(axes, batch, level, (place + 0.5) / len(nodes), 0.36 / len(nodes))
        nodes = [child(batch, positive) for batch in nodes for positive in (True, False)]
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-DRAWN_LEVELS - 0.35, 0.5)


def _draw_node(axes: Axes, batch: Batch, level: int, centre: float, reach: float) -> None:
    low, span = min(batch), max(batch) - min(batch)
    at = [centre + reach * (2 * (x - low) / span - 1) for x in batch]
    mean = centre + reach * (2 * (sum(batch) / len(batch) - low) / span - 1)
    axes.plot([centre - reach, centre + reach], [-level] * 2, color="0.6", linewidth=1.0, zorder=1)
    axes.plot([mean] * 2, [-level - 0.08, -level + 0.08], color="0.3", linewidth=1.2, zorder=1)
    below: Counter[int] = Counter()
    for sample, x in enumerate(batch):
        axes.plot(at[sample], -level + 0.075 * below[x], "o", color=plotting.colour(sample), markersize=6,
                  markeredgecolor="white", markeredgewidth=0.6)  # fmt: skip
        below[x] += 1
    for sign, side in (("+", -1), ("\N{MINUS SIGN}", 1)):
        if level < DRAWN_LEVELS:
            end = centre + side * reach / 0.36 / 4
            axes.annotate("", (end, -level - 0.58), (centre, -level - 0.1),
                          arrowprops={"arrowstyle": "->", "color": "0.6"})  # fmt: skip
            axes.text((centre + end) / 2 + 0.015 * side, -level - 0.3, sign, ha="center", va="center", fontsize=12)


def _caption(settings: Settings) -> str:
    return (
        f"After {PAPER}, Fig. 4. Above: a gaussian batch of n = {settings.sizes[0]} samples (colours) and its children "
        "ReLU(x - mean x), marked +, and ReLU(mean x - x), marked \N{MINUS SIGN}; every number line has its own scale, "
        "the tick is the mean, stacked points have collapsed into one. Below left: distinct points along "
        f"{settings.paths:,} random paths, mean and 5 to 95 % of the paths. Below right: all nodes of a level as "
        f"features of one representation; length of the sample furthest from the others, mean over {settings.batches} "
        f"batches with 95 % intervals; grey: n - 1. Seed {settings.seed}."
    )
