"""The measures taken at every layer, each as one formula on tensors (..., d, N)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrank.reference.matrix import as_matrix, power_of_two
from pyrank.specs.measures import Measure
from pyrank.support.ambient import unmoved


def gram(H: Tensor) -> Tensor:
    """H H^T / N or H^T H / N, whichever is smaller; both have the same non-zero spectrum."""
    d, n = H.shape[-2:]
    M: Tensor = (H @ H.mT if d <= n else H.mT @ H) / n
    return M


@unmoved
def trace(H: Tensor) -> Tensor:
    """Tr M for M = H H^T / N: the sum of the squared entries of H, over N.

    Parameters
    ----------
    H
        (..., d, N).

    Returns
    -------
    torch.Tensor
        Shape (...), differentiable.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N).
    """
    H = as_matrix(H)
    return (H * H).sum(dim=(-2, -1)) / H.shape[-1]


@unmoved
def frobenius_norm(H: Tensor) -> Tensor:
    """||M||_F for M = H H^T / N: the root of the sum of the squared eigenvalues.

    Parameters
    ----------
    H
        (..., d, N).

    Returns
    -------
    torch.Tensor
        Shape (...), differentiable.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N).
    """
    norm: Tensor = torch.linalg.matrix_norm(gram(as_matrix(H)))
    return norm


@unmoved
def participation_ratio(H: Tensor) -> Tensor:
    """Tr(M)^2 / ||M||_F^2: the twin of `pyrank.participation_ratio`, differentiated step by step, forwards too."""
    H = as_matrix(H)
    H = H / power_of_two(H, (-2, -1))  # fourth powers must neither overflow nor vanish
    return trace(H) ** 2 / gram(H).square().sum(dim=(-2, -1))


@unmoved
def soft_rank(H: Tensor, tau: float = 0.5) -> Tensor:
    """Count the eigenvalues of M = H H^T / N that are >= tau.

    Eigenvalues are computed in float64, whatever the dtype of H.

    Parameters
    ----------
    H
        (..., d, N).
    tau
        Threshold, > 0.

    Returns
    -------
    torch.Tensor
        int64, shape (...).

    Raises
    ------
    ArgumentError
        If H is no floating point tensor (..., d, N), or tau is not positive.
    FloatingPointError
        If H H^T is not finite.
    """
    Measure("soft_rank", tau)  # refuses what is no threshold
    M = gram(as_matrix(H).detach().double())
    if not torch.isfinite(M).all():
        raise FloatingPointError("H H^T overflowed: it has no eigenvalues to count; rescale H first")
    eigenvalues: Tensor = torch.linalg.eigvalsh(M)
    return (eigenvalues >= float(tau)).sum(dim=-1)


@unmoved
def rank_bound_margin(H: Tensor, tau: float = 0.5) -> Tensor:
    """soft_rank(tau) - (1 - tau)^2 participation_ratio: >= 0 when Tr M = d (Daneshmand et al. 2020, Lemma 1).

    Parameters
    ----------
    H
        (..., d, N).
    tau
        Threshold, > 0 and at most 1.

    Returns
    -------
    torch.Tensor
        Shape (...); the gradient is that of the participation ratio.

    Raises
    ------
    ArgumentError
        If H is no floating point tensor (..., d, N), or tau is out of range.
    FloatingPointError
        If H H^T is not finite.
    """
    Measure("rank_bound_margin", tau)  # refuses what has no bound
    return soft_rank(H, tau) - (1.0 - tau) ** 2 * participation_ratio(H)


_FORMULAS: dict[str, Callable[..., Tensor]] = {
    formula.__name__: formula for formula in (trace, frobenius_norm, participation_ratio, soft_rank, rank_bound_margin)
}


def measure(H: Tensor, what: Measure) -> Tensor:
    """Evaluate a measure on states (..., d, N); float64, shape (...)."""
    formula = _FORMULAS[what.name]
    return (formula(H) if what.argument is None else formula(H, what.argument)).double()
