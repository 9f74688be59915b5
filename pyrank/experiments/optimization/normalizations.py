"""Which normalisations are compared, how a network with one of them is trained, and what is looked at afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from pyrank import networks
from pyrank.experiments.batchnorm import EPS, NONE
from pyrank.experiments.optimization.trainings import CLASSES, Floats, best_accuracy, images, last_loss, vector
from pyrank.optimization import hessian_eigenvalues
from pyrank.specs.normalization import Normalization
from pyrank.support.ambient import one_thread

ORDERS = {"L2": 2.0, "L3": 3.0, "L1": 1.0, "L_inf": math.inf}
NORMALIZATIONS = {
    f"{centring} {name}": Normalization(recentre=centring == "centred", order=order, eps=EPS)
    for name, order in ORDERS.items()
    for centring in ("centred", "uncentred")
}
"""By what they are called, those of the note's figures first."""
SHOWN = tuple(NORMALIZATIONS)[:4]
"""Those of the note's figures."""
WITHOUT = "none"
TOLERANCE = 1e-2
"""Relative size of the residuals of eigenvalues; their error is of second order in it."""


@dataclass(frozen=True)
class Training:
    """How a perceptron is trained, but for its normalisation, learning rate and seed.

    Attributes
    ----------
    data
        Name of a set of images.
    samples, tests
        Training images, drawn by the seed, and test images, which are always the same.
    width
        Of both hidden layers.
    batch, epochs
        As `pyrank.networks.train` takes them.
    """

    data: str
    samples: int
    tests: int
    width: int
    batch: int
    epochs: int


@dataclass(frozen=True)
class Ending:
    """What came of a training.

    Attributes
    ----------
    accuracy
        The best one of all epochs on the test images, with running statistics.
    loss
        Mean training loss of the last epoch, infinite if it diverged.
    distance
        (epochs + 1,): of all parameters from their start.
    eigenvalues, residuals
        (k,): of the Hessian of the training loss at the end, largest first; NaN if the training diverged.
    """

    accuracy: float
    loss: float
    distance: Floats
    eigenvalues: Floats
    residuals: Floats


@one_thread()
def trained(training: Training, normalization: str, learning_rate: float, seed: int, curvature: int, k: int) -> Ending:
    """Train a network, and take the k largest eigenvalues of the loss of ``curvature`` training images as one batch."""
    law = NORMALIZATIONS.get(normalization, NONE)
    data = images(training.data, "train", training.samples, seed)
    model = networks.mlp(2, training.width, data[0].shape[1], CLASSES, law, seed=seed)
    start = vector(model)
    history = networks.train(
        model, data, epochs=training.epochs, batch=training.batch, learning_rate=learning_rate, seed=seed,
        test=images(training.data, "test", training.tests), statistics="running",
        evaluate=lambda: {"distance": torch.linalg.vector_norm(vector(model) - start)},
    )  # fmt: skip
    values = residuals = np.full(k, math.nan)
    if k and not history.diverged:
        x, y = (part[:curvature] for part in data)
        spectrum = hessian_eigenvalues(model.train(), cross_entropy, (x, y), k, tolerance=TOLERANCE)
        values, residuals = spectrum.values, spectrum.residuals
    loss = last_loss(history, training.samples // training.batch)
    return Ending(best_accuracy(history, CLASSES), loss, history.evaluations["distance"], values, residuals)


def largest_rate(rates: tuple[float, ...], losses: Floats) -> float:
    """Return the largest rate at which a network learns: the loss ends below half of that of guessing, else 0.

    ``losses`` are in the order of the rates, which ascend.
    """
    learns = [rate for rate, loss in zip(rates, losses, strict=True) if loss < math.log(CLASSES) / 2]
    return max(learns, default=0.0)
