"""One training of a recipe: its losses and accuracies epoch by epoch, and the ranks of its hidden layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pyrank import networks
from pyrank.experiments.networks.recipes import Recipe, built, pictures
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
    first, batch = x[: recipe.batch], recipe.batch

    @torch.no_grad()
    def evaluate() -> dict[str, Any]:
        states = hidden_layers(model, first)
        ranks = {"r": [ranks_of(H)[0] for H in states], "rank": ranks_of(states[-1])[1]}
        return ranks | ({"test_loss": mean_loss(model, test, batch)} if test else {})

    history = networks.train(
        model, (x, y), epochs=recipe.epochs, batch=batch, learning_rate=learning_rate, optimizer=recipe.optimizer,
        seed=seed, test=test, evaluate=evaluate,
    )  # fmt: skip
    steps = history.loss.reshape(recipe.epochs, -1)
    large = np.flatnonzero(~(steps <= DIVERGED).all(axis=1))
    gone = large[0] if large.size else recipe.epochs
    loss, accuracy, test_accuracy = steps.mean(axis=1), history.accuracy.copy(), history.test_accuracy.copy()
    for values in (loss, accuracy, test_accuracy):
        values[gone:] = math.nan
    looked = history.evaluations
    test_loss = looked["test_loss"][1:] if test else np.zeros(0)
    diverged = history.diverged or bool(large.size)
    return Training(loss, accuracy, test_loss, test_accuracy, looked["r"], looked["rank"], diverged)


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


def mean_loss(model: nn.Module, test: tuple[Tensor, Tensor], batch: int) -> float:
    """Return the loss over whole batches, with their own statistics."""
    whole = len(test[1]) - len(test[1]) % batch
    pairs = zip(torch.split(test[0][:whole], batch), torch.split(test[1][:whole], batch), strict=True)
    return float(np.mean([functional.cross_entropy(model(x), y).item() for x, y in pairs]))
