"""The second moments of a hidden matrix, piece by piece, and the measures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrank.networks.measures import NetworkMeasure

PIECE = 2**19
"""Numbers of a hidden matrix that are copied at a time: memory stays small however large an activation is."""

SAFE = {torch.float32: 1e12, torch.float64: 1e120}
"""Tr M within this factor of 1 can neither overflow nor vanish when it is squared."""

ROUNDINGS = 8
"""Samples that differ from their mean by less, in roundings of it, are not told apart: entries carry about half of one,
and that must be no more than a hundredth of the variance."""

OPEN = 1e-5
"""A count from products in single precision is open if an eigenvalue is as close to tau, relative to the largest."""

FROM_MOMENTS = ("participation_ratio", "frobenius_norm", "trace", "soft_rank", "rank_bound_margin", "explained_rank")
"""Measures that need M alone, not the matrix."""


def working(dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which a matrix is measured: its own, or single for one of 16 bits."""
    return torch.promote_types(dtype, torch.float32)


def _pieces(X: Tensor) -> Iterator[Tensor]:
    """Go through (samples, features), or (items, places, features), by a few samples (n, features) at a time."""
    X = X if X.ndim == 3 else X[:, None]
    places, features = X.shape[1:]
    for piece in torch.split(X, max(1, PIECE // (places * features))):
        yield piece.reshape(-1, features)


def mean_of(X: Tensor) -> Tensor:
    """Return the mean sample, (features,), in double."""
    total = X.new_zeros(X.shape[-1], dtype=torch.float64)
    for rows in _pieces(X):
        total += rows.sum(0, dtype=torch.float64)
    return total / (X.numel() // X.shape[-1])


def sum_of_products(X: Tensor, by_features: bool, dtype: torch.dtype, mean: Tensor | None) -> Tensor:
    """Return H H^T, or H^T H, of H^T = (samples, features) or (items, places, features), less a mean sample.

    Products are taken in ``dtype``, and added up in double.
    """
    features = X.shape[-1]
    if by_features:
        total = X.new_zeros(features, features, dtype=torch.float64)
        for rows in _pieces(X):
            rows = (rows if mean is None else rows - mean).to(dtype)
            total += rows.T @ rows
        return total
    S = X.reshape(-1, features)
    total = X.new_zeros(len(S), len(S), dtype=torch.float64)
    width = max(1, PIECE // len(S))
    for at in range(0, features, width):
        columns = S[:, at : at + width]
        columns = (columns if mean is None else columns - mean[at : at + width]).to(dtype)
        total += columns @ columns.T
    return total


def rounding(mean: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the Tr of a covariance below which it is one of rounding errors, for means (..., features)."""
    return (ROUNDINGS * torch.finfo(dtype).eps) ** 2 * mean.double().square().sum(-1)


@dataclass(frozen=True)
class Spectrum:
    """What the measures need to know of M.

    Attributes
    ----------
    size, ratio
        Tr M, and Tr(M)^2 / ||M||_F^2.
    counts
        For each measure with a threshold, how many eigenvalues are >= tau; with a share, how many directions hold it.
    """

    size: float
    ratio: float
    counts: Mapping[NetworkMeasure, float]

    def value(self, what: NetworkMeasure) -> float:
        """Return a measure."""
        name, argument = what.name, what.argument or 0.0
        if name == "trace":
            return self.size
        if name == "participation_ratio":
            return self.ratio
        if name == "frobenius_norm":
            return self.size / math.sqrt(self.ratio) if self.size else self.size
        count = self.counts[what]
        return count - (1.0 - argument) ** 2 * self.ratio if name == "rank_bound_margin" else count


def spectrum_of(X: Tensor, measures: tuple[NetworkMeasure, ...], mean: Tensor | None) -> Spectrum:
    """Measure one matrix, less a mean: with products in single, if it is, and in double where those leave open."""
    features = X.shape[-1]
    samples = X.numel() // features
    found, is_open = Spectrum(0.0, 0.0, {}), True
    first = working(X.dtype)
    for dtype in dict.fromkeys((first, torch.float64)):
        M = sum_of_products(X, features <= samples, dtype, mean) / samples
        found, is_open = from_moments(M, measures)
        if not is_open and 1 / SAFE[first] < found.size < SAFE[first]:
            break
    return found


def from_moments(M: Tensor, measures: tuple[NetworkMeasure, ...]) -> tuple[Spectrum, bool]:
    """Measure M (n, n) in double; say whether a count could be another one if M were rounded to single precision."""
    size = float(M.trace())
    ratio = float(1.0 / (M / size).square().sum()) if size else math.nan
    asked = [what for what in measures if what.argument is not None]
    if not asked or not math.isfinite(size):
        return Spectrum(size, ratio, dict.fromkeys(asked, math.nan)), False
    eigenvalues = torch.linalg.eigvalsh(M).flip(0)
    held = eigenvalues.clamp(min=0).cumsum(0)
    counts: dict[NetworkMeasure, float] = {}
    is_open = False
    for what in asked:
        number = what.argument or 0.0
        if what.name == "explained_rank":
            rounding = len(M) * torch.finfo(M.dtype).eps
            below, scale = number * held[-1] * (1.0 - rounding) - held, held[-1]
            counts[what] = float((below > 0).sum() + 1) if size else 0.0
        else:
            below, scale = number - eigenvalues, eigenvalues[0]
            counts[what] = float((below <= 0).sum())
        is_open |= bool((below.abs() <= OPEN * scale).any())
    return Spectrum(size, ratio, counts), is_open
