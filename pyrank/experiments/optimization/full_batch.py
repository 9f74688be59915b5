"""Descent on the loss of a whole batch, for a network with normalisation and for others at the equivalent point."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyrank import networks
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.optimization.trainings import CLASSES, Floats, Pair, images
from pyrank.reference.measures import participation_ratio
from pyrank.support.ambient import one_thread

KINDS = {"BN": "BN", "equivalent": "without BN, from the equivalent point", "plain": "without BN, torch's own start"}
LIMIT = 1e3
"""A loss so many times the first one, or none, is that of a descent that has diverged; and so are norms."""
OCTAVES = (-8.0, 8.0)
"""Powers of two between which the largest stable rate is sought."""


@dataclass(frozen=True)
class Problem:
    """A perceptron with ``depth`` hidden layers of one width, and how many images it is shown at once."""

    data: str
    samples: int
    depth: int
    width: int

    def batch(self, seed: int) -> Pair:
        """Draw images, as vectors, and their labels."""
        return images(self.data, "train", self.samples, seed)

    def network(self, kind: str, x: Tensor, seed: int) -> nn.Sequential:
        """Build one of `KINDS`; those with BN and from the equivalent point have the same weights, of this seed."""
        law = "none" if kind == "plain" else BN
        model = networks.mlp(self.depth, self.width, x.shape[1], CLASSES, law, seed=seed)
        if kind == "equivalent":
            networks.initialize(model, "equivalent", x)
        return model


@dataclass(frozen=True)
class Record:
    """A descent: the start and one entry a step; what is no number is infinite, and NaN stands where it never came.

    Attributes
    ----------
    loss
        (steps + 1,).
    activations, gradients, weights
        (steps + 1, depth): Frobenius norms of the output Y of each hidden layer, before its activation and after its
        normalisation, (width, samples); of the gradient of the loss by it; and of the weights of the layer.
    rank
        Participation ratio of the last hidden layer at the start, after its activation.
    """

    loss: Floats
    activations: Floats
    gradients: Floats
    weights: Floats
    rank: float

    @property
    def diverged(self) -> bool:
        """Whether the loss has grown beyond `LIMIT` times the first, or is none."""
        return not bool(np.all(self.loss <= LIMIT * self.loss[0]))

    def growth(self, what: str) -> float:
        """Return the largest norm of any layer over its first one."""
        norms: Floats = getattr(self, what)
        return float(np.nanmax(norms / norms[0]))


@one_thread()
def follow(problem: Problem, kind: str, rate: float, steps: int, seed: int) -> Record:
    """Descend, with a constant rate for all parameters, and write down all norms."""
    x, y = problem.batch(seed)
    model = problem.network(kind, x, seed)
    with torch.no_grad():
        rank = float(participation_ratio(model[:-1](x).T))
    losses = np.full(steps + 1, math.nan)
    norms = np.full((3, steps + 1, problem.depth), math.nan)
    layers = [module for module in model if isinstance(module, nn.Linear)][:-1]
    for step, (loss, outputs, gradients) in enumerate(_descent(model, x, y, rate, steps)):
        losses[step] = loss if math.isfinite(loss) else math.inf
        for row, tensors in zip(norms, (outputs, gradients, [layer.weight for layer in layers]), strict=True):
            row[step] = [_norm(each) for each in tensors]
    return Record(losses, norms[0], norms[1], norms[2], rank)


def _norm(tensor: Tensor) -> float:
    norm = torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).item()
    return norm if math.isfinite(norm) else math.inf


def _descent(
    model: nn.Sequential, x: Tensor, y: Tensor, rate: float, steps: int
) -> Iterator[tuple[float, list[Tensor], tuple[Tensor, ...]]]:
    """Give loss, outputs of layers and gradients by these before each step and after the last, up to no number."""
    parameters = list(model.parameters())
    for _ in range(steps + 1):
        outputs, h = [], x
        for module in model:
            if isinstance(module, nn.ReLU):
                outputs.append(h)
            h = module(h)
        loss = cross_entropy(h, y)
        found = torch.autograd.grad(loss, [*outputs, *parameters])
        value = loss.item()
        yield value, outputs, found[: len(outputs)]
        if not math.isfinite(value):
            return
        with torch.no_grad():
            for parameter, gradient in zip(parameters, found[len(outputs) :], strict=True):
                parameter.sub_(rate * gradient)


@dataclass(frozen=True)
class Bracket:
    """Where the largest stable rate lies: stable at ``low``, diverged at ``high``."""

    low: float
    high: float

    @property
    def rate(self) -> float:
        """Between the two."""
        return math.sqrt(self.low * self.high)


@one_thread()
def largest_rate(problem: Problem, kind: str, steps: int, halvings: int, seed: int) -> Bracket:
    """Find the largest rate at which so many steps of descent do not diverge, by bisection of its logarithm."""
    x, y = problem.batch(seed)
    low, high = OCTAVES
    for _ in range(halvings):
        middle = (low + high) / 2
        stable = _is_stable(problem.network(kind, x, seed), x, y, 2.0**middle, steps)
        low, high = (middle, high) if stable else (low, middle)
    return Bracket(2.0**low, 2.0**high)


def _is_stable(model: nn.Sequential, x: Tensor, y: Tensor, rate: float, steps: int) -> bool:
    first, taken = math.nan, -1
    for taken, (loss, _, _) in enumerate(_descent(model, x, y, rate, steps)):
        first = loss if taken == 0 else first
        if not loss <= LIMIT * first:
            return False
    return taken == steps
