"""How alike the gradients of different samples are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
        Of every pair i < j of samples with a gradient, for each output neuron, float64, shape (pairs,).
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
        batch of one.
    x, y
        The batch, samples first.
    layer
        Name of a `torch.nn.Linear` that is called once, with (B, features); the last one if not given.

    Returns
    -------
    GradientAlignment

    Raises
    ------
    ArgumentError
        If there is no such layer, or it is not called once with (B, features).

    References
    ----------
    Daneshmand, Kohler, Bach, Hofmann, Lucchi 2020, section 3.2 and Proposition 19.
    """
    name, linear = _linear(model, layer)
    seen: list[tuple[Tensor, Tensor]] = []
    handle = linear.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    try:
        with kept(model), torch.enable_grad():
            for parameter in linear.parameters():
                parameter.requires_grad_(True)
            answers = model(x)
            losses = torch.stack([loss(answers[i : i + 1], y[i : i + 1]) for i in range(len(x))])
            if len(seen) != 1 or seen[0][0].ndim != 2 or len(seen[0][0]) != len(x):
                shapes = [tuple(h.shape) for h, _ in seen]
                raise invalid("layer", name, f"one call with ({len(x)}, features), not {shapes}", "name another layer")
            ((h, output),) = seen
            own = torch.eye(len(x), dtype=losses.dtype, device=losses.device)
            (rows,) = torch.autograd.grad(losses, output, own, is_grads_batched=True)
    finally:
        handle.remove()
    found, zero = [], 0
    for derivatives in rows.double().unbind(dim=2):
        gradients = derivatives @ h.detach().double()
        lengths = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        present = lengths[:, 0] > 0
        units = (gradients / lengths)[present]
        first, second = torch.triu_indices(len(units), len(units), 1)
        found.append((units @ units.T)[first, second].abs().clamp(max=1.0))
        zero += int((~present).sum())
    return GradientAlignment(torch.cat(found).cpu().numpy(), zero)


def _linear(model: nn.Module, layer: str | None) -> tuple[str, nn.Linear]:
    found = select(model, layer) if layer is not None else select(model, nn.Linear)
    name, module = list(found.items())[-1]
    if not isinstance(module, nn.Linear):
        raise invalid("layer", layer, "the name of a torch.nn.Linear", "see model.named_modules()")
    return name, module
