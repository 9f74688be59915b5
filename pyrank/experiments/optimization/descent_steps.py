"""How many steps descent on random least squares takes, with and without normalisation, and whether it settles.

A problem is done when its residual is `WITHIN` of that at its start, (1, ..., 1) / sqrt(d) unless said otherwise. Its
best rate is found by a race: descents from the same start with all rates of a grid, until the first of them is done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank import theory
from pyrank.optimization.least_squares import LeastSquares

Floats = NDArray[np.float64]

WITHIN = 1e-6
"""Of the residual at the start."""
DIVERGED = 1e30
"""A residual so many times that at the start does not come back."""
CHUNK = 50
"""Steps between two looks at who is done."""
PART = 100
"""Problems of one task: more would take long, and much memory with many rates."""
SCALE_RATE = 1.0
"""Step of the scale where that of w is searched: it is then exact at once."""


@dataclass(frozen=True)
class Setting:
    """Random problems, as of `LeastSquares.random`: those with other ``condition`` have the same directions and u."""

    features: int
    condition: float
    problems: int
    seed: int = 0

    def draw(self, copies: int = 1, some: slice = slice(None)) -> LeastSquares:
        """Return the problems, or some of them, each so many times in a row."""
        drawn = LeastSquares.random(self.features, self.condition, self.seed, self.problems)
        return LeastSquares(np.repeat(drawn.H[some], copies, axis=0), np.repeat(drawn.u[some], copies, axis=0))

    def __str__(self) -> str:
        return f"d={self.features},kappa={self.condition:g}"


@dataclass(frozen=True)
class Race:
    """The fewest ``steps`` of each problem, infinite if no rate was done in time, and the ``rate`` that needs them."""

    steps: Floats
    rate: Floats

    @classmethod
    def of(cls, parts: Sequence[Race]) -> Race:
        """Return all parts as one."""
        return cls(np.concatenate([part.steps for part in parts]), np.concatenate([part.rate for part in parts]))


def race(setting: Setting, normalized: bool, rates: Sequence[float], most: int, part: int = 0) -> Race:
    """Find the best rate of each problem of a part, of `PART` problems; with normalisation, that of w."""
    count = len(rates)
    problems = setting.draw(count, slice(PART * part, PART * (part + 1)))
    numbers = np.arange(len(problems.u) // count)
    rate, teams = np.tile(rates, len(numbers)), np.repeat(numbers, count)
    steps = steps_needed(problems, normalized, rate, most, teams=teams).reshape(-1, count)
    best = steps.argmin(axis=1)
    return Race(steps.min(axis=1), np.asarray(rates, dtype=float)[best])


def steps_at(setting: Setting, normalized: bool, rates: Sequence[float], most: int) -> Floats:
    """Return the steps that all problems need at each rate, (rates, problems)."""
    problems, rate = setting.draw(len(rates)), np.tile(rates, setting.problems)
    return np.ascontiguousarray(steps_needed(problems, normalized, rate, most).reshape(setting.problems, -1).T)


def steps_from(setting: Setting, rates: Sequence[float], lengths: Sequence[float], most: int) -> Floats:
    """Return the steps of the normalised descent, (rates, lengths, problems), by rate and first length of w.

    All start from the same prediction.
    """
    pairs = [(rate, length) for rate in rates for length in lengths]
    problems, (rate, length) = setting.draw(len(pairs)), np.tile(np.transpose(pairs), setting.problems)
    unit = np.full((len(rate), setting.features), 1.0 / math.sqrt(setting.features))
    scale = np.sqrt(np.einsum("ni,nij,nj->n", unit, problems.H, unit))
    start = {"start": length[:, None] * unit, "scale": scale}
    steps = steps_needed(problems, True, rate, most, start).reshape(setting.problems, len(rates), len(lengths))
    return np.ascontiguousarray(np.moveaxis(steps, 0, -1))


def steps_needed(
    problems: LeastSquares,
    normalized: bool,
    rate: Floats,
    most: int,
    start: Mapping[str, Any] | None = None,
    *,
    teams: NDArray[np.int64] | None = None,
) -> Floats:
    """Return after how many steps each problem is done, (n,): infinite after ``most``, or if it has diverged.

    ``start`` is what `LeastSquares.descend` takes as start and scale. Of a team, all stop when the first is done, and
    the others count as never.
    """
    found, left = np.full(len(rate), math.inf), np.arange(len(rate))
    state: Mapping[str, Any] = start or {}
    first = problems.descend(normalized, 0.0, 1, **state).residual[0]
    for begun in range(0, most, CHUNK):
        path = problems.descend(normalized, rate[left], CHUNK, scale_rate=SCALE_RATE, **state)
        done = path.residual <= WITHIN * first[left]
        reached = done.any(axis=0)
        found[left[reached]] = begun + done.argmax(axis=0)[reached]
        going = ~reached & (path.residual[-1] < DIVERGED * first[left])
        if teams is not None:
            going &= ~np.isin(teams[left], teams[left[reached]])
        if not going.any():
            break
        state = {"start": path.w[-1, going], "scale": None if path.scale is None else path.scale[-1, going]}
        left, problems = left[going], LeastSquares(problems.H[going], problems.u[going])
    return np.where(found <= most, found, math.inf)


@dataclass(frozen=True)
class Ends:
    """By rate and problem, (rates, problems).

    Attributes
    ----------
    residual
        In the end, over that at the start; what diverged is `DIVERGED`.
    settles
        Whether the descent is done, or goes on to fall: its largest residual in the last quarter of the steps is below
        that in the quarter before.
    """

    residual: Floats
    settles: NDArray[np.bool_]


def ends(
    setting: Setting, normalized: bool, rates: Sequence[float], steps: int, scale_rate: float | None = None
) -> Ends:
    """Follow descents with each rate, for w and for the scale unless that has a rate of its own."""
    residual, settles = [], []
    problems, every = setting.draw(), max(1, steps // 400)
    for rate in rates:
        path = problems.descend(normalized, rate, steps, scale_rate=scale_rate, every=every)
        share = np.nan_to_num(path.residual / path.residual[0], nan=DIVERGED, posinf=DIVERGED).clip(0.0, DIVERGED)
        quarter = len(share) // 4
        last, before = share[-quarter:].max(axis=0), share[-2 * quarter : -quarter].max(axis=0)
        residual.append(share[-1])
        settles.append((last <= WITHIN) | (last < before))
    return Ends(np.array(residual), np.array(settles))


def ideal_steps(condition: ArrayLike) -> Floats:
    """Return the steps that `pyrank.theory.best_descent_rate` of a condition number takes to be done, at least 1."""
    factor = np.maximum(theory.best_descent_rate(condition), WITHIN)
    steps: Floats = math.log(WITHIN) / np.log(factor)
    return steps
