"""One training of a recipe: its losses and accuracies epoch by epoch, and the ranks of its hidden layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pyrank import networks
from pyrank.experiments.networks.recipes import Recipe, built, pictures
from pyrank.networks.kept import kept
from pyrank.reference.measures import participation_ratio
from pyrank.reference.spectral import numerical_rank
from pyrank.support.ambient import one_thread

FOOTNOTE = 1e-7
"""Daneshmand et al., footnote 3: a singular value counts if it is above sigma_max d times this."""

DIVERGED = 1e6
"""A loss above it has diverged as much as one that is no number."""


@dataclass(frozen=True)
class Training:
    """What came of a training.

    Attributes
    ----------
    loss, accuracy
        (epochs,): mean loss of the steps of each epoch, and share of training images that are right after it; NaN from
        where the training diverged.
    test_loss, test_accuracy
        (epochs,) likewise, or (0,) without test images.
    r
        (epochs + 1, layers): r of each hidden layer on the first batch, before training and after each epoch; of a
        convolutional network, of its last hidden layer alone.
    rank
        (epochs + 1,): numerical rank of the last hidden layer there, float32, by the footnote's rule.
    diverged
        Whether the loss stopped being a number, or exceeded `DIVERGED`.
    """

    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    r: NDArray[np.float64]
    rank: NDArray[np.float64]
    diverged: bool


def trained(recipe: Recipe, learning_rate: float, seed: int) -> Training:
    """Build and train a network on one thread, on which the result does not depend on the machine's others."""
    with one_thread():
        return trained_further(built(recipe, seed), recipe, learning_rate, seed)


def trained_further(model: nn.Sequential, recipe: Recipe, learning_rate: float, seed: int) -> Training:
    """Train a network that has been built."""
    x, y = pictures(recipe)
    test = pictures(recipe, "test") if recipe.tests else None
    watch = _Epochs(model, recipe, x[: recipe.batch], test)
    history = networks.train(
        model, (x, y), epochs=recipe.epochs, batch=recipe.batch, learning_rate=learning_rate,
        optimizer=recipe.optimizer, seed=seed, test=test, monitor=watch,
    )  # fmt: skip
    steps = history.loss.reshape(recipe.epochs, -1)
    large = np.flatnonzero(~(steps <= DIVERGED).all(axis=1))
    gone = large[0] if large.size else recipe.epochs
    loss, accuracy, test_accuracy = steps.mean(axis=1), history.accuracy.copy(), history.test_accuracy.copy()
    for values in (loss, accuracy, test_accuracy):
        values[gone:] = math.nan
    test_loss = watch.column("test_loss")[1:] if test else np.zeros(0)
    diverged = history.diverged or bool(large.size)
    return Training(loss, accuracy, test_loss, test_accuracy, watch.column("r"), watch.column("rank"), diverged)


def hidden_layers(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return H, features x samples, after each activation of an MLP; of another network what its head is given."""
    found = []
    for layer in list(model)[:-1]:
        x = layer(x)
        if isinstance(layer, nn.ReLU | nn.Tanh) and x.ndim == 2:
            found.append(x.mT)
    return found or [x.mT]


def ranks_of(H: Tensor) -> tuple[float, float]:
    """Return r of a hidden matrix, and its numerical rank by the footnote; NaN if it is not finite."""
    if not torch.isfinite(H).all():
        return math.nan, math.nan
    return participation_ratio(H.double()).item(), numerical_rank(H, FOOTNOTE * H.shape[0]).item()


class _Epochs:
    """Measures a network before its training and after each epoch; `pyrank.networks.train` takes it for a monitor."""

    every, batches = 2, 0  # so that it is never asked between the steps

    def __init__(self, model: nn.Sequential, recipe: Recipe, x: Tensor, test: tuple[Tensor, Tensor] | None) -> None:
        self.model, self.recipe, self.x, self.test = model, recipe, x, test
        self.found: list[dict[str, object]] = []

    def start(self) -> None:
        if not self.found:
            self.stop()

    @torch.no_grad()
    def stop(self) -> None:
        with kept(self.model):
            states = hidden_layers(self.model, self.x)
            r = [ranks_of(H)[0] for H in states]
            loss = mean_loss(self.model, self.test, self.recipe.batch) if self.test and self.found else math.nan
        self.found.append({"r": r, "rank": ranks_of(states[-1])[1], "test_loss": loss})

    def scalars(self) -> dict[str, float]:
        return {}

    def column(self, name: str) -> NDArray[np.float64]:
        """Return (epochs + 1, ...), with NaN where a diverged training never came."""
        values = np.array([each[name] for each in self.found], dtype=float)
        missing = self.recipe.epochs + 1 - len(values)
        return np.concatenate([values, np.full((missing, *values.shape[1:]), math.nan)])


def mean_loss(model: nn.Module, test: tuple[Tensor, Tensor], batch: int) -> float:
    """Return the loss over whole batches, with their own statistics."""
    whole = len(test[1]) - len(test[1]) % batch
    pairs = zip(torch.split(test[0][:whole], batch), torch.split(test[1][:whole], batch), strict=True)
    return float(np.mean([functional.cross_entropy(model(x), y).item() for x, y in pairs]))
