"""The second moments of a hidden matrix, piece by piece, and the measures that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrank.networks.measures import NetworkMeasure

PIECE = 2**19
"""Numbers of a hidden matrix that are copied at a time: memory stays small however large an activation is."""

SAFE = {torch.float32: 1e12, torch.float64: 1e120}
"""Tr M within this factor of 1 can neither overflow nor vanish when it is squared."""

OPEN = 1e-5
"""A count from products in single precision is open if an eigenvalue is as close to tau, relative to the largest."""

FROM_MOMENTS = ("participation_ratio", "frobenius_norm", "trace", "soft_rank", "rank_bound_margin", "explained_rank")
"""Measures that need M alone, not the matrix."""


def sum_of_products(X: Tensor, by_features: bool, dtype: torch.dtype, centre: bool) -> Tensor:
    """Return H H^T, or H^T H, of H^T = (samples, features) or (items, places, features).

    Products are taken in ``dtype``, and added up in double.
    """
    X = X if X.ndim == 3 else X[:, None]
    places, features = X.shape[1:]
    if by_features:
        total = X.new_zeros(features, features, dtype=torch.float64)
        mean = X.mean((0, 1), dtype=torch.float64) if centre else None
        for piece in torch.split(X, max(1, PIECE // (places * features))):
            rows = piece.reshape(-1, features)
            rows = rows.to(dtype) if mean is None else (rows - mean).to(dtype)
            total += rows.T @ rows
        return total
    S = X.reshape(-1, features)
    total = X.new_zeros(len(S), len(S), dtype=torch.float64)
    for piece in torch.split(S, max(1, PIECE // len(S)), dim=1):
        columns = (piece - piece.mean(0, dtype=torch.float64)).to(dtype) if centre else piece.to(dtype)
        total += columns @ columns.T
    return total


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


def spectrum_of(X: Tensor, measures: tuple[NetworkMeasure, ...], centre: bool) -> Spectrum:
    """Measure one matrix: with products in its own precision, and in double where those leave something open."""
    features = X.shape[-1]
    samples = X.numel() // features
    found, is_open = Spectrum(0.0, 0.0, {}), True
    for dtype in dict.fromkeys((X.dtype, torch.float64)):
        M = sum_of_products(X, features <= samples, dtype, centre) / samples
        found, is_open = from_moments(M, measures)
        if not is_open and 1 / SAFE[X.dtype] < found.size < SAFE[X.dtype]:
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
