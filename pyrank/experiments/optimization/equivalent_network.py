"""Why does batch normalisation enable higher rates? At rate 1 it descends, and the same function without it diverges.

A perceptron with batch normalisation and its equivalent network (`pyrank.optimization.equivalent_network`: the same
function of this batch, the same weights but for factors) descend on the loss of one whole batch, with the same rate for
all parameters. Written down at each step are Frobenius norms by layer: of its output Y before the activation, which is
after the normalisation if there is one; of the gradient of the loss by Y; and of its weights W.

The note leaves open the width, the activation and what "10 layers" are: here 100 features, as in its section 5, ReLU,
and 10 hidden layers with a linear head; weights are torch's, the loss is cross entropy. It has MNIST; here it is
Fashion-MNIST, which comes with pyrank, and with the preset ``as-published`` MNIST, which has to be on the machine. A
descent has diverged if its loss is 1000 times the first or no number. A third network, without normalisation and with
torch's own start, shows what is due to the equivalent point; and a small rate, whether a network learns from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyrank.experiments.declaration import Experiment, Found, Table
from pyrank.experiments.optimization.full_batch import KINDS, Problem, follow, largest_rate
from pyrank.experiments.optimization.full_batch_claims import NORMS, Measured, claims, factor
from pyrank.experiments.optimization.full_batch_figure import SHEET
from pyrank.experiments.optimization.trainings import Floats
from pyrank.experiments.papers import MORWANI
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation


@dataclass(frozen=True)
class Settings:
    """Seeds 0, 1, ... draw images and weights; ``searched`` is for the largest rates and the small one, ``gentle``."""

    problem: Problem
    steps: int
    seeds: int
    searched: Problem
    depths: tuple[int, ...]
    search_steps: int
    halvings: int
    gentle_steps: int
    gentle: float = 0.03
    rate: float = 1.0


PRESETS = {
    "quick": Settings(
        Problem("fashion-mnist", 2_000, 10, 100), steps=30, seeds=6, searched=Problem("fashion-mnist", 500, 10, 100),
        depths=(2, 10), search_steps=20, halvings=6, gentle_steps=60,
    ),
    "paper": Settings(
        Problem("fashion-mnist", 10_000, 10, 100), steps=100, seeds=10,
        searched=Problem("fashion-mnist", 2_000, 10, 100), depths=(1, 2, 3, 5, 10, 20), search_steps=50, halvings=7,
        gentle_steps=200,
    ),
}  # fmt: skip
PRESETS["as-published"] = replace(
    PRESETS["paper"], problem=replace(PRESETS["paper"].problem, data="mnist"),
    searched=replace(PRESETS["paper"].searched, data="mnist"),
)  # fmt: skip


def tasks(settings: Settings) -> list[Computation]:
    """Return the descents at the rate of the note and at a small one, and the searches for the largest."""
    found = []
    for problem, rate, count in ((settings.problem, settings.rate, settings.steps),
                                 (settings.searched, settings.gentle, settings.gentle_steps)):  # fmt: skip
        for kind in KINDS:
            arguments = {"problem": problem, "kind": kind, "rate": rate, "steps": count}
            cost = problem.samples * count * problem.depth
            found += [Computation(f"{kind},rate={rate:g},seed={seed}", follow, {**arguments, "seed": seed}, cost)
                      for seed in range(settings.seeds)]  # fmt: skip
    for kind in KINDS:
        for depth in settings.depths:
            problem = replace(settings.searched, depth=depth)
            arguments = {"problem": problem, "kind": kind, "steps": settings.search_steps,
                         "halvings": settings.halvings}  # fmt: skip
            cost = problem.samples * settings.search_steps * settings.halvings * depth
            found += [Computation(f"largest rate,{kind},depth={depth},seed={seed}", largest_rate,
                                  {**arguments, "seed": seed}, cost) for seed in range(settings.seeds)]  # fmt: skip
    return found


def analyse(settings: Settings, results: Sequence[Any]) -> Measured:
    """Sort what came of the tasks by kind of network, and by depth."""
    rest = iter(results)
    records, gentle = ({kind: [next(rest) for _ in range(settings.seeds)] for kind in KINDS} for _ in range(2))
    rates = {(kind, depth): np.array([next(rest).rate for _ in range(settings.seeds)])
             for kind in KINDS for depth in settings.depths}  # fmt: skip
    return Measured(records, gentle, rates)


COLUMNS = (
    Column("kind"),
    Column("", "network", lambda row: KINDS[row.kind]),
    Column("seeds", "seeds"),
    Column("diverged", "diverged", meaning="how many of them, at the rate of the note"),
    Column("first", "first loss", ".3f", meaning="median"),
    Column("last", "last loss", ".3f", meaning="median; NaN where most diverged"),
    *(Column(what, what, ".3g", meaning=f"largest norm of {what} over the first one of its layer, median")
      for what in NORMS),
    Column("rank", "r", ".3f", meaning="participation ratio of the last hidden layer at the start, median"),
)  # fmt: skip


def rows(settings: Settings, data: Measured) -> Iterable[Mapping[str, Any]]:
    """Return a line for each kind of network."""
    for kind, records in data.records.items():
        yield {
            "kind": kind, "seeds": settings.seeds, "diverged": sum(record.diverged for record in records),
            "first": _median([record.loss[0] for record in records]),
            "last": _median([record.loss[-1] for record in records]),
            **{what: _median([record.growth(what) for record in records]) for what in NORMS},
            "rank": _median([record.rank for record in records]),
        }  # fmt: skip


def _median(values: Sequence[float] | Floats) -> float:
    return float(np.quantile(values, 0.5, method="lower"))


RATES = (
    Column("kind"),
    Column("", "network", lambda row: KINDS[row.kind]),
    Column("depth", "hidden layers"),
    Column("rate", "largest rate", ".3g", meaning="that does not diverge, from 2^-8 to 2^8, geometric mean over seeds"),
    Column("low", "from", ".3g"),
    Column("high", "to", ".3g", meaning="95 % interval"),
)


def rate_rows(found: Found) -> Iterable[Mapping[str, Any]]:
    """Return a line for each kind of network and depth."""
    for (kind, depth), rates in found.data.rates.items():
        mean = factor(rates)
        yield {"kind": kind, "depth": depth, "rate": mean.value, "low": mean.low, "high": mean.high}


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    problem, searched = settings.problem, settings.searched
    return (
        f"Perceptrons with {problem.depth} hidden layers of {problem.width} features and ReLU, {problem.samples:,} "
        f"images of {problem.data} as one batch, rate {settings.rate:g}. Left: norms by layer (light: first, dark: "
        "last), one seed; where a line ends the loss is no number; outputs of the network without BN by layer after 0, "
        f"1, 2, ... steps. Losses: all {settings.seeds} seeds, below with {searched.samples:,} images. Rates: largest "
        f"ones at which {settings.search_steps} steps do not diverge, {searched.samples:,} images, by bisection to a "
        f"factor of {2 ** (16 / 2**settings.halvings):.2g}, geometric means and 95 % intervals over seeds."
    )


EXPERIMENT = Experiment(
    name="equivalent-network",
    question="Why does batch normalisation enable higher rates?",
    sources=(MORWANI.at("§ 3"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    tables=(Table("rates", "The largest rate that does not diverge", RATES, rate_rows),),
    claims=claims,
    sheet=SHEET,
    caption=caption,
)
