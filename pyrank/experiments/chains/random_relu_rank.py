"""How far does a random ReLU layer raise the rank of its inputs? Up to their number N, given enough rows.

Ido Nachum, Marco Bondaschi, Michael Gastpar, Anatoly Khina: "Batch Normalization Decomposed", arXiv:2412.02843. Lemma 2
and Theorem 3: rows of gaussian W raise the rank of ReLU(W X) up to N, if no two of the N inputs are collinear, even if
X has rank 2; inputs x and -x are excluded.

X has ``features`` rows of gaussian entries and N columns, or N / 2 columns and their opposites. W gets one gaussian row
after the other, and the rank of ReLU(W X) is followed. A kink at the plane across x tells every input from the others;
a row of W on either side of it is what has to be drawn. For x and -x there is one kink, ReLU(u) - ReLU(-u) = u, so that
the rank cannot exceed N / 2 + rank X. That is less than N only if the x depend on each other.

The rank is counted exactly, without a tolerance: entries of X and W are rounded to multiples of 2^-20, and rows of
ReLU(W X), integers then, are eliminated modulo a prime. Such a rank is never too high, and too low with a chance of
about 1e-9 for each row. For comparison the numerical rank in double precision is given too, with the singular values
next to its threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.estimate.intervals import share_interval
from pyrank.experiments import Claim, Result, at_least, at_most, close_to, publish
from pyrank.experiments.running import count_bar
from pyrank.reference.spectral import singular_values
from pyrank.reference.weights import weights
from pyrank.specs.chain import Chain
from pyrank.support.text import span, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "random-relu-rank"
PAPER = "Nachum et al. 2024"
PRIME = 2**31 - 1
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


PRESETS = {
    "quick": Settings(_grid((8, 16, 32), seeds=256, per_sample=64)),
    "paper": Settings(_grid((8, 16, 32, 64), seeds=2000, per_sample=256)),
}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    ``ceiling`` is N, or N / 2 + rank X with opposite inputs; ``largest`` the largest rank seen; ``reached`` the number
    of seeds that reached the ceiling; ``early``, ``median`` and ``late`` the rows of W with which 5, 50 and 95 % of all
    seeds have, inf if they have not; ``one_by_one`` the number of seeds in which each of the first N rows added one.
    After BLOCKS * N rows, ``agree`` is the number of seeds in which the numerical rank is the exact one, ``counted``
    the smallest singular value that it counted, over the largest, and ``ignored`` the largest that it did not.
    """

    samples: int
    features: int
    opposite: bool
    seeds: int
    rows: int
    ceiling: int
    largest: int
    reached: int
    early: float
    median: float
    late: float
    one_by_one: int
    agree: int
    counted: float
    ignored: float


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Draw, count, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`.

    There are no chains to simulate on a device.
    """
    rows, growths = [], []
    with count_bar(len(settings.grid), progress) as shown:
        for number, setting in enumerate(settings.grid):
            ranks = rank_growth(setting, settings.seed + number)
            rows.append(_row(setting, ranks, settings.seed + number))
            growths.append(ranks)
            shown.update()
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=_judge(rows),
        figure=_figure(rows, growths, caption),
        caption=caption,
    )


def layers(setting: Setting, seed: int) -> Iterator[NDArray[np.int64]]:
    """Draw ReLU(W X), times GRID^2, of all seeds: (seeds, N, N) for the next N rows of W, again and again."""
    index = torch.arange(setting.seeds)
    count = setting.samples // 2 if setting.opposite else setting.samples
    # even layers of such a chain take `features` to N numbers, odd ones N to `features`
    chain = Chain((setting.features, setting.samples), dtype="float64")
    X = _integers(weights(chain, seed, 1, index))[:, :, :count]
    if setting.opposite:
        X = np.concatenate([X, -X], axis=2)
    for block in range(setting.per_sample):
        W = _integers(weights(chain, seed, 2 * block, index))
        yield np.maximum(W @ X, 0)


def _integers(drawn: torch.Tensor) -> NDArray[np.int64]:
    return np.rint(drawn.numpy() * GRID).astype(np.int64)


def rank_growth(setting: Setting, seed: int) -> NDArray[np.int16]:
    """Return the rank of the first 1, 2, ... rows of ReLU(W X), (seeds, rows); a seed that has reached N is done."""
    n = setting.samples
    ranks = np.full((setting.seeds, setting.per_sample * n), n, dtype=np.int16)
    basis = np.zeros((setting.seeds, n, n), dtype=np.int64)
    rank = np.zeros(setting.seeds, dtype=np.int64)
    for block, values in enumerate(layers(setting, seed)):
        active = np.flatnonzero(rank < n)
        if not active.size:
            break
        some = basis[active]
        for i in range(n):
            rank[active] += extend(some, values[active, i])
            ranks[active, block * n + i] = rank[active]
        basis[active] = some
    return ranks


def extend(basis: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Add a row to each of several bases modulo PRIME, in place; tell which of them it made larger.

    Parameters
    ----------
    basis
        Shape (seeds, N, N): row j is zero, or its first entry that is not zero is a 1 at j.
    row
        Shape (seeds, N), integers.
    """
    row = row % PRIME
    for j in range(row.shape[1]):
        row[:, j:] = (row[:, j:] - row[:, j : j + 1] * basis[:, j, j:]) % PRIME
    larger: NDArray[np.bool_] = (row != 0).any(axis=1)
    grew = np.flatnonzero(larger)
    pivot = (row[grew] != 0).argmax(axis=1)
    basis[grew, pivot] = row[grew] * _inverse(row[grew, pivot])[:, None] % PRIME
    return larger


def _inverse(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return v^(p - 2), the inverse of v modulo p (Fermat)."""
    power, result, exponent = values, np.ones_like(values), PRIME - 2
    while exponent:
        if exponent & 1:
            result = result * power % PRIME
        power = power * power % PRIME
        exponent >>= 1
    return result


def _row(setting: Setting, ranks: NDArray[np.int16], seed: int) -> Row:
    n = setting.samples
    ceiling = n // 2 + min(setting.features, n // 2) if setting.opposite else n
    reached = ranks[:, -1] >= ceiling
    needed = np.where(reached, 1 + (ranks >= ceiling).argmax(axis=1), math.inf)
    early, median, late = np.quantile(needed, (0.05, 0.5, 0.95), method="higher")
    agree, counted, ignored = _numerical(setting, ranks[:, BLOCKS * n - 1], seed)
    return Row(
        samples=n,
        features=setting.features,
        opposite=setting.opposite,
        seeds=setting.seeds,
        rows=ranks.shape[1],
        ceiling=ceiling,
        largest=int(ranks.max()),
        reached=int(reached.sum()),
        early=float(early),
        median=float(median),
        late=float(late),
        one_by_one=int((ranks[:, n - 1] == n).sum()),
        agree=agree,
        counted=counted,
        ignored=ignored,
    )


def _numerical(setting: Setting, exact: NDArray[np.int16], seed: int) -> tuple[int, float, float]:
    """Return how often the numerical rank of the first rows is the exact one, and the ratios next to its threshold."""
    blocks = [values for values, _ in zip(layers(setting, seed), range(BLOCKS), strict=False)]
    F = torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float64))
    sigma = singular_values(F)
    ratio = (sigma / sigma[:, :1]).numpy()
    counts = ratio > np.finfo(np.float64).eps * max(F.shape[1:])
    return (
        int((counts.sum(axis=1) == exact).sum()),
        float(ratio[counts].min()),
        float(ratio[~counts].max(initial=0.0)),
    )


def _judge(rows: Sequence[Row]) -> tuple[Claim, ...]:
    plain = [row for row in rows if not row.opposite]
    claims = [
        _share_claim(
            f"rank ReLU(W X) reaches N = {row.samples} for pairwise non-collinear X of rank {row.features}",
            f"{PAPER}, Lemma 2, Theorem 3",
            row.reached,
            row.seeds,
            f"within {row.rows:,} rows of W; half of the seeds need {row.median:.0f} rows or more, one in twenty "
            f"{row.late:.0f}",
        )
        for row in plain
    ]
    plane = max(plain, key=lambda row: (-row.features, row.samples))
    claims.append(
        _share_claim(
            "every row of W adds one to the rank, until it is N",
            f"a strong reading of {PAPER}, Lemma 2",
            plane.one_by_one,
            plane.seeds,
            f"at N = {plane.samples}, rank X = {plane.features}: rows between the same kinks add nothing, and rank N "
            f"takes {plane.median / plane.samples:.1f} N rows in the median",
        )
    )
    opposite = [row for row in rows if row.opposite]
    worst = max(opposite, key=lambda row: row.largest / row.samples)
    excess = max(opposite, key=lambda row: abs(row.largest - row.ceiling))
    excluded = [row for row in opposite if row.ceiling < row.samples]
    claims.append(
        Claim(
            statement="with pairs x, -x among the inputs the rank does not reach N",
            source=f"{PAPER}, Theorem 3 (its condition)",
            value=worst.largest / worst.samples,
            error=None,
            verdict=at_most(worst.largest / worst.samples, worst.largest / worst.samples, 1 - 1 / worst.samples),
            note=f"largest rank over N, at N = {worst.samples}, rank X = {worst.features}. It needs rank X < N / 2: "
            + ", ".join(f"{row.largest} of {row.samples} (rank X = {row.features})" for row in excluded),
        )
    )
    claims.append(
        Claim(
            statement="with pairs x, -x the largest rank is N / 2 + rank X",
            source="ReLU(u) - ReLU(-u) = u",
            value=float(excess.largest - excess.ceiling),
            error=None,
            verdict=close_to(excess.largest - excess.ceiling, excess.largest - excess.ceiling, 0.0, 0.0),
            note=f"largest rank seen less this number, the worst of {len(opposite)} settings, "
            f"{span(row.seeds for row in opposite)} seeds each",
        )
    )
    return tuple(claims)


def _share_claim(statement: str, source: str, successes: int, seeds: int, note: str) -> Claim:
    """Claim that something happens for almost all seeds."""
    low, high = share_interval(successes, seeds)
    share = successes / seeds
    return Claim(
        statement=statement,
        source=source,
        value=share,
        error=max(high - share, share - low),
        verdict=at_least(low, high, ALMOST_ALL),
        note=f"share of {seeds:,} seeds, {note}; holds means {ALMOST_ALL:.0%} or more",
    )


def _table(rows: Sequence[Row]) -> str:
    lines = [
        (f"{row.samples}", f"{row.features}", "x, -x" if row.opposite else "-", f"{row.seeds:,}", f"{row.rows:,}",
         f"{row.ceiling}", f"{row.largest}", f"{row.reached / row.seeds:.1%}", f"{row.early:.0f}", f"{row.median:.0f}",
         f"{row.late:.0f}", f"{row.one_by_one / row.seeds:.1%}", f"{row.agree / row.seeds:.1%}", f"{row.counted:.1e}",
         f"{row.ignored:.1e}")
        for row in rows
    ]  # fmt: skip
    head = ("N", "rank X", "pairs", "seeds", "rows", "ceiling", "largest", "reached", "5 %", "50 %", "95 %",
            "one by one", "agree", "counted", "ignored")  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        "Exact ranks of ReLU(W X), row by row. ceiling: N, or N / 2 + rank X with pairs x, -x; largest: rank seen;",
        "reached: seeds that got to the ceiling within the rows; 5, 50, 95 %: of all seeds did so with that many rows;",
        "one by one: seeds in which each of the first N rows added one to the rank.",
        f"agree: seeds in which the float64 rank of {BLOCKS} N rows, of threshold eps times the larger side, is the",
        "exact one; counted, ignored: the smallest singular value above it and the largest below, over the first.",
    ])  # fmt: skip


def _figure(rows: Sequence[Row], growths: Sequence[NDArray[np.int16]], caption: str) -> Figure:
    figure, (growth, needed) = plotting.sheet(
        title="A random ReLU layer raises the rank of its inputs, unless they come in opposite pairs",
        caption=caption,
        columns=2,
        size=(11, 4.8),
    )
    most = max(row.samples for row in rows)
    number = 0
    for row, ranks in zip(rows, growths, strict=True):
        if row.samples == most:
            at = np.unique(np.geomspace(1, ranks.shape[1], 80).astype(int))
            low, middle, high = np.quantile(ranks[:, at - 1], (0.05, 0.5, 0.95), axis=0)
            pairs = ", pairs x, -x" if row.opposite else ""
            plotting.band(growth, at, middle, low, high, number, f"N = {most}, rank X = {row.features}{pairs}")
            number += 1
    at = np.arange(1, most + 1)
    plotting.guide(growth, at, at, "one for each row")
    for row, ranks in zip(rows, growths, strict=True):
        if not row.opposite and row.features == min(each.features for each in rows):
            at = np.unique(np.geomspace(row.samples, ranks.shape[1], 120).astype(int))
            full = (ranks[:, at - 1] >= row.samples).sum(axis=0)
            low, high = np.transpose([share_interval(int(count), row.seeds) for count in full])
            label = f"N = {row.samples}: share of seeds"
            plotting.band(needed, at / row.samples, full / row.seeds, low, high, number, label)
            number += 1
    growth.set(xscale="log", xlabel="rows of W", ylabel="rank of ReLU(W X)", title=f"N = {most} inputs")
    needed.set(xscale="log", xlabel="rows of W / N", ylabel="share of seeds with rank N",
               title=f"inputs of rank {min(row.features for row in rows)}")  # fmt: skip
    plotting.legend(figure)
    return figure


def _caption(settings: Settings) -> str:
    grid = settings.grid
    return (
        f"After {PAPER}, Lemma 2 and Theorem 3. X: gaussian, of the rank given and N columns, or N / 2 columns and "
        "their opposites; W: gaussian, row by row; ranks counted exactly, modulo a prime. Left: median over "
        f"{span(s.seeds for s in grid)} seeds, band: 5 to 95 %. Right: share of seeds in which so many rows give "
        "rank N, band: 95 % interval. "
        f"Seeds {settings.seed} to {settings.seed + len(grid) - 1}."
    )
