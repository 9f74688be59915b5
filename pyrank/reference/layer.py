"""One layer, formula by formula, on tensors of any leading shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pyrank.chain import NORMALIZATIONS, Normalization, as_choice, as_number
from pyrank.errors import invalid

LEAKY_SLOPE = 0.01

_ACTIVATIONS = {
    "linear": lambda h: h,
    "relu": torch.relu,
    "leaky_relu": lambda h: functional.leaky_relu(h, LEAKY_SLOPE),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
}


def activate(H: Tensor, activation: str) -> Tensor:
    """F(H), elementwise."""
    return _ACTIVATIONS[activation](H)  # type: ignore[no-any-return, no-untyped-call]


def recentre(Z: Tensor) -> Tensor:
    """Subtract each row's mean over the batch."""
    return Z - Z.mean(dim=-1, keepdim=True)


def normalize(Z: Tensor, normalization: Normalization) -> Tensor:
    """Recentre and rescale rows (..., d, N) as the switches say; a row of zeros stays zero."""
    if normalization.recentre:
        Z = recentre(Z)
    if not normalization.rescale:
        return Z
    size = torch.sqrt((Z * Z).mean(dim=-1, keepdim=True) + normalization.eps)
    degenerate = size == 0
    Z = torch.where(degenerate, 0.0, Z / torch.where(degenerate, 1.0, size))
    return normalization.alpha + normalization.beta * Z


def degenerate_rows(Z: Tensor, normalization: Normalization) -> Tensor:
    """Count the rows of (..., d, N) that rescaling finds to be zero."""
    if not normalization.rescale:
        return torch.zeros(Z.shape[:-2], dtype=torch.int64)
    if normalization.recentre:
        Z = recentre(Z)
    return (Z == 0).all(dim=-1).sum(dim=-1)


def combine(H: Tensor, W: Tensor, gamma: float, activation: str) -> Tensor:
    """H + gamma W F(H), or W F(H) for gamma = inf."""
    A = W @ activate(H, activation)
    return A if math.isinf(gamma) else H + gamma * A


def layer_step(
    H: Tensor,
    W: Tensor,
    *,
    gamma: float = math.inf,
    activation: str = "linear",
    normalization: str | Normalization = "rescale",
) -> Tensor:
    """One layer with explicit weights: ``Normalise(H + gamma W F(H))``, or ``Normalise(W F(H))`` for gamma = inf.

    Parameters
    ----------
    H
        States, (..., d, N).
    W
        Weights, (..., d, d), of the same dtype and device.
    gamma, activation, normalization
        As in `pyrank.Chain`.

    Returns
    -------
    torch.Tensor
        (..., d, N); differentiable in H and W.

    Raises
    ------
    ArgumentError
        If an option is unknown or the shapes do not fit.
    """
    gamma = as_number("gamma", gamma, 0.0, math.inf, "give a number >= 0, or math.inf for no skip connection")
    as_choice("activation", activation, tuple(_ACTIVATIONS))
    if not isinstance(normalization, Normalization):
        normalization = NORMALIZATIONS[as_choice("normalization", normalization, tuple(NORMALIZATIONS))]
    if H.ndim < 2 or W.ndim < 2 or W.shape[-1] != H.shape[-2] or W.shape[-2] != H.shape[-2]:
        raise invalid("W", tuple(W.shape), f"(..., d, d) to go with H {tuple(H.shape)}", "check the width")
    return normalize(combine(H, W, gamma, activation), normalization)
