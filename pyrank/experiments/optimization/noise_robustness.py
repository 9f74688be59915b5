"""Is a network with BN more robust to noise in its data when there are few? Morwani says it is, reshuffled or not.

Points of 5 classes lie in 1000 dimensions; 100 of these separate the classes linearly, the others are gaussian noise
(`pyrank.data.separable`). One hidden layer of 100 units is trained by SGD on some points of each class: with BN and
batches that are drawn anew in each epoch, with BN and the same batches throughout ("without regularization"), and
without BN. Compared is the best accuracy on further points.

The note leaves open how strong the noise is, how far the classes lie apart, batches, learning rate and length of
training. Here the noise is as wide as the informative features, N(0, 1), classes are 4 apart, batches have 20 points,
every training takes the same number of steps, and each network has its best learning rate of a stated grid. What other
constants do to the outcome is mapped; where they turn it over, the note's claim is undecided by its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.claims import Claim, at_least, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.optimization import noise_curves
from pyrank.experiments.optimization.noisy_points import FEW, KINDS, Points, Races, raced
from pyrank.experiments.optimization.trainings import Floats
from pyrank.experiments.papers import MORWANI
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation
from pyrank.plotting import Sheet

NARROW = 0.02
"""A gain in accuracy above which a network is better for an extension."""


@dataclass(frozen=True)
class Settings:
    """``each``: points a class at the constants chosen; ``others``: other constants, at `FEW` points a class."""

    each: tuple[int, ...]
    others: tuple[Points, ...]
    rates: tuple[float, ...]
    steps: int
    tests: int
    seeds: int

    @property
    def races(self) -> tuple[Points, ...]:
        """All that is run: the curve, then the map."""
        return (*map(Points, self.each), *self.others)


PRESETS = {
    "quick": Settings(
        (4, FEW, 64),
        (Points(FEW, noise=0.3), Points(FEW, noise=3.0), Points(FEW, gap=2.0), Points(FEW, gap=8.0),
         Points(FEW, batch=10), Points(FEW, batch=40)),
        rates=(0.1, 0.4, 1.6), steps=100, tests=250, seeds=4,
    ),
    "paper": Settings(
        (2, 4, 8, FEW, 32, 64, 128, 256, 512),
        tuple(Points(FEW, *each) for each in product((0.3, 1.0, 3.0), (2.0, 4.0, 8.0), (10, 20, 40))
              if each != (1.0, 4.0, 20)),
        rates=(0.025, 0.1, 0.4, 1.6, 6.4), steps=1_000, tests=1_000, seeds=10,
    ),
}  # fmt: skip
"""On two cores of an AMD EPYC, ``quick`` takes about a minute, ``paper`` about three hours."""


def tasks(settings: Settings) -> list[Computation]:
    """Return a task for each number of points, or other constants, and each seed."""
    return [
        Computation(f"{points.each} a class,{points.constants},seed={seed}", raced,
                    {"points": points, "rates": settings.rates, "steps": settings.steps, "tests": settings.tests,
                     "seed": seed}, cost=1.0 + 8.0 / points.each)
        for points in settings.races for seed in range(settings.seeds)
    ]  # fmt: skip


def analyse(settings: Settings, results: Sequence[Floats]) -> Races:
    """Collect the seeds of each."""
    by_points = np.array(results).reshape(len(settings.races), settings.seeds, len(KINDS), len(settings.rates))
    return Races(dict(zip(settings.races, by_points, strict=True)), settings.rates)


COLUMNS = (
    Column("each", "points", meaning="training points of each class"),
    Column("noise", "noise", "g", meaning="standard deviation of features that are noise"),
    Column("gap", "gap", "g", meaning="distance between classes"),
    Column("batch", "batch"),
    Column("rate", "rate", "g", meaning="the best one of the grid"),
    Column("accuracy", "best accuracy", error="error", meaning="of all epochs, on further points"),
    Column("error"),
    Column("at_rates", "at each rate"),
    Column("kind", "network"),
)


def rows(settings: Settings, data: Races) -> Iterable[Mapping[str, Any]]:
    """Return a line for each network."""
    for points, kind in product(settings.races, KINDS):
        rate, values = data.best(points, kind)
        accuracy, error = map(float, mean_interval(values))
        means = data.found[points][:, KINDS.index(kind)].mean(axis=0)
        yield {"each": points.each, "noise": points.noise, "gap": points.gap, "batch": points.batch, "rate": rate,
               "accuracy": accuracy, "error": error, "at_rates": " ".join(f"{mean:.3f}" for mean in means),
               "kind": kind}  # fmt: skip


def claims(found: Found) -> list[Claim]:
    """Return what the note says, over all that it leaves open; and how far it reaches."""
    data: Races = found.data
    few, many = (list(map(Points, some)) for some in _few_and_many(found.settings))
    reading = (
        f"few: up to {FEW} points a class; best accuracy less that without BN, each network at its best rate of the "
        "grid; the interval spans the constants that the note leaves open: noise, gap between classes, size of batches"
    )
    return [
        *(published(f"with few training data BN, {kind[4:]}, beats the network without BN", MORWANI.at("§ 5"),
                    _over_constants(found, kind), at_least(0.0), reading=reading,
                    note=f"at the constants chosen: {data.gain(few, kind)}; lowest at {_lowest(found, kind)}")
          for kind in KINDS[:2]),
        extension(f"with many data BN beats it, too (above {FEW} points a class, not reshuffled)", MORWANI.at("§ 5"),
                  data.gain(many, KINDS[1]), at_least(NARROW)),
        *(extension(f"at the same rate {rate:g} for all BN, not reshuffled, beats it with few data", MORWANI.at("§ 5"),
                    data.gain(few, KINDS[1], rate), at_least(0.0)) for rate in data.rates),
        extension("drawing batches anew helps BN with few data", "BN_reg less BN_without_reg in § 5",
                  Interval.mean(np.mean([data.best(p, KINDS[0])[1] - data.best(p, KINDS[1])[1] for p in few], axis=0)),
                  at_least(0.0)),
    ]  # fmt: skip


def _few_and_many(settings: Settings) -> tuple[list[int], list[int]]:
    return [each for each in settings.each if each <= FEW], [each for each in settings.each if each > FEW]


def _over_constants(found: Found, kind: str) -> Interval:
    """Return the gain with few data at the constants chosen, with an interval that holds those at all others."""
    few = list(map(Points, _few_and_many(found.settings)[0]))
    gains = [found.data.gain(few, kind), *(found.data.gain([points], kind) for points in found.settings.others)]
    low, high = min(gain.low for gain in gains), max(gain.high for gain in gains)
    return Interval(gains[0].value, low, high, "over all constants")


def _lowest(found: Found, kind: str) -> str:
    least = min(found.settings.others, key=lambda points: found.data.gain([points], kind).low)
    return f"{least.constants}: {found.data.gain([least], kind)}"


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        "5 classes in 1000 dimensions, 100 of them informative; MLP 1000-100-5, ReLU, SGD, at least "
        f"{settings.steps:,} steps, rates {', '.join(map(str, settings.rates))}; best accuracy of all epochs "
        f"on {settings.tests:,} further points, with running statistics, {settings.seeds} seeds, 95 % intervals. Left: "
        f"noise of standard deviation {Points(1).noise:g}, classes {Points(1).gap:g} apart, batches of up to "
        f"{Points(1).batch}; each network at its best rate. Right: accuracy with BN, not reshuffled, less that without "
        f"BN, at {FEW} points a class and other constants."
    )


EXPERIMENT = Experiment(
    name="noise-robustness",
    question="Is a network with BN more robust to noise in its data when there are few?",
    sources=(MORWANI.at("§ 5"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="± half of the 95 % interval over seeds (Student).",
    claims=claims,
    sheet=Sheet("Few points among much noise, with BN and without",
                noise_curves.PANELS, size=(11, 5)),
    caption=caption,
    more=lambda found: {"races": [{"points": vars(p), "accuracy": values} for p, values in found.data.found.items()]},
)  # fmt: skip
