"""One layer, formula by formula, on tensors of any leading shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrank.reference.activations import activate
from pyrank.specs.chain import as_law
from pyrank.specs.normalization import Normalization
from pyrank.support.ambient import unmoved
from pyrank.support.errors import invalid

LINES = {"batch": -1, "features": -2}  # the dimension that a line runs along


def recentre(Z: Tensor, over: str = "batch") -> Tensor:
    """Subtract the mean of each line of (..., d, N): of each row over the batch, or each column over the features.

    Distances from the first entry are averaged, so that equal entries give exactly zero.
    """
    distances = Z - Z.narrow(LINES[over], 0, 1)
    return distances - distances.mean(dim=LINES[over], keepdim=True)


def line_size(Z: Tensor, order: float, eps: float, over: str = "batch") -> Tensor:
    """(mean |z|^p + eps)^(1/p) of each line, or max |z| + eps for p = inf; the line's dimension is kept with size 1.

    It is infinite for a line of zeros, so that dividing by it leaves zeros, and no gradient.
    """
    return size_of(mean_power(Z, order, (LINES[over],)), order, eps)


def mean_power(Z: Tensor, order: float, along: tuple[int, ...]) -> Tensor:
    """Mean |z|^p along dimensions, or max |z| for p = inf; they are kept with size 1."""
    if math.isinf(order) and Z.numel():  # of no numbers there is no largest, but NaN for a mean
        return Z.abs().amax(dim=along, keepdim=True)
    terms = Z * Z if order == 2 else Z.abs().pow(order)
    return terms.mean(dim=along, keepdim=True)


def size_of(power: Tensor, order: float, eps: float) -> Tensor:
    """(power + eps)^(1/p), or power + eps for p = inf: the size of lines with this mean power; infinite for zero."""
    power = power + eps if eps else torch.where(power == 0, math.inf, power)
    if order == 2:
        return power.sqrt()
    return power if math.isinf(order) else power ** (1.0 / order)


CANCELLATION_ROUNDINGS = 8.0
"""Of each number in a sum: those of a normalisation, an activation and a product, twice over."""


def clear_cancelled(Z: Tensor, F: Tensor, weight: float, normalization: Normalization) -> Tensor:
    """Make lines of Z = H + gamma W F zero that are so but for rounding, which rescaling would blow up to full size.

    That is: no entry, recentred if need be, is above what rounding may leave of a sum of F's rows in its column, and,
    where rows are recentred over the batch, in the mean over the columns.

    Parameters
    ----------
    Z, F
        (..., d', N) and (..., d, N).
    weight
        The largest |gamma w|.
    normalization
        Its lines, and whether it recentres them.
    """
    fan_in, batch = F.shape[-2:]
    roundings = CANCELLATION_ROUNDINGS + math.sqrt(fan_in + batch)
    largest = F.abs().amax(dim=-2, keepdim=True)
    if normalization.recentre and normalization.over == "batch":
        largest = largest + largest.mean(dim=-1, keepdim=True)
    noise = roundings * fan_in * weight * torch.finfo(F.dtype).eps / 2 * largest
    seen = recentre(Z, normalization.over) if normalization.recentre else Z
    noise = torch.where(noise < math.inf, noise, 0.0)
    return torch.where((seen.abs() <= noise).all(dim=LINES[normalization.over], keepdim=True), 0.0, Z)


WHITENING_CUTOFF = 2.0**-48
"""Eigenvalues of M below this, times max(d, N) ||M||_F, count as zero: it is the square of the rounding of a state in
float32, and sixteen times the rounding of Z Z^T in float64."""


def whiten(Z: Tensor, eps: float = 0.0, *, centred: bool = False) -> tuple[Tensor, Tensor]:
    """(M + eps I)^(-1/2) Z with M = Z Z^T / N, by a singular value decomposition in float64.

    Parameters
    ----------
    Z
        (..., d, N).
    eps
        >= 0.
    centred
        Subtract the mean of each row first, in float64 too.

    Returns
    -------
    whitened : torch.Tensor
        Of the shape and dtype of Z. Without eps it is sqrt(N) times the polar factor of Z.
    zeros : torch.Tensor
        int64, (...): how many of the min(d, N) directions count as zero (see `WHITENING_CUTOFF`), and become so.
    """
    exact = recentre(Z.double()) if centred else Z.double()
    width, batch = Z.shape[-2:]
    U, sigma, Vh = torch.linalg.svd(exact, full_matrices=False)
    eigenvalues = sigma.square() / batch + eps
    share = eigenvalues / torch.where(eigenvalues[..., :1] == 0, 1.0, eigenvalues[..., :1])
    kept = share > WHITENING_CUTOFF * max(width, batch) * share.norm(dim=-1, keepdim=True)
    factor = torch.where(kept, sigma / torch.where(kept, eigenvalues, 1.0).sqrt(), 0.0)
    return ((U * factor.unsqueeze(-2)) @ Vh).to(Z.dtype), (~kept).sum(dim=-1)


def normalize(Z: Tensor, normalization: Normalization) -> Tensor:
    """Recentre, and rescale or whiten, the lines of (..., d, N) as the switches say; what is zero stays zero."""
    norm = normalization
    if norm.whiten:
        return whiten(Z, norm.eps, centred=norm.recentre)[0]
    if norm.recentre:
        Z = recentre(Z, norm.over)
    if not norm.rescale:
        return Z
    return norm.alpha + norm.beta * (Z / line_size(Z, norm.order, norm.eps, norm.over))


def degenerate_lines(Z: Tensor, normalization: Normalization) -> Tensor:
    """Count the lines of (..., d, N) that rescaling finds to be zero, or the directions that whitening does."""
    if normalization.whiten:
        return whiten(Z, normalization.eps, centred=normalization.recentre)[1]
    if not normalization.rescale:
        return torch.zeros(Z.shape[:-2], dtype=torch.int64)
    if normalization.recentre:
        Z = recentre(Z, normalization.over)
    return (Z == 0).all(dim=LINES[normalization.over]).sum(dim=-1)


def take_off_exponent(H: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each state of (..., d, N) by the power of two that brings max |h| into [1, 2); return both."""
    largest = H.abs().amax(dim=(-2, -1))
    _, power = torch.frexp(largest)  # largest = m 2^power with m in [1/2, 1)
    power = torch.where((largest > 0) & torch.isfinite(largest), power - 1, 0)
    return torch.ldexp(H, -power[..., None, None]), power.long()


def combine(H: Tensor, A: Tensor, gamma: float) -> Tensor:
    """H + gamma A, or A for gamma = inf."""
    return A if math.isinf(gamma) else H + gamma * A


def checked_layer(
    H: Tensor, W: Tensor, gamma: float, activation: str, normalization: str | Normalization
) -> tuple[float, Normalization]:
    """Return gamma and the normalisation of `layer_step` as values, or raise ArgumentError."""
    gamma, activation, normalization = as_law(gamma, activation, normalization)
    for name, tensor in (("H", H), ("W", W)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise invalid(name, kind, "a floating point torch.Tensor", "convert it first")
    if H.dtype != W.dtype:
        raise invalid("W.dtype", W.dtype, f"{H.dtype}, that of H", "convert one of the two")
    square = "" if math.isinf(gamma) else ", square because of the skip connection,"
    if H.ndim < 2 or W.ndim < 2 or W.shape[-1] != H.shape[-2] or (square and W.shape[-2] != H.shape[-2]):
        raise invalid("W", tuple(W.shape), f"(..., d', d){square} to go with H {tuple(H.shape)}", "check the width")
    return gamma, normalization


@unmoved
def layer_step(
    H: Tensor,
    W: Tensor,
    *,
    gamma: float = math.inf,
    activation: str = "linear",
    normalization: str | Normalization = "rescale",
) -> Tensor:
    """One layer with explicit weights: the twin of `pyrank.layer_step`, differentiated step by step, forwards too."""
    gamma, normalization = checked_layer(H, W, gamma, activation, normalization)
    return normalize(combine(H, W @ activate(H, activation), gamma), normalization)
