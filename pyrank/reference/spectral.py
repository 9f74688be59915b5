"""Measures of the singular values of H: how many directions carry the state, and how evenly."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrank.reference.matrix import as_matrix, power_of_two
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_integer, as_number


@unmoved
def singular_values(H: Tensor, k: int | None = None) -> Tensor:
    """Singular values of H itself, largest first; the eigenvalues of M = H H^T / N are their squares over N.

    Parameters
    ----------
    H
        (..., d, N).
    k
        How many to return, 1 <= k <= min(d, N); all if not given.

    Returns
    -------
    torch.Tensor
        (..., k), in the units of H. The gradient is finite everywhere; where singular values coincide or vanish it is
        one of several, and there is no second derivative.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N), or k is out of range.
    """
    H = as_matrix(H)
    limit = min(H.shape[-2:])
    k = limit if k is None else as_integer("k", k, 1, limit, "there are min(d, N) singular values")
    scale = power_of_two(H, (-2, -1))
    sigma: Tensor = torch.linalg.svdvals(H / scale)
    return sigma[..., :k] * scale.squeeze(-1)


def _relative_singular_values(H: Tensor) -> Tensor:
    """Return sigma / sigma_max of (..., d, N), shape (..., min(d, N)): from 1 down to 0, or NaN where H is zero."""
    H = as_matrix(H)
    sigma: Tensor = torch.linalg.svdvals(H / power_of_two(H, (-2, -1)))
    return sigma / sigma[..., :1]


def _tolerance(H: Tensor, rtol: float | None) -> float:
    """``rtol``, or what `numpy.linalg.matrix_rank` takes for this dtype and shape."""
    if rtol is None:
        return torch.finfo(H.dtype).eps * max(H.shape[-2:])
    return as_number("rtol", rtol, 0.0, 1.0, "give the smallest sigma / sigma_max that counts, or None for the default")


@unmoved
def numerical_rank(H: Tensor, rtol: float | None = None) -> Tensor:
    """Count the singular values of H that are > rtol * sigma_max.

    Parameters
    ----------
    H
        (..., d, N).
    rtol
        From 0 to 1. Default: eps * max(d, N) with the eps of H's dtype, as in `numpy.linalg.matrix_rank`; so the
        result depends on the dtype, and a report should name both.

    Returns
    -------
    torch.Tensor
        int64, shape (...); 0 where H is zero.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N), or rtol is out of range.
    """
    with torch.no_grad():
        ratio = _relative_singular_values(H)
        return (ratio > _tolerance(H, rtol)).sum(dim=-1)


@unmoved
def stable_rank(H: Tensor) -> Tensor:
    """||H||_F^2 / ||H||_2^2, between 1 and participation_ratio(H) (Rudelson & Vershynin 2007).

    Parameters
    ----------
    H
        (..., d, N).

    Returns
    -------
    torch.Tensor
        Shape (...); NaN, and so is the gradient, where H is zero. Where the largest singular value is repeated, the
        gradient is one of several.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N).
    """
    return _relative_singular_values(H).square().sum(dim=-1)


@unmoved
def effective_rank(H: Tensor, *, power: int = 1) -> Tensor:
    """Exponential of the spectral entropy: exp(-sum p log p) with p proportional to sigma ** power.

    ``power=1`` is the effective rank of Roy & Vetterli 2007 ("The effective rank: a measure of effective
    dimensionality"), p from the singular values of H. ``power=2`` takes p from the eigenvalues of M = H H^T / N, the
    shares of variance. Both are called effective rank in the literature; the second is the smaller one.

    Parameters
    ----------
    H
        (..., d, N).
    power
        1 or 2.

    Returns
    -------
    torch.Tensor
        Shape (...), between stable_rank(H) and the rank of H; NaN, and so is the gradient, where H is zero.
        The gradient is finite elsewhere. With ``power=2`` it exists at rank-deficient H too. With ``power=1`` the
        function has infinite slope where a singular value leaves zero: there a vanishing singular value adds nothing
        to the gradient, and one that rounding makes 1e-16 adds an arbitrary direction with a factor of about 37.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N), or power is neither 1 nor 2.
    """
    power = as_integer("power", power, 1, 2, "p is proportional to sigma ** power: 1 is Roy & Vetterli's, 2 that of M")
    ratio = _relative_singular_values(H)
    # x log x is 0 at 0, but its derivative is not finite: zeros are cut out of the graph, NaN is passed on.
    absent = ratio == 0
    weight = torch.where(absent, 0.0, ratio**power)
    logarithm = torch.where(absent | (weight == 0), 1.0, weight).log()
    total = weight.sum(dim=-1)
    return torch.exp(total.log() - (weight * logarithm).sum(dim=-1) / total)


@unmoved
def isometry_gap(H: Tensor, rtol: float | None = None) -> Tensor:
    """Log of the arithmetic over the geometric mean of the eigenvalues of the samples' Gram matrix H^T H.

    ``log(mean lambda) - mean(log lambda)``: the isometry gap of Joudaki, Daneshmand & Bach 2023 ("On the impact of
    activation and normalization in obtaining isometric embeddings at initialization"). It is >= 0, and 0 just when
    the samples (columns) are orthogonal and of one length. For the Gram matrix of the features pass ``H.mT``.

    Parameters
    ----------
    H
        (..., d, N).
    rtol
        As in `numerical_rank`: below it a singular value is taken for zero, because its logarithm would be that of a
        rounding error. ``rtol=0`` takes every number at face value.

    Returns
    -------
    torch.Tensor
        Shape (...), in nats; inf, with gradient zero, where numerical_rank(H, rtol) < N (always so for N > d); NaN
        where H is zero.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N), or rtol is out of range.
    """
    ratio = _relative_singular_values(H)
    full = (ratio > _tolerance(H, rtol)).sum(dim=-1) == H.shape[-1]
    safe = torch.where(full.unsqueeze(-1), ratio, 1.0)
    gap = safe.square().mean(dim=-1).log() - 2.0 * safe.log().mean(dim=-1)
    gap = torch.where(full, gap.clamp(min=0.0), math.inf)
    return torch.where(ratio[..., 0].isnan(), math.nan, gap)
