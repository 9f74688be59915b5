"""How does the one-dimensional model of recentring and ReLU form clusters? A path ends in two, seldom with an outlier.

In the model a layer has one weight, and a batch is n numbers, which have two children, one for each sign of the weight:
see `pyrank.experiments.chains.sign_tree`. Three things are looked at. The tree of one batch, drawn. Random paths: how
many distinct points are left, and how large the two clusters at the end are. And all nodes of one level together, in
their own scale, as the features of a representation of width 2^level: there the nodes in which a sample is far out
weigh most, and a single sample may escape although it seldom is alone on a path. The batches are gaussian.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank import plotting
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains import sign_tree
from pyrank.experiments.chains.escape import DEFINITION, has_escaped
from pyrank.experiments.chains.over_chains import mean_columns
from pyrank.experiments.chains.sign_tree import Floats, Walks
from pyrank.experiments.claims import Claim, at_least, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import NACHUM
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Data = Mapping[int, tuple[Walks, Floats]]

ALMOST_ALL = 0.99
"""Share of the paths in which what every path is said to do happens."""
PUBLISHED_SIZE = 5
"""Elements of the batch of the paper's figure."""
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


def tasks(settings: Settings) -> list[Computation]:
    """Return the paths of each size, and then the levels of each size."""
    paths = {"paths": settings.paths, "depth": settings.depth, "seed": settings.seed}
    whole = {"batches": settings.batches, "depth": settings.levels, "seed": settings.seed}
    return [
        Computation(f"{name}, n = {size}", function, {"size": size, **arguments}, cost=cost * size)
        for name, function, arguments, cost in (
            ("paths", sign_tree.walk, paths, 1e-5 * settings.paths),
            ("levels", sign_tree.outliers, whole, 4e-7 * settings.batches * 2**settings.levels),
        )
        for size in settings.sizes
    ]


def analyse(settings: Settings, results: Sequence[Any]) -> Data:
    """Return paths and levels by size."""
    count = len(settings.sizes)
    return dict(zip(settings.sizes, zip(results[:count], results[count:], strict=True), strict=True))


COLUMNS = (
    Column("size", "n"),
    Column("paths", "paths", ","),
    Column("two", "two clusters", ",", meaning="paths that end in two clusters"),
    Column("zero", "all zero", meaning="paths that end with all samples at 0"),
    Column("layers", "layers", ".2f", meaning="mean number until two clusters are left"),
    Column("apart", "one apart", lambda row: f"{row.apart / row.paths:.4f}",
           meaning="share of the paths that end in one cluster and a single sample"),
    Column("", "95 %", lambda row: "{0.low:.4f}-{0.high:.4f}".format(Interval.share(row.apart, row.paths))),
    Column("escaped", "escaped", lambda row: f"{row.escaped}/{row.batches}",
           meaning="batches with an outlier at the last level, all nodes taken together"),
    Column("batches"),
    *mean_columns("length", "length/(n-1)", "of the outlier there, over that of the others"),
    *mean_columns("angle", "angle", "of the outlier there to the others, degrees"),
)  # fmt: skip


def rows(settings: Settings, data: Data) -> Iterable[Mapping[str, Any]]:
    """Return a line for each size."""
    for size, (walks, outliers) in data.items():
        two, last = walks.distinct[:, -1] == 2, outliers[:, :, -1]
        (length, angle), half_widths = mean_interval(last.T)
        yield {
            "size": size, "paths": len(two), "two": int(two.sum()), "zero": int(walks.zero.sum()),
            "layers": float((walks.distinct > 2).sum(axis=1).mean()),
            "apart": int((two & (walks.smallest == 1)).sum()),
            "batches": last.shape[1], "escaped": int(has_escaped(*last).sum()),
            "length": float(length), "length_half_width": float(half_widths[0]),
            "angle": float(angle), "angle_half_width": float(half_widths[1]),
        }  # fmt: skip


