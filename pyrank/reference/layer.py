"""One layer, formula by formula, on tensors of any leading shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pyrank.chain import NORMALIZATIONS, Normalization
from pyrank.errors import as_choice, as_number, invalid

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


_LINES = {"batch": -1, "features": -2}  # the dimension that a line runs along


def recentre(Z: Tensor, over: str = "batch") -> Tensor:
    """Subtract the mean of each line of (..., d, N): of each row over the batch, or each column over the features."""
    return Z - Z.mean(dim=_LINES[over], keepdim=True)


def line_power(Z: Tensor, order: float, eps: float, over: str = "batch") -> Tensor:
    """Mean |z|^p + eps of each line, or max |z| + eps for p = inf; the line's dimension is kept with size 1."""
    along = _LINES[over]
    if math.isinf(order):
        return Z.abs().amax(dim=along, keepdim=True) + eps
    power = Z * Z if order == 2 else Z.abs().pow(order)
    return power.mean(dim=along, keepdim=True) + eps


def normalize(Z: Tensor, normalization: Normalization) -> Tensor:
    """Recentre and rescale the lines of (..., d, N) as the switches say; a line of zeros stays zero."""
    norm = normalization
    if norm.recentre:
        Z = recentre(Z, norm.over)
    if not norm.rescale:
        return Z
    power = line_power(Z, norm.order, norm.eps, norm.over)
    degenerate = power == 0
    size = torch.where(degenerate, 1.0, power) ** norm.root
    return norm.alpha + norm.beta * torch.where(degenerate, 0.0, Z / size)


def degenerate_lines(Z: Tensor, normalization: Normalization) -> Tensor:
    """Count the lines of (..., d, N) that rescaling finds to be zero."""
    if not normalization.rescale:
        return torch.zeros(Z.shape[:-2], dtype=torch.int64)
    if normalization.recentre:
        Z = recentre(Z, normalization.over)
    return (Z == 0).all(dim=_LINES[normalization.over]).sum(dim=-1)


def take_off_exponent(H: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each state of (..., d, N) by the power of two that brings max |h| into [1, 2); return both."""
    largest = H.abs().amax(dim=(-2, -1))
    _, power = torch.frexp(largest)  # largest = m 2^power with m in [1/2, 1)
    power = torch.where((largest > 0) & torch.isfinite(largest), power - 1, 0)
    return torch.ldexp(H, -power[..., None, None]), power.long()


def combine(H: Tensor, A: Tensor, gamma: float) -> Tensor:
    """H + gamma A, or A for gamma = inf."""
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
        Weights, (..., d', d), of the same dtype and device; d' = d if there is a skip connection.
    gamma, activation, normalization
        As in `pyrank.Chain`.

    Returns
    -------
    torch.Tensor
        (..., d', N); differentiable in H and W.

    Raises
    ------
    ArgumentError
        If an option is unknown or the shapes do not fit.
    """
    gamma = as_number("gamma", gamma, 0.0, math.inf, "give a number >= 0, or math.inf for no skip connection")
    as_choice("activation", activation, tuple(_ACTIVATIONS))
    if not isinstance(normalization, Normalization):
        normalization = NORMALIZATIONS[as_choice("normalization", normalization, tuple(NORMALIZATIONS))]
    for name, tensor in (("H", H), ("W", W)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise invalid(name, kind, "a floating point torch.Tensor", "convert it first")
    if H.dtype != W.dtype:
        raise invalid("W.dtype", W.dtype, f"{H.dtype}, that of H", "convert one of the two")
    square = "" if math.isinf(gamma) else ", square because of the skip connection,"
    if H.ndim < 2 or W.ndim < 2 or W.shape[-1] != H.shape[-2] or (square and W.shape[-2] != H.shape[-2]):
        raise invalid("W", tuple(W.shape), f"(..., d', d){square} to go with H {tuple(H.shape)}", "check the width")
    return normalize(combine(H, W @ activate(H, activation), gamma), normalization)
