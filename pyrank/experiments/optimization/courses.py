"""The course of the sharpness in a training, with batch normalisation and without, at each rate of a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyrank import networks
from pyrank.experiments.batchnorm import BN, NONE
from pyrank.experiments.optimization.trainings import CLASSES, Floats, images, last_loss
from pyrank.optimization import SharpnessMonitor
from pyrank.support.ambient import one_thread

KINDS = ("BN", "no BN")


@dataclass(frozen=True)
class Training:
    """How a perceptron is trained, but for its depth, normalisation, learning rate and seed.

    Attributes
    ----------
    samples
        Training images of Fashion-MNIST, drawn by the seed.
    width, batch, epochs
        As `pyrank.networks.mlp` and `train` take them.
    every
        Steps between looks at the sharpness.
    curvature
        So many of the training images are looked at, as one batch.
    """

    samples: int
    width: int
    batch: int
    epochs: int
    every: int
    curvature: int

    @property
    def steps(self) -> Floats:
        """Those before which the sharpness is looked at, and the end."""
        return np.arange(0.0, self.epochs * (self.samples // self.batch) + 1, self.every)


@dataclass(frozen=True)
class Course:
    """What came of a training.

    Attributes
    ----------
    loss
        Mean training loss of the last epoch; infinite if it diverged.
    accuracy
        Share of the training images that are right in the end, with the statistics of batches; NaN if it diverged.
    sharpness
        (looks,): the largest eigenvalue of the Hessian; NaN from where it diverged.
    """

    loss: float
    accuracy: float
    sharpness: Floats


@one_thread()
def followed(training: Training, depth: int, kind: str, learning_rate: float, seed: int) -> Course:
    """Train a network with He's weights, and look at its sharpness on the way."""
    x, y = images("fashion-mnist", "train", training.samples, seed)
    law = BN if kind == "BN" else NONE
    model = networks.mlp(depth, training.width, x.shape[1], CLASSES, law, weights="he", seed=seed)
    monitor = SharpnessMonitor(model, (x[: training.curvature], y[: training.curvature]), training.every)
    history = networks.train(
        model, (x, y), epochs=training.epochs, batch=training.batch, learning_rate=learning_rate, seed=seed,
        monitor=monitor,
    )  # fmt: skip
    seen = list(history.measures["hessian/eigenvalue_1"][:: training.every])
    if len(training.steps) > len(seen):  # the end of the training is one of them
        seen.append(math.nan if history.diverged else monitor.measure()["hessian/eigenvalue_1"])
    loss = last_loss(history, training.samples // training.batch)
    return Course(loss, float(history.accuracy[-1]), np.array(seen))


@dataclass(frozen=True)
class Courses:
    """Courses by depth, kind and rate, a seed each."""

    found: Mapping[tuple[int, str, float], Sequence[Course]]

    def loss(self, depth: int, kind: str, rate: float) -> float:
        """Return the final loss, mean over seeds; infinite if a seed diverged."""
        return float(np.mean([course.loss for course in self.found[depth, kind, rate]]))

    def best_rate(self, depth: int, kind: str) -> float:
        """Return the rate with the smallest training loss, the smaller one of equals."""
        rates = [rate for where, which, rate in self.found if (where, which) == (depth, kind)]
        return min(rates, key=lambda rate: (self.loss(depth, kind, rate), rate))

    def sharpness(self, depth: int, kind: str, rate: float | None = None) -> Floats:
        """Return the sharpness (seeds, looks), at the best rate if none is given."""
        rate = self.best_rate(depth, kind) if rate is None else rate
        return np.array([course.sharpness for course in self.found[depth, kind, rate]])

    def logs(self, depth: int, kind: str, rate: float | None = None) -> Floats:
        """Return the logarithm of the sharpness; NaN where it is not positive, or the training has diverged."""
        sharpness = self.sharpness(depth, kind, rate)
        return np.log(np.where(sharpness > 0, sharpness, math.nan))

    def typical(self, depth: int, kind: str, rate: float | None = None) -> Floats:
        """Return the mean logarithm of the sharpness of all looks but the first, for each seed."""
        means: Floats = self.logs(depth, kind, rate)[:, 1:].mean(axis=1)
        return means
