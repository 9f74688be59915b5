"""What is claimed about normalised descent on least squares, and how the results of its tasks answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyrank import theory
from pyrank.estimate.intervals import Interval
from pyrank.experiments.claims import Claim, at_least, between, close_to, extension, published
from pyrank.experiments.declaration import Found
from pyrank.experiments.optimization.descent_steps import WITHIN, Floats, Race, Setting
from pyrank.experiments.papers import MORWANI
from pyrank.support.text import span

KAPPAS = (10.0, 1000.0)
"""Condition numbers of the note's figures; its dimensions are 2 and 3."""
RATES = (0.01, 0.1, 0.3, 1.0)
"""Rates up to 1, the same for w and the scale."""
EDGES = (0.99, 1.01)
"""Rates of plain descent, in units of 2 / lambda_max."""
FREE, BEYOND = (1e-3, 1.0, 1e3), 2.1
"""Rates of w with a rate of 1 for the scale, and a rate of the scale with a rate of 1 for w."""
LOG_RATES, LOG_LENGTHS = range(-10, 11, 2), range(-4, 5)
"""Powers of two on the map: scaling by them changes no bit."""
ALMOST_ALL, MOST = 0.95, 0.5
"""Shares of the problems: for what "converges" or "diverges", and for what is "faster"."""
LITTLE = 2.0
"""Factor in steps that is "almost unaffected" while kappa grows by a factor of 100."""


@dataclass(frozen=True)
class Measured:
    """Results of the tasks by their names, and the races by setting: plain, normalised."""

    named: Mapping[str, Any]
    races: Mapping[Setting, tuple[Race, Race]]


def claims(found: Found) -> list[Claim]:
    """Return the claims of section 2, each read at the best rate of a problem, and what lies beyond them."""
    data: Measured = found.data
    own = "each method at its best rate for the problem"
    small, large = (found.settings.setting(3, kappa) for kappa in KAPPAS)
    return [
        *_convergence(data, found.settings.claimed, found.settings.steps),
        *_in_the_plane(data, *(found.settings.setting(2, kappa) for kappa in KAPPAS)),
        published("d = 3, small kappa: non-BN networks converge faster", MORWANI.at("§ 2"),
                  _share(data.races[small][0].steps < data.races[small][1].steps), at_least(MOST),
                  reading=f"in most problems of kappa = {small.condition:g} plain descent needs fewer steps, {own}",
                  note=f"{_medians(*data.races[small])}; at one rate for all problems: see below"),
        published("d = 3, large kappa: BN is slightly faster", MORWANI.at("§ 2"),
                  _share(data.races[large][1].steps < data.races[large][0].steps), at_least(MOST),
                  reading=f"in most problems of kappa = {large.condition:g} BN needs fewer steps, {own}",
                  note=_medians(*data.races[large])),
        _one_rate("small kappa, one rate for all problems: plain descent is faster", data, small, plain_first=True),
        _one_rate("large kappa, one rate for all problems: BN is faster", data, large, plain_first=False),
        *_crossing(data),
        *_free_rates(data, found.settings.claimed),
        *_on_the_map(data.named["map"], found.settings.mapped),
    ]  # fmt: skip


def _convergence(data: Measured, claimed: Iterable[Setting], steps: int) -> list[Claim]:
    every = [(s, data.named[f"any rate,{s}"], data.named[f"edges,{s}"]) for s in claimed]
    done = {s: np.mean(ends.residual <= WITHIN) for s, ends, _ in every}
    reached = ", ".join(f"{share:.0%} for d = {s.features}, kappa = {s.condition:g}" for s, share in done.items())
    edge = [edges.settles[0] & (edges.residual[1] > 1.0) for _, _, edges in every]
    return [
        published("with BN, gradient descent on least squares converges for any learning rate up to 1",
                  MORWANI.at("§ 1, after Cai et al."), _share(*(ends.settles.all(axis=0) for _, ends, _ in every)),
                  at_least(ALMOST_ALL),
                  reading=f"problems in which the residual goes on to fall over {steps:,} steps, for rates of "
                          f"{', '.join(f'{rate:g}' for rate in RATES)} of w and the scale",
                  note=f"slowly: {WITHIN:g} of the residual at the start is reached in {reached}, over these rates"),
        published("plain descent: the maximum learning rate is 2 / lambda_max", MORWANI.at("§ 1, § 2"), _share(*edge),
                  at_least(ALMOST_ALL),
                  reading=f"problems in which it converges at {EDGES[0]:g} of that and diverges at {EDGES[1]:g}"),
    ]  # fmt: skip


