"""How far does a random ReLU layer raise the rank of its inputs? Up to their number N, given enough rows.

Lemma 2 and Theorem 3, of which only assumptions and a summary were at hand, are read so: rows of gaussian W raise the
rank of ReLU(W X) up to N, if no two of the N inputs are collinear, even if X has rank 2; inputs x and -x are excluded.
X has ``features`` gaussian rows and N columns, or N / 2 and their opposites. A kink at the plane across x tells it from
the others, once W has rows on either side. x and -x share theirs, ReLU(u) - ReLU(-u) = u, so that the rank cannot
exceed N / 2 + rank X: less than N only if the x depend on each other.

The rank is counted exactly: entries of X and W are multiples of 2^-20, and rows of ReLU(W X), integers then, are
eliminated modulo a prime (`pyrank.theory.modular_rank`). The numerical rank in double precision stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.estimate.intervals import Interval, share_interval
from pyrank.experiments.claims import Claim, at_least, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import NACHUM
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Computation
from pyrank.plotting import Panel, Sheet
from pyrank.reference.spectral import singular_values
from pyrank.reference.weights import weights
from pyrank.specs.chain import Chain
from pyrank.support.text import span
from pyrank.theory.modular_rank import rank_growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = 2.0**20
"""Entries of X and W are multiples of 1 / GRID: products of two then are integers that int64 holds."""
BLOCKS = 4
"""The numerical rank is taken after BLOCKS * N rows."""
ALMOST_ALL = 0.95
"""Share of seeds that has to reach rank N within the rows given: the statement is about arbitrarily many."""


@dataclass(frozen=True)
class Setting:
    """``seeds`` draws of N = ``samples`` inputs of rank ``features``, and of up to ``per_sample`` * N rows of W."""

    samples: int
    features: int
    opposite: bool
    seeds: int
    per_sample: int


@dataclass(frozen=True)
class Settings:
    """All of them; draw number i of setting number j is chain i of the stream with the seed ``seed + j``."""

    grid: tuple[Setting, ...]
    seed: int = 0


def _grid(samples: tuple[int, ...], seeds: int, per_sample: int) -> tuple[Setting, ...]:
    return tuple(
        Setting(count, features, opposite, seeds, per_sample // 4 if opposite else per_sample)
        for features in (2, 4)
        for opposite in (False, True)
        for count in samples
    )


def layers(setting: Setting, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw ReLU(W X), times GRID^2, of all seeds: (seeds, N, N) for the next N rows of W, again and again."""
    # even layers of such a chain take `features` to N numbers, odd ones N to `features`
    chain, index = Chain((setting.features, setting.samples), dtype="float64"), torch.arange(setting.seeds)

    def drawn(layer: int) -> NDArray[np.int64]:
        return np.rint(weights(chain, seed, layer, index).numpy() * GRID).astype(np.int64)

    X = drawn(1)
    if setting.opposite:
        X = np.concatenate([X[:, :, : setting.samples // 2], -X[:, :, : setting.samples // 2]], axis=2)
    for block in range(setting.per_sample):
        yield np.maximum(drawn(2 * block) @ X, 0)


def grow(setting: Setting, seed: int) -> tuple[NDArray[np.int16], dict[str, Any]]:
    """Return exact ranks of the first 1, 2, ... rows, (seeds, rows), and what the numerical rank makes of the first."""
    n = setting.samples
    ranks = rank_growth(layers(setting, seed), (setting.seeds, setting.per_sample * n, n))
    first = np.concatenate(list(islice(layers(setting, seed), BLOCKS)), axis=1)
    sigma = singular_values(torch.from_numpy(first.astype(np.float64)))
    ratio = (sigma / sigma[:, :1]).numpy()
    counts = ratio > np.finfo(np.float64).eps * first.shape[1]
    return ranks, {
        "agree": int((counts.sum(axis=1) == ranks[:, first.shape[1] - 1]).sum()),
        "counted": float(ratio[counts].min()),
        "ignored": float(ratio[~counts].max(initial=0.0)),
    }


def tasks(settings: Settings) -> list[Computation]:
    """Return a computation for each setting."""
    return [
        Computation(
            name=f"N={setting.samples},rank={setting.features}{',pairs' * setting.opposite}",
            function=grow,
            arguments={"setting": setting, "seed": settings.seed + number},
            cost=setting.seeds * setting.samples**3,
        )
        for number, setting in enumerate(settings.grid)
    ]


COLUMNS = (
    Column("samples", "N"),
    Column("features", "rank X"),
    Column("opposite", "pairs", lambda row: "x, -x" if row.opposite else "-"),
    Column("seeds", "seeds"),
    Column("rows", "rows", meaning="of W"),
    Column("ceiling", "ceiling", meaning="N, or N / 2 + rank X with pairs x, -x"),
    Column("largest", "largest", meaning="rank seen"),
    Column("reached", "reached", lambda row: f"{row.reached / row.seeds:.1%}", meaning="seeds that got to the ceiling"),
    Column("early", "5 %", ".0f"),
    Column("median", "50 %", ".0f"),
    Column("late", "95 %", ".0f"),
    Column("one_by_one", "one by one", lambda row: f"{row.one_by_one / row.seeds:.1%}",
           meaning="seeds in which each of the first N rows added one"),
    Column("agree", "agree", lambda row: f"{row.agree / row.seeds:.1%}",
           meaning=f"seeds in which the float64 rank of {BLOCKS} N rows, of threshold eps times that, is exact"),
    Column("counted", "counted", ".1e", meaning="smallest singular value above that threshold, over the first"),
    Column("ignored", "ignored", ".1e", meaning="largest below it, likewise"),
)  # fmt: skip


def rows(
    settings: Settings, growths: Sequence[tuple[NDArray[np.int16], Mapping[str, Any]]]
) -> Iterable[Mapping[str, Any]]:
    """Return a line for each setting."""
    for setting, (ranks, numerical) in zip(settings.grid, growths, strict=True):
        n, half = setting.samples, setting.samples // 2
        ceiling = half + min(setting.features, half) if setting.opposite else n
        reached = ranks[:, -1] >= ceiling
        needed = np.where(reached, 1 + (ranks >= ceiling).argmax(axis=1), math.inf)
        waits = np.quantile(needed, (0.05, 0.5, 0.95), method="higher").tolist()
        yield {
            **{name: getattr(setting, name) for name in ("samples", "features", "opposite", "seeds")},
            "rows": ranks.shape[1],
            "ceiling": ceiling,
            "largest": int(ranks.max()),
            "reached": int(reached.sum()),
            **dict(zip(("early", "median", "late"), waits, strict=True)),
            "one_by_one": int((ranks[:, n - 1] == n).sum()),
            **numerical,
        }


def claims(found: Found) -> list[Claim]:
    """Return the growth to N, and what is beyond it: how fast, and what becomes of opposite inputs."""
    plane = max((row for row in found.rows if not row.opposite), key=lambda row: (-row.features, row.samples))
    opposite = [row for row in found.rows if row.opposite]
    seen = ", ".join(f"{row.largest} of {row.samples} (rank X = {row.features})" for row in opposite)
    return [
        *(_growth(some) for (pairs, _), some in found.rows_by("opposite", "features").items() if not pairs),
        extension(
            "share of seeds in which every row of W adds one to the rank, until it is N",
            NACHUM.at("a strong reading of Lemma 2"),
            Interval.share(plane.one_by_one, plane.seeds),
            at_least(ALMOST_ALL),
            note=f"at N = {plane.samples}, rank X = {plane.features}: rows between the same kinks add nothing; rank N "
            f"takes {plane.median / plane.samples:.1f} N rows in the median",
        ),
        extension(
            "largest rank with pairs x, -x, which Lemma 2 excludes, less the smaller one of N / 2 + rank X and N",
            "ReLU(u) - ReLU(-u) = u",
            Interval.exact(max((row.largest - row.ceiling for row in opposite), key=abs)),
            close_to(0.0, 0.0),
            note=f"furthest off of {len(opposite)} settings; N is out of reach only if rank X < N / 2: {seen}",
        ),
    ]


def _growth(some: Sequence[Row]) -> Claim:
    worst = min(some, key=lambda row: (row.reached / row.seeds, -row.late / row.samples))
    return published(
        f"rank ReLU(W X) grows to N for pairwise non-collinear X of rank {worst.features}",
        NACHUM.at("Lemma 2, Theorem 3"),
        Interval.share(worst.reached, worst.seeds),
        at_least(ALMOST_ALL),
        reading=f"share of seeds that reach N within {worst.rows // worst.samples} N rows of W; what Lemma 2 concludes "
        "and the text of Theorem 3 are not at hand and taken to be this growth",
        note=f"the slowest of N = {', '.join(str(row.samples) for row in some)} is {worst.samples}: half of the seeds "
        f"need {worst.median:.0f} rows or more, one in twenty {worst.late:.0f}",
    )


def draw_growth(axes: Axes, found: Found) -> None:
    """Draw the rank against the rows of W at the largest N."""
    most = max(row.samples for row in found.rows)
    shown = [pair for pair in zip(found.data, found.rows, strict=True) if pair[1].samples == most]
    for number, ((ranks, _), row) in enumerate(shown):
        at = np.unique(np.geomspace(1, row.rows, 80).astype(int))
        low, middle, high = np.quantile(ranks[:, at - 1], (0.05, 0.5, 0.95), axis=0)
        pairs = ", pairs x, -x" if row.opposite else ""
        plotting.band(axes, at, middle, low, high, number, f"N = {most}, rank X = {row.features}{pairs}")
    plotting.guide(axes, np.arange(1, most + 1), np.arange(1, most + 1), "one for each row")


def draw_shares(axes: Axes, found: Found) -> None:
    """Draw the share of seeds that have reached N against the rows of W, for the lowest rank of X."""
    least = min(row.features for row in found.rows)
    shown = [pair for pair in zip(found.data, found.rows, strict=True)
             if pair[1].features == least and not pair[1].opposite]  # fmt: skip
    for number, ((ranks, _), row) in enumerate(shown, start=4):  # after those on the left
        at = np.unique(np.geomspace(row.samples, row.rows, 120).astype(int))
        full = (ranks[:, at - 1] >= row.samples).sum(axis=0)
        low, high = np.transpose([share_interval(int(count), row.seeds) for count in full])
        plotting.band(axes, at / row.samples, full / row.seeds, low, high, number, f"N = {row.samples}: share of seeds")
    axes.set_ylabel(f"share of seeds with rank N, rank X = {least}")


def caption(found: Found) -> str:
    """Say what is shown."""
    grid = found.settings.grid
    return (
        "X: gaussian, of the rank given and N columns, or N / 2 columns and their opposites; W: gaussian, row by row; "
        f"ranks counted exactly. Left: median over {span(s.seeds for s in grid)} seeds, band: 5 to 95 %. Right: share "
        f"in which so many rows give rank N, band: 95 % interval."
    )


EXPERIMENT = Experiment(
    name="random-relu-rank",
    question="How far does a random ReLU layer raise the rank of its inputs?",
    sources=(NACHUM.at("Lemma 2"), NACHUM.at("Theorem 3")),
    presets={
        "quick": Settings(_grid((8, 16, 32), seeds=256, per_sample=64)),
        "paper": Settings(_grid((8, 16, 32, 64), seeds=2000, per_sample=256)),
    },
    tasks=tasks,
    columns=COLUMNS,
    rows=rows,
    note="Exact ranks of ReLU(W X), row by row. 5, 50, 95 %: of all seeds got to the ceiling with that many rows.",
    claims=claims,
    sheet=Sheet(
        "A random ReLU layer raises the rank of its inputs, unless they come in opposite pairs",
        (
            Panel(draw_growth, xscale="log", xlabel="rows of W", ylabel="rank of ReLU(W X)"),
            Panel(draw_shares, xscale="log", xlabel="rows of W / N"),
        ),
        size=(11, 4.8),
    ),
    caption=caption,
)
