"""What the experiments on trainings share: images as vectors, how far a network has moved, and how well it did."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyrank import data
from pyrank.networks.training import History
from pyrank.specs.normalization import Normalization

Floats = NDArray[np.float64]
Pair = tuple[Tensor, Tensor]

EPS = 1e-5
"""Of every normalisation here, as torch has it."""
PLAIN = Normalization(rescale=False)
BATCH_NORM = Normalization(recentre=True, eps=EPS)
CLASSES = 10


@lru_cache(maxsize=16)
def images(name: str, split: str, samples: int, seed: int | None = None) -> Pair:
    """Return images as vectors (n, 784) with pixels from 0 to 1, and labels: the first ones, or drawn by the seed."""
    x, y = data.load(name, split, samples, seed)
    return x.flatten(1), y


def best_accuracy(history: History, classes: int) -> float:
    """Return the best test accuracy of all epochs; that of guessing if it diverged before the first one ended."""
    seen = history.test_accuracy[np.isfinite(history.test_accuracy)]
    return float(seen.max()) if seen.size else 1.0 / classes


def last_loss(history: History, steps: int) -> float:
    """Return the mean loss of the last steps; infinite if the training diverged."""
    mean = float(history.loss[-steps:].mean())
    return mean if math.isfinite(mean) else math.inf


class Distance:
    """How far all parameters have moved from where they were, at the end of each epoch: a monitor for `train`."""

    every, batches = 2, 0  # so that it is never asked between the steps

    def __init__(self, model: nn.Module) -> None:
        self.model, self.origin = model, vector(model)
        self.found = [0.0]

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Look."""
        self.found.append(float(torch.linalg.vector_norm(vector(self.model) - self.origin)))

    def scalars(self) -> dict[str, float]:
        """Return nothing, as nothing is measured by steps."""
        return {}

    def by_epoch(self, epochs: int) -> Floats:
        """Return (epochs + 1,): 0 at the start, and NaN where a training that diverged never came."""
        missing = epochs + 1 - len(self.found)
        return np.array([*self.found, *[math.nan] * missing])


def vector(model: nn.Module) -> Tensor:
    """Return all parameters in float64, one after the other."""
    return torch.cat([each.detach().double().flatten() for each in model.parameters()])
