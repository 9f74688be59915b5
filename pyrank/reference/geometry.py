"""Measures of how the samples (columns of H) lie to each other: orthogonality, angles, the one that stands apart."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyrank.reference.matrix import as_matrix, power_of_two
from pyrank.reference.measures import gram, trace
from pyrank.support.ambient import unmoved
from pyrank.support.errors import invalid


@unmoved
def orthogonality_gap(H: Tensor) -> Tensor:
    """V(H) = || H^T H / ||H||_F^2 - I / N ||_F, of Daneshmand, Joudaki & Bach 2021.

    From "Batch normalization orthogonalizes representations in deep random networks". V^2 = 1/r - 1/N with r =
    participation_ratio(H); V is 0 just when the samples (columns) are orthogonal and of one length.

    Parameters
    ----------
    H
        (..., d, N).

    Returns
    -------
    torch.Tensor
        Shape (...), between sqrt(1/min(d, N) - 1/N) and sqrt(1 - 1/N); NaN, and so is the gradient, where H is zero.
        Where V is 0 it has a kink, and the gradient given is zero.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N).
    """
    H = as_matrix(H)
    d, n = H.shape[-2:]
    X = H / power_of_two(H, (-2, -1))
    shares = gram(X) / trace(X)[..., None, None]
    gap: Tensor = torch.linalg.matrix_norm(shares - torch.eye(min(d, n), dtype=X.dtype, device=X.device) / n)
    if n > d:  # H^T H has n - d more eigenvalues, all 0
        gap = torch.hypot(gap, gap.new_tensor(math.sqrt(n - d) / n))
    return gap


def _columns(H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each column's unit vector (..., d, N), relative length (..., N) and whether it is zero (..., N).

    A zero column has the unit vector 0.
    """
    scale = power_of_two(H, -2)
    X = H / scale
    zero = (X == 0).all(dim=-2, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(X, dim=-2, keepdim=True)
    unit = X / torch.where(zero, 1.0, length)
    length = length * torch.where(zero, 0.0, scale / power_of_two(H, (-2, -1)))
    return unit, length.squeeze(-2), zero.squeeze(-2)


def _angles(unit: Tensor, zero: Tensor) -> Tensor:
    # 2 atan2(|u - v|, |u + v|) (W. Kahan, "How futile are mindless assessments of roundoff", 2006: "Mangled angles").
    u = unit.mT.contiguous()
    apart, together = (torch.cdist(u, v, compute_mode="donot_use_mm_for_euclid_dist") for v in (u, -u))
    angles = torch.rad2deg(2.0 * torch.atan2(apart, together))
    return torch.where(zero.unsqueeze(-1) | zero.unsqueeze(-2), math.nan, angles)


@unmoved
def pairwise_angles(H: Tensor) -> Tensor:
    """Angles between the samples (columns of H), in degrees.

    Off by a few roundings at most, also near 0 and 180 degrees, where the arc cosine loses half of its digits.
    `torch.deg2rad` converts.

    Parameters
    ----------
    H
        (..., d, N).

    Returns
    -------
    torch.Tensor
        (..., N, N), degrees from 0 to 180, symmetric, 0 on the diagonal; NaN in the row and the column of a zero
        sample, which has no direction. At 0 and 180 degrees the angle has a kink and the gradient given is zero; NaN
        entries add nothing to the gradient.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N).
    """
    unit, _, zero = _columns(as_matrix(H))
    return _angles(unit, zero)


class Outlier(NamedTuple):
    """The sample that stands most apart from the others; each field of shape (...)."""

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which has no use here
    """Its column, int64; -1 where fewer than two samples are non-zero."""
    norm_ratio: Tensor
    """Its length over the median length of the others."""
    angle: Tensor
    """Its median angle to the others, in degrees."""


def _median(values: Tensor) -> Tensor:
    """Median over the last dimension, kept; NaN is left out; of an even number, the mean of the middle two."""
    ordered = values.sort(dim=-1).values  # NaN last
    count = (~values.isnan()).sum(dim=-1, keepdim=True)
    low, high = (ordered.gather(-1, middle) for middle in ((count - 1).clamp(min=0) // 2, count // 2))
    return (low + high) / 2.0


@unmoved
def outlier(H: Tensor) -> Outlier:
    """Find the sample whose median angle to the others is largest, and say how far apart it stands.

    Meant for the escape of one sample in ReLU networks that recentre without rescaling (Nachum et al., "Batch
    normalization decomposed"): observed at the activation, its angle to the collapsed rest tends to 90 degrees and
    its norm ratio to N - 1. Some sample always has the largest median: where none escaped, the angle is that of the
    cluster and the ratio is about 1.

    Parameters
    ----------
    H
        (..., d, N) with N >= 2.

    Returns
    -------
    Outlier
        ``index`` (the first of equals), ``norm_ratio`` and ``angle``, each of shape (...); the last two are
        differentiable. Zero samples have no direction and are left out; where fewer than two samples remain, there
        is no outlier: index -1, NaN and NaN.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N), or N is 1.
    """
    H = as_matrix(H)
    n = H.shape[-1]
    if n < 2:
        raise invalid(
            "H.shape", tuple(H.shape), "(..., d, N) with N >= 2", "an outlier needs others to stand apart from"
        )
    unit, length, zero = _columns(H)
    itself = torch.eye(n, dtype=torch.bool, device=H.device)
    apart = _median(_angles(unit, zero).masked_fill(itself, math.nan)).squeeze(-1)
    index = torch.where(apart.isnan(), -1.0, apart).argmax(dim=-1, keepdim=True)
    angle = apart.gather(-1, index)
    none = angle.isnan()
    others = torch.where(zero, math.nan, length).scatter(-1, index, math.nan)
    ratio = torch.where(none, math.nan, length.gather(-1, index) / _median(others))
    index = torch.where(none, -1, index)
    return Outlier(index.squeeze(-1), ratio.squeeze(-1), angle.squeeze(-1))
