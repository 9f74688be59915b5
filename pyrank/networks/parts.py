"""What builders put after the weights of a layer: normalisation and activation, by the names of a chain."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from pyrank.networks.normalize import Normalize
from pyrank.reference.activations import LEAKY_SLOPE
from pyrank.specs.normalization import Normalization

ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softplus": lambda: nn.Softplus(threshold=40.0),  # from there on it is h, to the last bit of a double
}


def normalizes(normalization: Normalization) -> bool:
    """Whether it does anything, so that a bias before it would be superfluous."""
    return normalization.recentre or normalization.rescale or normalization.whiten


def after(features: int, activation: str, normalization: Normalization) -> list[nn.Module]:
    """Return what follows the weights of a layer: a normalisation and an activation, each if there is one."""
    norm: list[nn.Module] = [Normalize(features, normalization)] if normalizes(normalization) else []
    return norm if activation == "linear" else [*norm, ACTIVATION_MODULES[activation]()]
