"""How alike the gradients of a network are before it is trained, and how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pyrank import networks
from pyrank.experiments.networks.recipes import Recipe, built, pictures
from pyrank.support.ambient import one_thread

BINS = 50


@dataclass(frozen=True)
class Directions:
    """Mean of abs(cos), its histogram (`BINS`,) over 0 to 1, how many gradients are zero, and two norms."""

    mean: float
    least: float
    histogram: NDArray[np.float64]
    zero: int
    head: float
    first: float


def directions(recipe: Recipe, seed: int) -> Directions:
    """Compare the gradients of the first images at the start."""
    with one_thread():
        model, (x, y) = built(recipe, seed), pictures(recipe)
        found = networks.gradient_alignment(model, functional.cross_entropy, x, y)
        weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        gradients = torch.autograd.grad(functional.cross_entropy(model(x), y), (weights[0], weights[-1]))
        first, head = (gradient.double().norm().item() for gradient in gradients)
    counts = np.histogram(found.values, BINS, (0.0, 1.0))[0] / max(1, found.values.size)
    return Directions(found.mean, float(found.values.min(initial=1.0)), counts, found.zero, head, first)