def claims(found: Found) -> list[Claim]:
    """Return that paths end in two clusters, and levels in an outlier; and whether a path does, too."""
    settings: Settings = found.settings
    shown = min(found.rows, key=lambda row: abs(row.size - PUBLISHED_SIZE))
    apart = max(found.rows, key=lambda row: row.apart / row.paths)
    every = "; ".join(f"n = {row.size}: {row.apart:,} of {row.paths:,}" for row in found.rows)
    together = f"all {2**settings.levels:,} nodes of a level together have a single outlier"
    fig, summary = NACHUM.at("Fig. 4"), NACHUM.at("TL;DR, Fig. 4")
    return [
        published("the batch is driven to a two-cluster geometry by positive and negative transformations", summary,
                  Interval.share(sum(row.two for row in found.rows), sum(row.paths for row in found.rows)),
                  at_least(ALMOST_ALL),
                  reading=f"almost every path ends in two clusters within {settings.depth} layers",
                  note=f"n = {', '.join(str(row.size) for row in found.rows)}; exact arithmetic; paths that end with "
                  f"all samples at 0: {sum(row.zero for row in found.rows)}"),
        published("the indicative model drives the batch to a geometry with a single outlier", summary,
                  Interval.share(shown.escaped, shown.batches), at_least(0.5),
                  reading=f"n = {shown.size}, {together}, in most batches; {DEFINITION}"),
        *(extension(f"{together}, share of the batches, n = {row.size}", fig,
                    Interval.share(row.escaped, row.batches), at_least(0.5), note=DEFINITION)
          for row in found.rows if row is not shown),
        extension(f"share of the paths that end in one cluster and a single sample, at best (n = {apart.size})", fig,
                  Interval.share(apart.apart, apart.paths), at_least(0.5),
                  note=f"{every}; the other paths end in two clusters of more than one sample each"),
    ]  # fmt: skip


def draw_tree(axes: Axes, found: Found) -> None:
    """Draw the first levels of the tree of one batch."""
    settings: Settings = found.settings
    batch = sign_tree.root(np.random.default_rng(settings.seed), settings.sizes[0])
    sign_tree.draw(axes, batch, DRAWN_LEVELS)


def draw_distinct(axes: Axes, found: Found) -> None:
    """Draw how points collapse along the paths."""
    for number, (size, (walks, _)) in enumerate(found.data.items()):
        counts = walks.distinct[:, : found.settings.levels + 1]
        low, high = np.quantile(counts, (0.05, 0.95), axis=0)
        plotting.band(axes, np.arange(counts.shape[1]), counts.mean(axis=0), low, high, number, f"n = {size}")
    plotting.log_ticks(axes.yaxis, (2, *found.settings.sizes))


def draw_lengths(axes: Axes, found: Found) -> None:
    """Draw how long the outlier of a level is."""
    for number, (_, (lengths, _)) in enumerate(found.data.values()):
        mean, half_width = mean_interval(lengths)
        at = np.arange(1, lengths.shape[1] + 1)
        plotting.band(axes, at, mean, mean - half_width, mean + half_width, number)
    plotting.guide(axes, (0, found.settings.levels), (1.0, 1.0))


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        f"Above: a gaussian batch of n = {settings.sizes[0]} samples (colours) and its children ReLU(x - mean x), "
        "marked +, and ReLU(mean x - x), marked \N{MINUS SIGN}; every number line has its own scale, the tick is the "
        f"mean, stacked points have collapsed into one. Middle: distinct points along {settings.paths:,} random paths, "
        "mean and 5 to 95 % of the paths. Below: all nodes of a level as features of one representation; length of the "
        f"sample furthest from the others, mean over {settings.batches} batches with 95 % intervals; grey: n - 1. Seed "
        f"{settings.seed}."
    )


EXPERIMENT = Experiment(
    name="indicative-tree",
    question="How does the one-dimensional model of recentring and ReLU form clusters?",
    sources=(NACHUM.at("Fig. 4"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="± half of the 95 % interval over batches.",
    claims=claims,
    sheet=Sheet(
        "One weight per layer: each path ends in two clusters, all paths together show an outlier",
        (Panel(draw_tree),
         Panel(draw_distinct, xlabel="layer of a path", ylabel="distinct points"),
         Panel(draw_lengths, xlabel="level of the tree, all nodes together", ylabel="length of the outlier / (n - 1)",
               ylim=(0, 1.05))),
        columns=1, size=(10, 11),
        options={"height_ratios": (1.5, 1, 1)},
    ),
    caption=caption,
    more=lambda found: {
        "smallest clusters": {str(size): Counter(map(int, walks.smallest)) for size, (walks, _) in found.data.items()},
        "mean distinct points": {str(size): walks.distinct.mean(axis=0) for size, (walks, _) in found.data.items()},
    },
)  # fmt: skip
