"""A network that is tried out and comes back as it was, but for its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Put back, whatever happens: buffers, requires_grad, gradients, train or eval mode, and the random state."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    gpus = sorted({p.device.index or 0 for p, *_ in parameters if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(gpus):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required, gradient in parameters:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
