"""Products of the Hessian of a loss with vectors, exact, by differentiating the gradient once more.

Double backward is the one way of torch that is right where samples see each other: forward-mode derivatives of
`torch.nn.BatchNorm` in train mode, and what is built on them (`torch.func.hessian`), leave terms out. Nothing of the
model changes: the forward pass gets copies of its buffers, and no gradient is accumulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyrank.networks.chance import no_chance
from pyrank.support.errors import ArgumentError, invalid

Loss = Callable[[Any, Tensor], Tensor]
Floats = NDArray[np.float64]


class NotFiniteError(ArgumentError, FloatingPointError):
    """The loss is no finite number, as in a training that diverged."""


class HessianProduct:
    """v -> H v, where H are the second derivatives of ``loss(model(x), y)`` by all parameters that require gradients.

    Parameters
    ----------
    model, loss, data, recompute, chunk
        As in `hessian_eigenvalues`.

    Raises
    ------
    ArgumentError
        As there.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, data: tuple[Tensor, Tensor], recompute: bool, chunk: int | None
    ) -> None:
        self.model, self.loss = model, loss
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.sizes = [p.numel() for p in self.parameters]
        x, y = data[0].detach(), data[1].detach()
        step = len(x) if chunk is None else chunk
        self.parts = list(zip(torch.split(x, step), torch.split(y, step), strict=True))
        self.samples, self.calls = len(x), 0
        with no_chance(model):
            self._check(x, y)
            self.kept = None if recompute or len(self.parts) > 1 else self._gradient(x, y)

    @property
    def roundoff(self) -> float:
        """Of the parameters: the largest one."""
        return max(torch.finfo(p.dtype).eps for p in self.parameters)

    def __call__(self, vector: Floats) -> Floats:
        """Return H v for v (P,), in float64, computed in the precision of the parameters."""
        self.calls += 1
        pieces = torch.split(torch.from_numpy(np.array(vector, dtype=np.float64).ravel()), self.sizes)
        v = [piece.view_as(p).to(p) for piece, p in zip(pieces, self.parameters, strict=True)]
        total = np.zeros(sum(self.sizes))
        for x, y in self.parts:
            gradient = self._gradient(x, y) if self.kept is None else self.kept
            total += len(x) / self.samples * self._times(gradient, v)
        if not np.all(np.isfinite(total)):
            raise FloatingPointError("the Hessian is not finite here: a second derivative overflows or does not exist")
        return total

    def _times(self, gradient: tuple[Tensor, ...], v: list[Tensor]) -> Floats:
        reached = [(g, piece) for g, piece in zip(gradient, v, strict=True) if g.requires_grad]
        if not reached:  # a loss linear in all parameters
            return np.zeros(sum(self.sizes))
        outputs, weights = zip(*reached, strict=True)
        keep = self.kept is not None
        product = torch.autograd.grad(outputs, self.parameters, weights, retain_graph=keep, materialize_grads=True)
        flat: Floats = torch.cat([part.detach().double().flatten().cpu() for part in product]).numpy()
        return flat

    def _value(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss, of copies of the buffers, so that running statistics stay as they are."""
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        return self.loss(torch.func.functional_call(self.model, buffers, (x,)), y)

    def _gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            value = self._value(x, y)
            if not value.requires_grad:
                raise invalid("loss", float(value), "one that depends on a parameter", "check that nothing is detached")
            gradient = torch.autograd.grad(value.sum(), self.parameters, create_graph=True, materialize_grads=True)
        if found := _once_differentiable(gradient):
            wanted = "operations of model and loss that can be differentiated twice"
            raise invalid("loss", f"a gradient through {found}", wanted, "replace what has no second derivative")
        return gradient

    @torch.no_grad()
    def _check(self, x: Tensor, y: Tensor) -> None:
        """Raise if the loss is none, not the same twice, or not the mean of its parts."""
        shapes = f"x {x.dtype} {tuple(x.shape)}, y {y.dtype} {tuple(y.shape)}".replace("torch.", "")
        try:
            value, again = self._value(x, y), self._value(x, y)
        except ArgumentError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            wanted = f"a batch and labels that model and loss take ({_first_line(error)})"
            raise invalid("data", shapes, wanted, "try loss(model(x), y); class labels are int64") from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.is_floating_point():
            shown = tuple(value.shape) if isinstance(value, Tensor) else value
            raise invalid("loss", shown, "one floating point number for the batch", "take the mean over samples")
        if not torch.isfinite(value):
            raise NotFiniteError(invalid("loss", float(value), "a finite number", "check the data and the parameters"))
        near = self.roundoff**0.5 * abs(float(value))
        if abs(float(value - again)) > near:
            wanted = "the same value twice"
            raise invalid("loss", (float(value), float(again)), wanted, "switch off what is random in the model")
        if len(self.parts) > 1:
            total = sum(len(a) / self.samples * float(self._value(a, b)) for a, b in self.parts)
            if abs(float(value) - total) > near:
                wanted = "the same loss from parts, a mean over samples that do not see each other"
                raise invalid("chunk", len(self.parts[0][0]), wanted, "leave it out, or use recompute=True")


def _once_differentiable(gradient: tuple[Tensor, ...]) -> str:
    """Return what stands in the graph of a gradient for a derivative that is missing, or "".

    Such a node raises if it is passed, but nothing passes one that no parameter lies behind, and then terms of the
    Hessian would be left out in silence.
    """
    seen, waiting = set(), [g.grad_fn for g in gradient]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if node.name() in ("torch::autograd::Error", "torch::autograd::NotImplemented"):
                return node.name()
            waiting += [behind for behind, _ in node.next_functions]
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
