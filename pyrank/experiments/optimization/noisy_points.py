"""What is trained on few points among much noise: one data set a seed, three networks, several learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pyrank import data, networks
from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import BN, NONE
from pyrank.experiments.optimization.trainings import Floats, best_accuracy
from pyrank.support.ambient import one_thread

NETWORKS = {
    "BN, reshuffled": (BN, True),
    "BN, not reshuffled": (BN, False),
    "no BN": (NONE, True),
}
"""Normalisation, and whether batches are drawn anew in each epoch."""
KINDS = tuple(NETWORKS)
FEATURES, INFORMATIVE, CLASSES, WIDTH = 1000, 100, 5, 100
"""Those of the note."""
FEW = 16
"""Points of each class up to which data are few; there the outcome is mapped over what the note leaves open."""


@dataclass(frozen=True)
class Points:
    """Training points, and what the note leaves open about them.

    Attributes
    ----------
    each
        Points of each class.
    noise, gap
        Of `pyrank.data.separable`: standard deviation of the other features, and distance between classes.
    batch
        At most so many points in a batch.
    """

    each: int
    noise: float = 1.0
    gap: float = 4.0
    batch: int = 20

    @property
    def constants(self) -> str:
        """All but the number of points, in words."""
        return f"noise {self.noise:g}, gap {self.gap:g}, batch {self.batch}"


@one_thread()
def raced(points: Points, rates: tuple[float, ...], steps: int, tests: int, seed: int) -> Floats:
    """Train the networks on one data set, at least so many steps each; return best accuracies, (kinds, rates).

    They are those on ``tests`` further points, with running statistics. All networks have the same weights at the
    start, and the same order of points where it is drawn.
    """
    count = CLASSES * points.each
    x, y = data.separable(CLASSES, FEATURES, INFORMATIVE, count + tests, seed, noise=points.noise, gap=points.gap)
    batch = min(points.batch, count)
    epochs = math.ceil(steps / (count // batch))
    found = np.empty((len(KINDS), len(rates)))
    for number, (law, shuffle) in enumerate(NETWORKS.values()):
        if not shuffle and batch == count:  # the same batch in any order, which came before
            found[number] = found[number - 1]
            continue
        for column, rate in enumerate(rates):
            model = networks.mlp(1, WIDTH, FEATURES, CLASSES, law, seed=seed)
            history = networks.train(
                model, (x[:count], y[:count]), epochs=epochs, batch=batch, learning_rate=rate, seed=seed,
                test=(x[count:], y[count:]), statistics="running", shuffle=shuffle,
            )  # fmt: skip
            found[number, column] = best_accuracy(history, CLASSES)
    return found


@dataclass(frozen=True)
class Races:
    """Best accuracies by points, (seeds, kinds, rates)."""

    found: Mapping[Points, Floats]
    rates: tuple[float, ...]

    def best(self, points: Points, kind: str) -> tuple[float, Floats]:
        """Return the rate at which a network does best in the mean over seeds, and how well it does there, (seeds,)."""
        by_rate = self.found[points][:, KINDS.index(kind)]
        column = int(by_rate.mean(axis=0).argmax())
        return self.rates[column], by_rate[:, column]

    def gain(self, some: list[Points], kind: str, rate: float | None = None) -> Interval:
        """Return how much better a network with BN is than that without, mean over ``some`` points.

        Each has its own best rate, or all the same one.
        """

        def accuracy(points: Points, which: str) -> Floats:
            if rate is None:
                return self.best(points, which)[1]
            values: Floats = self.found[points][:, KINDS.index(which), self.rates.index(rate)]
            return values

        return Interval.mean(np.mean([accuracy(p, kind) - accuracy(p, "no BN") for p in some], axis=0))
