"""How alike the gradients of different samples are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pyrank.networks.kept import kept
from pyrank.networks.selection import select
from pyrank.support.ambient import unmoved
from pyrank.support.errors import invalid


@dataclass(frozen=True)
class GradientAlignment:
    """``|cos|`` of the angles between gradients of different samples.

    Attributes
    ----------
    values
        Of every pair i < j of samples with a gradient, for each output neuron, float64, shape (pairs,); NaN where
        gradients are no numbers.
    zero
        How many gradients of a sample and neuron are zero: they have no angle to any other.
    """

    values: NDArray[np.float64]
    zero: int

    @property
    def mean(self) -> float:
        """Mean of ``values``; NaN if there is no pair."""
        return float(self.values.mean()) if self.values.size else float("nan")


@unmoved
def gradient_alignment(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, layer: str | None = None
) -> GradientAlignment:
    """Compare the gradients that different samples of a batch give the weights of a linear layer.

    The samples go through the network once, together, so that normalisation sees the batch; one backward pass for all
    losses at once gives the derivatives of each by each row of the layer's output. The gradient of sample i's loss by
    the weights of neuron k is ``sum_j (d loss_i / d output_jk) h_j``, h being the layer's input. For the last layer
    that is a multiple of h_i alone, so a network whose representation has collapsed has ``|cos| = 1``.

    Parameters
    ----------
    model
        The network, in the mode in which it is; buffers come back as they were.
    loss
        Of outputs and targets, such as `torch.nn.functional.cross_entropy`: called with one sample at a time, as a
        batch of one, it returns one number.
    x, y
        The batch, samples first.
    layer
        Name of a `torch.nn.Linear` that is called once, with (B, features); the last one that is called if not given.

    Returns
    -------
    GradientAlignment

    Raises
    ------
    ArgumentError
        If there is no such layer, or it is not called once with (B, features); if there is no sample, or the loss of
        one is no single number.

    References
    ----------
    Daneshmand, Kohler, Bach, Hofmann, Lucchi 2020, section 3.2 and Proposition 19.
    """
    if not len(x) or len(x) != len(y):
        raise invalid("x", tuple(x.shape), f"as many samples as targets, {len(y)}, and one at least", "pass a batch")
    shapes: dict[str, list[tuple[int, ...]]] = {}
    name, h, output = layer, x, x

    def keep(called: str, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], out: Tensor) -> Tensor:
        """Note a call, and give the network a copy to go on with, which it may change in place."""
        nonlocal name, h, output
        name, h, output = called, (args[0] if args else kwargs["input"]).detach().clone(), out
        shapes.setdefault(called, []).append(tuple(h.shape))
        return out.requires_grad_().clone()

    handles = [
        linear.register_forward_hook(partial(keep, each), prepend=True, with_kwargs=True)
        for each, linear in _linears(model, layer).items()
    ]
    try:
        with kept(model), torch.enable_grad():
            answers = model(x)
            seen = shapes.get(name or "", [])
            if len(seen) != 1 or len(seen[0]) != 2 or seen[0][0] != len(x):
                raise invalid("layer", name, f"one call with ({len(x)}, features), not {seen}", "name another layer")
            losses = [loss(answers[i : i + 1], y[i : i + 1]) for i in range(len(x))]
            if losses[0].numel() != 1:
                wanted = f"one number for a sample, not {tuple(losses[0].shape)}"
                raise invalid("loss", loss, wanted, "take its mean or sum, as by reduction='mean'")
            own = torch.eye(len(x), dtype=losses[0].dtype, device=losses[0].device)
            (rows,) = torch.autograd.grad(torch.stack(losses).flatten(), output, own, is_grads_batched=True)
    finally:
        for handle in handles:
            handle.remove()
    found, zero = [], 0
    for derivatives in rows.double().unbind(dim=2):
        gradients = derivatives @ h.double()
        lengths = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        present = lengths[:, 0] != 0  # NaN among them
        units = (gradients / lengths)[present]
        first, second = torch.triu_indices(len(units), len(units), 1)
        found.append((units @ units.T)[first, second].abs().clamp(max=1.0))
        zero += int((~present).sum())
    return GradientAlignment(torch.cat(found).cpu().numpy(), zero)


def _linears(model: nn.Module, layer: str | None) -> dict[str, nn.Linear]:
    found = select(model, nn.Linear if layer is None else layer)
    linears = {name: module for name, module in found.items() if isinstance(module, nn.Linear)}
    if not linears:
        raise invalid("layer", layer, "the name of a torch.nn.Linear", "see model.named_modules()")
    return linears
