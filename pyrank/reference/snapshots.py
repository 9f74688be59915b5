"""Measures of whole states that the kernels do not take: those that decompose it, its angles, and the user's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrank.reference.geometry import orthogonality_gap, outlier, pairwise_angles
from pyrank.reference.spectral import effective_rank, isometry_gap, numerical_rank, singular_values, stable_rank
from pyrank.specs.measures import Measure
from pyrank.support.errors import invalid


def _angles_of_pairs(H: Tensor) -> Tensor:
    first, second = torch.triu_indices(H.shape[-1], H.shape[-1], 1)
    return pairwise_angles(H)[..., first, second]


_FORMULAS: dict[str, Callable[..., Tensor]] = {
    "numerical_rank": numerical_rank,
    "stable_rank": stable_rank,
    "effective_rank": lambda H, power=1: effective_rank(H, power=power),
    "singular_values": singular_values,
    "isometry_gap": isometry_gap,
    "orthogonality_gap": orthogonality_gap,
    "pairwise_angles": _angles_of_pairs,
    "outlier_angle": lambda H: outlier(H).angle,
    "outlier_ratio": lambda H: outlier(H).norm_ratio,
}


def snapshot(H: Tensor, what: Measure) -> Tensor:
    """Evaluate a snapshot measure on states (chains, d, N); float64, shape (chains, k), or (chains,) for one number.

    Raises
    ------
    ArgumentError
        If the user's function returns something else.
    """
    if what.function is not None:
        with torch.enable_grad():  # which the function may need, whatever its caller is about
            answer = what.function(H.clone())  # which it may change
    else:
        formula = _FORMULAS[what.name]
        answer = formula(H) if what.argument is None else formula(H, what.argument)
    try:
        values = torch.as_tensor(answer).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        values = torch.empty(0)
    chains = H.shape[0]
    if values.ndim not in (1, 2) or values.shape[0] != chains or not values.numel() or values.is_complex():
        got = (tuple(values.shape), values.dtype) if values.numel() else type(answer).__name__
        wanted = f"({chains},) or ({chains}, k) real numbers for states {tuple(H.shape)}"
        raise invalid(f"measure {what}", got, wanted, "let the function treat the first dimension as chains")
    return values.double()
