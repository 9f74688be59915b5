"""Gradient ascent on the rank at the end of a way through a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pyrank.networks.hidden import hidden
from pyrank.networks.stages import Stage, output_at
from pyrank.ops import participation_ratio
from pyrank.support.errors import invalid

HOMOGENEOUS = 1e-3
"""A stage whose output follows a factor of its weights as closely is rescaled."""

RISE = 0.1
"""Share of the steps in which the rate rises; without it 20 layers are left at r = 2, their samples on two rays."""

OPEN = 1.1
"""r from which on the way is open to the layer after: where all samples have become one there is nothing to climb."""

LEAST = 1e-15
"""Of r - 1 in double, under its logarithm."""


def hidden_at(model: nn.Module, stage: Stage, x: Tensor) -> Tensor:
    """Return H at the end of a stage; in double, where a first departure of r from 1 is not lost in rounding."""
    X = hidden(output_at(model, stage, x), "channels")
    if isinstance(X, str):
        raise invalid("layers", stage.name, f"layers with a hidden matrix, not one with {X}", "name other layers")
    return X.reshape(-1, X.shape[-1]).double().mT


def rank_at(model: nn.Module, stage: Stage, x: Tensor) -> Tensor:
    """Return r at the end of a stage; NaN if its output is not finite."""
    try:
        return participation_ratio(hidden_at(model, stage, x))
    except FloatingPointError:
        return torch.tensor(torch.nan)


def rate_at(share: float) -> float:
    """Return the learning rate after this share of the steps, as a share of its height."""
    return min(1.0, share / RISE + 0.01) * 0.5 * (1.0 + math.cos(math.pi * share))


def ascend(
    model: nn.Module, way: Sequence[Stage], weights: list[nn.Parameter], optimizer: torch.optim.Optimizer,
    batches: Iterator[Tensor], steps: int, target: float,
) -> tuple[int, str]:  # fmt: skip
    """Raise r at the end of a way to its target; return steps taken, and why it stopped if it did.

    Adam begins at the first stage and moves on when r is open; at least half of the steps go to the last. The best
    weights for the last stage are kept, those of the start among them.
    """
    for parameter in weights:
        parameter.requires_grad_(True)
    adam = isinstance(optimizer, torch.optim.Adam)
    schedule = LambdaLR(optimizer, lambda step: rate_at(step / steps)) if adam else None
    kept_weights = [parameter.detach().clone() for parameter in weights]
    best = -1.0
    last = len(way) - 1
    at = 0 if adam else last
    stopped = ""
    step = 0
    for step in range(steps + 1):
        x = next(batches)
        if step >= steps // 2:
            at = last
        elif step == 0 and at < last:
            with torch.no_grad():
                best = rank_at(model, way[last], x).nan_to_num(best).item()
        stage = way[at]
        r = rank_at(model, stage, x)
        if not torch.isfinite(r):
            stopped = f"r of layer {stage.name} is no number after {step} steps"
            break
        if at == last and r.item() > best:
            best = r.item()
            torch._foreach_copy_(kept_weights, [parameter.detach() for parameter in weights])
        if step == steps or (at == last and r.item() >= target):
            break
        at = min(at + (r.item() > OPEN), last)
        optimizer.zero_grad()
        objective = torch.log((r - 1.0).clamp(min=LEAST)) if adam else r
        gradients = torch.autograd.grad(-objective, weights, allow_unused=True)
        if not torch.isfinite(nn.utils.get_total_norm([g for g in gradients if g is not None])):
            stopped = f"the gradient of r of layer {stage.name} is no number after {step} steps"
            break
        for parameter, gradient in zip(weights, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        if schedule is not None:
            schedule.step()
    with torch.no_grad():
        torch._foreach_copy_(list[Tensor](weights), kept_weights)
    for parameter in weights:
        parameter.grad = None
    return step, stopped


@torch.no_grad()
def to_size_one(model: nn.Module, way: Sequence[Stage], weights: list[nn.Parameter], x: Tensor) -> None:
    """Give each stage of a way an output of size 1 by factors, if that is what factors do: r is the same then.

    The output of a stage takes a factor if its biases take it, and its matrices what is left of it after the one of the
    stage before.
    """

    def sizes() -> list[float]:
        return [float(hidden_at(model, stage, x).square().mean().sqrt()) for stage in way]

    before = [parameter.detach().clone() for parameter in weights]
    among, last = set(weights), 1.0
    for stage, size in zip(way, sizes(), strict=True):
        factor = 1.0 / (size or 1.0)
        for parameter in among.intersection(stage.parameters):
            parameter.mul_(factor / last if parameter.ndim > 1 else factor)
        last = factor
    if not all(abs(size - 1.0) < HOMOGENEOUS for size in sizes()):
        torch._foreach_copy_(list[Tensor](weights), before)


def batches_of(x: Tensor, batch: int, seed: int) -> Iterator[Tensor]:
    """Draw batches without end: whole passes over x in a random order, without a ragged end."""
    generator = torch.Generator().manual_seed(seed)
    size = min(batch, len(x))
    while True:
        order = torch.randperm(len(x), generator=generator)
        for first in range(0, len(x) - size + 1, size):
            yield x if size == len(x) else x[order[first : first + size].to(x.device)]