def _in_the_plane(data: Measured, small: Setting, large: Setting) -> list[Claim]:
    (plain, normalized), (plain_too, normalized_too) = data.races[small], data.races[large]
    drawn = [setting.draw() for setting in (small, large)]
    pseudo = np.concatenate([theory.pseudo_condition_number(problems.H, problems.g) for problems in drawn])
    medians = [f"{_median(a):.0f} to {_median(b):.0f}" for a, b in ((normalized.steps, normalized_too.steps),
                                                                    (plain.steps, plain_too.steps))]  # fmt: skip
    return [
        published("d = 2: the rate of convergence of BN is almost unaffected by the condition number",
                  MORWANI.at("§ 2"), _share(normalized_too.steps <= LITTLE * normalized.steps), at_least(MOST),
                  reading=f"in most problems steps at the best rate grow at most by a factor of {LITTLE:g} as kappa "
                          f"grows from {small.condition:g} to {large.condition:g}",
                  note=f"median steps go from {medians[0]} with BN, from {medians[1]} without"),
        published("d = 2: the pseudo-condition number, which decides about the speed, does not depend on kappa",
                  MORWANI.at("§ 2, after Cai et al."), Interval.exact(pseudo[np.abs(pseudo - 1.0).argmax()]),
                  close_to(1.0, 1e-9), reading="it is 1: that furthest from it among the problems"),
    ]  # fmt: skip


def _one_rate(statement: str, data: Measured, setting: Setting, plain_first: bool) -> Claim:
    plain, normalized = data.named[f"one rate,{setting},plain"][0], data.named[f"one rate,{setting}"]
    best = normalized[np.median(normalized, axis=1).argmin()]
    faster = plain < best if plain_first else best < plain
    return extension(f"d = 3, {statement} in most of them", "the rate that is best for the median problem",
                     _share(faster), at_least(MOST), note=f"median steps {_median(best):.0f} with BN, "
                     f"{_median(plain):.0f} without; kappa = {setting.condition:g}")  # fmt: skip


def _crossing(data: Measured) -> list[Claim]:
    """Return from which condition number on BN is faster in most problems, by dimension."""
    found = []
    for features in sorted({setting.features for setting in data.races} - {2}):
        first = math.inf
        for setting, (plain, normalized) in sorted(data.races.items(), key=lambda pair: -pair[0].condition):
            if setting.features == features:
                if _share(normalized.steps < plain.steps).low <= MOST:
                    break
                first = setting.condition
        tried = span([int(s.condition) for s in data.races if s.features == features])
        found.append(extension(f"d = {features}: kappa from which on BN is faster in most problems, at best rates",
                               MORWANI.at("§ 2"), Interval.exact(first), between(*KAPPAS),
                               note=f"tried: {tried}; 95 % intervals of the shares are above one half"))  # fmt: skip
    return found


def _free_rates(data: Measured, claimed: list[Setting]) -> list[Claim]:
    free = [data.named[f"any rate of w,{s}"].settles.all(axis=0) for s in claimed]
    beyond = [data.named[f"rate of the scale,{s}"].residual[0] > 1.0 for s in claimed]
    return [
        extension(f"with a rate of 1 for the scale, descent converges for rates of w of {', '.join(map(str, FREE))}",
                  MORWANI.at("§ 1, after Arora et al."), _share(*free), at_least(ALMOST_ALL),
                  note="how fast does depend on it: see the map"),
        extension(f"the limit belongs to the scale: at its rate {BEYOND:g} descent diverges",
                  "pyrank.theory.normalized_descent_rate", _share(*beyond), at_least(ALMOST_ALL)),
    ]  # fmt: skip


def _on_the_map(steps: Floats, mapped: Setting) -> list[Claim]:
    """Judge the map: along a line of equal rate / |w|^2 both change, the rate by 4 where the length does by 2."""
    middle = np.median(steps, axis=-1)
    along = steps[1:, 1:] != steps[:-1, :-1]
    done = middle[np.isfinite(middle)]
    spread = done.max() / done.min() if done.size else math.nan
    place = f"d = {mapped.features}, kappa = {mapped.condition:g}"
    return [
        extension(f"of the rate and the length of w at the start only rate / |w|^2 counts, {place}: share of descents "
                  "that take other steps where both grow", "pyrank.optimization", _share(along), close_to(0.0, 0.01)),
        extension(f"both matter, {place}: largest over smallest median of steps on the map", "pyrank.optimization",
                  Interval.exact(spread), at_least(10.0),
                  note=f"{np.isinf(middle).sum()} of {middle.size} places are not done in time"),
    ]  # fmt: skip


def _share(*some: ArrayLike) -> Interval:
    flags = np.concatenate([np.asarray(each, dtype=bool).ravel() for each in some])
    return Interval.share(int(flags.sum()), flags.size)


def _median(values: Floats) -> float:
    return float(np.quantile(values, 0.5, method="lower"))


def _medians(plain: Race, normalized: Race) -> str:
    return f"median steps {_median(normalized.steps):.0f} with BN, {_median(plain.steps):.0f} without"
