"""The participation ratio as one operation that keeps M = H H^T / N for its gradient, and does not form it again.

With T = Tr M and S = ||M||_F^2, r = T^2 / S has the gradient ``G = 2 T / S (I - T / S M)`` in M, and so
``2 G H / N`` in H: one product, where autograd takes two and keeps a copy of H.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrank.ops.gradients import with_gradient
from pyrank.reference.matrix import as_finite, as_shaped, power_of_two
from pyrank.reference.measures import gram
from pyrank.support.ambient import unmoved


def participation_ratio(H: Tensor) -> Tensor:
    """Tr(M)^2 / ||M||_F^2 for M = H H^T / N: the r(H) of Daneshmand et al. 2020, between 1 and rank H.

    Elsewhere "stable rank" means ||H||_F^2 / ||H||_2^2, which is another number. The function composes with autograd
    (twice, too), `torch.compile`, `torch.func.grad` and `torch.func.vmap`; forward mode is refused, but not by its twin
    in `pyrank.reference`.

    Parameters
    ----------
    H
        (..., d, N).

    Returns
    -------
    torch.Tensor
        Shape (...), differentiable; NaN where H is zero.

    Raises
    ------
    ArgumentError, FloatingPointError
        If H is no finite floating point tensor (..., d, N).
    """
    r: Tensor = _apply(as_shaped(H))[0]
    return r


@torch.library.custom_op("pyrank::participation_ratio", mutates_args=())
def _participation_ratio(H: Tensor) -> tuple[Tensor, Tensor]:
    """Return r, and the smaller Gram matrix of H over its power of two."""
    r, M = _formula(as_finite(H))
    return r, M


@_participation_ratio.register_fake
@unmoved
def _formula(H: Tensor) -> tuple[Tensor, Tensor]:
    M = gram(H / power_of_two(H, (-2, -1)))  # fourth powers must neither overflow nor vanish
    T, S = _sums(M)
    return T**2 / S, M


def _sums(M: Tensor) -> tuple[Tensor, Tensor]:
    return M.diagonal(dim1=-2, dim2=-1).sum(dim=-1), M.square().sum(dim=(-2, -1))


def _keep(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.set_materialize_grads(False)


@unmoved
def _gradient(ctx: Any, grad_r: Tensor | None, grad_M: Tensor | None) -> Tensor:
    H, M = ctx.saved_tensors
    d, n = H.shape[-2:]
    G = torch.zeros_like(M) if grad_M is None else grad_M + grad_M.mT
    if grad_r is not None:
        T, S = (total[..., None, None] for total in _sums(M))
        identity = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
        G = G + 4.0 * grad_r[..., None, None] * (T / S) * (identity - T / S * M)
    scale = power_of_two(H, (-2, -1))
    h = H / scale
    grad: Tensor = (G @ h if d <= n else h @ G) / (n * scale)
    return grad


_apply = with_gradient(_participation_ratio, _participation_ratio, _keep, _gradient)


@_participation_ratio.register_vmap
def _vmap(info: Any, in_dims: tuple[int], H: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    return _participation_ratio(H.movedim(in_dims[0], 0)), (0, 0)
