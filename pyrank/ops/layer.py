"""One layer as one operation that keeps nothing for its gradient but its input, its output, W and a size per line.

With Z = H + gamma W F(H), recentred, and n entries z of a line, the result is y = z / s, ``s^p = mean |z|^p + eps``.
Since ds / dz_j = u_j / n with ``u = |y|^(p-1) sign y``, a gradient g of y and a gradient c of s give those of z,

    (g_j - u_j mean(g y)) / s + c u_j / n,

in terms of y alone; F(H) and F'(H) follow from H. Under autograd each step of the formula would keep its own input.
The output of one layer is the input of the next: a deep chain keeps one matrix a layer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyrank.ops.gradients import with_gradient
from pyrank.reference import layer as reference
from pyrank.reference.activations import FORMULAS, activate
from pyrank.specs.normalization import Normalization
from pyrank.support.ambient import unmoved


def layer_step(
    H: Tensor,
    W: Tensor,
    *,
    gamma: float = math.inf,
    activation: str = "linear",
    normalization: str | Normalization = "rescale",
) -> Tensor:
    """One layer with explicit weights: ``Normalise(H + gamma W F(H))``, or ``Normalise(W F(H))`` for gamma = inf.

    It composes with autograd (twice, too), `torch.compile`, `torch.func.grad` and `torch.func.vmap`; for the gradient
    it keeps H, W, the result and a number per line. Whitening is the exception, which autograd differentiates step by
    step. Forward mode is refused; ``pyrank.reference.layer_step`` has it.

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
        (..., d', N); differentiable in H and W. The gradient of a line of zeros is zero, unless there is an eps.

    Raises
    ------
    ArgumentError
        If an option is unknown or the shapes do not fit.
    """
    gamma, norm = reference.checked_layer(H, W, gamma, activation, normalization)
    if norm.whiten:
        return reference.layer_step(H, W, gamma=gamma, activation=activation, normalization=norm)
    switches = norm.recentre, norm.rescale, norm.order, norm.over, norm.eps
    Y: Tensor = _apply(H, W, gamma, activation, *switches)[0]
    return Y if (norm.alpha, norm.beta) == (0.0, 1.0) else norm.alpha + norm.beta * Y


def _formula(
    H: Tensor, W: Tensor, gamma: float, activation: str, recentre: bool, rescale: bool, order: float, over: str,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return Y and the size of each line: infinite for a line of zeros, which makes Y and its gradient zero."""
    Z = reference.combine(H, W @ activate(H, activation), gamma)
    if recentre:
        Z = reference.recentre(Z, over)
    if not rescale:
        return Z, Z.new_empty(0)
    size = reference.line_size(Z, order, eps, over)
    return Z / size, size


_schema = torch.library.infer_schema(_formula, mutates_args=())
_forward = unmoved(_formula)
_layer_step = torch.library.custom_op("pyrank::layer_step", _forward, mutates_args=(), schema=_schema)
_layer_step.register_fake(_forward)  # made of operations that know the shapes of their results


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    H, W, *options = inputs
    ctx.save_for_backward(H, W, *output)
    ctx.options = tuple(options)
    ctx.set_materialize_grads(False)


@unmoved
def _gradient(ctx: Any, grad_Y: Tensor | None, grad_size: Tensor | None) -> tuple[Tensor | None, ...]:
    H, W, Y, size = ctx.saved_tensors
    gamma, activation, recentre, rescale, order, over, _ = ctx.options
    unused = (None,) * len(ctx.options)
    grad = torch.zeros_like(Y) if grad_Y is None else grad_Y
    if rescale:
        grad = _through_size(grad, grad_size, Y, size, order, over)
    if recentre:
        grad = reference.recentre(grad, over)
    F = activate(H, activation)
    grad_A = grad if math.isinf(gamma) else gamma * grad
    grad_H = grad_W = None
    if ctx.needs_input_grad[0]:
        grad_H = FORMULAS[activation].pullback(W.mT @ grad_A, H, F)
        grad_H = (grad_H if math.isinf(gamma) else grad + grad_H).sum_to_size(H.shape)
    if ctx.needs_input_grad[1]:
        grad_W = (grad_A @ F.mT).sum_to_size(W.shape)
    return grad_H, grad_W, *unused


def _through_size(g: Tensor, c: Tensor | None, Y: Tensor, size: Tensor, order: float, over: str) -> Tensor:
    along = reference.LINES[over]
    u = _slope_of_size(Y, order, along)
    grad = torch.addcmul(g, u, (g * Y).mean(dim=along, keepdim=True), value=-1) / size
    return grad if c is None else torch.addcmul(grad, u, c, value=1.0 / Y.shape[along])


def _slope_of_size(Y: Tensor, order: float, along: int) -> Tensor:
    """Return u; for p = inf it is n at the largest entry, or shared by the largest ones, and zero elsewhere."""
    if math.isinf(order):
        largest = Y.abs() == Y.abs().amax(dim=along, keepdim=True)
        return Y.sign() * largest / largest.to(Y.dtype).mean(dim=along, keepdim=True)
    return Y if order == 2 else Y.sign() if order == 1 else Y * Y.abs()


_apply = with_gradient(_layer_step, _forward, _keep, _gradient)
