"""What the experiments on trainings share: images as vectors, a network's parameters as one, and how well it did."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyrank import data
from pyrank.networks.training import History

Floats = NDArray[np.float64]
Pair = tuple[Tensor, Tensor]

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


def vector(model: nn.Module) -> Tensor:
    """Return all parameters in float64, one after the other."""
    return torch.cat([each.detach().double().flatten() for each in model.parameters()])
