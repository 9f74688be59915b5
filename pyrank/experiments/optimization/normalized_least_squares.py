"""What does normalisation change in descent on least squares? No rate of w diverges; it gains where kappa is large.

Problems are drawn (`pyrank.optimization.LeastSquares.random`): H with eigenvalues from 1 to kappa in geometric steps
and random directions, u gaussian. The note leaves this open, and also the start and the rates. Here both methods start
from the same prediction, (1, ..., 1) / sqrt(d), with w of length 1, and are compared at the best constant rate of each
problem: steps until the residual is 1e-6 of that at the start. With normalisation it is the rate of w that is sought,
and the scale has rate 1. Only rate / |w|^2 counts, so this is the same as a rate of 1 for both, with the best length of
w. Where a claim says "any rate", w and the scale have the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrank import theory
from pyrank.estimate.intervals import share_interval
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.optimization import descent_steps as steps
from pyrank.experiments.optimization.descent_claims import (
    BEYOND,
    EDGES,
    FREE,
    KAPPAS,
    LOG_LENGTHS,
    LOG_RATES,
    RATES,
    Measured,
    claims,
)
from pyrank.experiments.optimization.descent_figure import SHEET
from pyrank.experiments.optimization.descent_steps import Floats, Race, Setting
from pyrank.experiments.papers import MORWANI
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation
from pyrank.support.text import span


@dataclass(frozen=True)
class Settings:
    """``races`` are all that are compared; ``per_decade`` is how dense the rates of a race lie, ``most`` its end."""

    races: tuple[Setting, ...]
    per_decade: int
    most: int
    steps: int
    mapped: Setting
    mapped_most: int = 2_000

    def setting(self, features: int, condition: float) -> Setting:
        """Return the race of these."""
        return next(s for s in self.races if (s.features, s.condition) == (features, condition))

    @property
    def claimed(self) -> list[Setting]:
        """Those of the note."""
        return [self.setting(features, condition) for features in (2, 3) for condition in KAPPAS]


def _races(problems: int, many: Sequence[int]) -> tuple[Setting, ...]:
    kappas = (2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    return tuple(Setting(d, kappa, problems) for d in (2, 3, *many) for kappa in kappas)


PRESETS = {
    "quick": Settings(_races(200, ()), per_decade=8, most=10_000, steps=4_000, mapped=Setting(2, 1000.0, 20)),
    "paper": Settings(_races(1_000, (10,)), per_decade=20, most=30_000, steps=40_000, mapped=Setting(2, 1000.0, 100)),
}
ONE_RATE = tuple(np.geomspace(1e-3, 1.0, 13).tolist())
"""Rates of w, one of which is the best for all problems."""


def grid(normalized: bool, condition: float, per_decade: int) -> tuple[float, ...]:
    """Return the rates of a race: of w from 1e-4 to 10, or of v up to 2 / lambda_max, denser towards it."""
    if normalized:
        return tuple(np.geomspace(1e-4, 10.0, 5 * per_decade + 1).tolist())
    return tuple((2.0 / condition * (1.0 - np.geomspace(1e-3, 0.5, 2 * per_decade))).tolist())


def tasks(settings: Settings) -> list[Computation]:
    """Return the races, descents with given rates, and the map."""
    found = []
    for setting in settings.races:
        cost = steps.PART * setting.condition * setting.features**1.5
        for normalized, kind in ((False, "plain"), (True, "normalised")):
            rates = grid(normalized, setting.condition, settings.per_decade)
            arguments = {"setting": setting, "normalized": normalized, "rates": rates, "most": settings.most}
            for part in range(-(-setting.problems // steps.PART)):
                name = f"race,{setting},{kind},{part}"
                found.append(Computation(name, steps.race, {**arguments, "part": part}, cost))
    for setting in settings.claimed:
        cost = setting.problems * settings.steps / 50
        edges = tuple(share * 2.0 / setting.condition for share in EDGES)
        for name, normalized, rates, scale_rate in (
            ("any rate", True, RATES, None), ("edges", False, edges, None),
            ("any rate of w", True, FREE, 1.0), ("rate of the scale", True, (1.0,), BEYOND),
        ):  # fmt: skip
            arguments = {"setting": setting, "normalized": normalized, "rates": rates, "steps": settings.steps,
                         "scale_rate": scale_rate}  # fmt: skip
            found.append(Computation(f"{name},{setting}", steps.ends, arguments, cost * len(rates)))
        if setting.features == 3:
            best = (2.0 / (1.0 + setting.condition),)
            for name, normalized, rates in ((",plain", False, best), ("", True, ONE_RATE)):
                arguments = {"setting": setting, "normalized": normalized, "rates": rates, "most": settings.most}
                found.append(Computation(f"one rate,{setting}{name}", steps.steps_at, arguments, cost * len(rates)))
    arguments = {"setting": settings.mapped, "rates": tuple(2.0**k for k in LOG_RATES),
                 "lengths": tuple(2.0**k for k in LOG_LENGTHS), "most": settings.mapped_most}  # fmt: skip
    return [*found, Computation("map", steps.steps_from, arguments, settings.mapped.problems * 1e4)]


def analyse(settings: Settings, results: Sequence[Any]) -> Measured:
    """Put results under their names."""
    named = {task.name: result for task, result in zip(tasks(settings), results, strict=True)}
    races: dict[Setting, tuple[Race, Race]] = {}
    for setting in settings.races:
        plain, normalized = ([result for name, result in named.items() if name.startswith(f"race,{setting},{kind},")]
                             for kind in ("plain", "normalised"))  # fmt: skip
        races[setting] = (Race.of(plain), Race.of(normalized))
    return Measured(named, races)


COLUMNS = (
    Column("features", "d"),
    Column("kappa", "kappa", "g"),
    Column("problems", "problems"),
    Column("plain", "plain", ".0f", meaning="steps until the residual is 1e-6 of the first one, median"),
    Column("plain_low"), Column("plain_high"),
    Column("normalized", "normalised", ".0f", meaning="the same with normalisation, with 10 and 90 % of the problems"),
    Column("normalized_low", "10 %", ".0f"), Column("normalized_high", "90 %", ".0f"),
    Column("rate", "rate of w", ".2g", meaning="the best one, median"),
    Column("faster", "faster", lambda row: f"{row.faster / row.problems:.1%}",
           meaning="problems in which normalisation needs fewer steps"),
    Column("faster_low"), Column("faster_high"),
    Column("pseudo", "pseudo kappa", ".3g", meaning="pseudo-condition number, median"),
    Column("bound", "in the end", ".0f", meaning="steps at the rate of the end, (kappa - 1) / (kappa + 1) per step, "
           "with the pseudo-condition number; median"),
)  # fmt: skip


def rows(settings: Settings, data: Measured) -> Iterable[Mapping[str, Any]]:
    """Return a line for each pair of races."""
    for setting, (plain, normalized) in data.races.items():
        drawn, faster = setting.draw(), int((normalized.steps < plain.steps).sum())
        low, high = share_interval(faster, setting.problems)
        pseudo = theory.pseudo_condition_number(drawn.H, drawn.g)
        yield {
            "features": setting.features, "kappa": setting.condition, "problems": setting.problems,
            **_quantiles("plain", plain.steps), **_quantiles("normalized", normalized.steps),
            "rate": float(np.median(normalized.rate)), "faster": faster, "faster_low": low,
            "faster_high": high, "pseudo": float(np.median(pseudo)),
            "bound": float(np.median(steps.ideal_steps(pseudo))),
        }  # fmt: skip


def _quantiles(name: str, values: Floats) -> dict[str, float]:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), method="lower").tolist()
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    counts = span(setting.problems for setting in settings.races)
    return (
        "Least squares with E x x^T = H, eigenvalues of H from 1 to $\\kappa$; BN: $v = \\gamma w / \\sqrt{w^T H w}$. "
        "Above: one problem each, the median one of the race; BN and without BN at the best rate for that problem, and "
        "at rate 1; contours: residual. Below: "
        f"{counts} random problems a setting, steps until the residual is {steps.WITHIN:g} of that at the start, both "
        "methods at the best rate for each problem (bands: 10 to 90 % of the problems; shares: 95 % intervals; dots: "
        f"$\\kappa$ = {KAPPAS[0]:g}, crosses: {KAPPAS[1]:g}). Right: {settings.mapped.problems} problems, all from the "
        f"same prediction, scale at rate 1, up to {settings.mapped_most:,} steps."
    )


EXPERIMENT = Experiment(
    name="normalized-least-squares",
    question="What does normalisation change in descent on least squares?",
    sources=(MORWANI.at("§ 2"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="Both methods at the best constant rate for each problem.",
    claims=claims,
    sheet=SHEET,
    caption=caption,
)
