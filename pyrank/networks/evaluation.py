"""How good a classifier is: by the statistics of batches, or by the running ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyrank.networks.normalize import Normalize
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_choice, as_integer, invalid

STATISTICS = ("batch", "running")


@unmoved
@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor], *, batch: int = 128, statistics: str = "batch") -> float:
    """Return the share of samples whose largest score is that of their class.

    Parameters
    ----------
    model
        Takes x to scores (B, classes); it is left as it was, running statistics and modes of its parts included.
    data
        x (n, ...), as the model takes it, and y (n,).
    batch
        How many at a time.
    statistics
        ``"batch"``: normalisation uses those of whole batches, and samples that fill none are left out; ``"running"``:
        eval mode.

    Returns
    -------
    float
        NaN if a score is not finite.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    as_choice("statistics", statistics, STATISTICS)
    x, y = as_pair("data", data)
    size = min(as_integer("batch", batch, 1, 2**31, "give the size of a batch"), len(y))
    whole = len(y) - len(y) % size if statistics == "batch" else len(y)
    device = next((each.device for each in model.parameters()), x.device)
    right = 0
    with _evaluating(model, statistics == "batch"):
        for xs, ys in zip(torch.split(x[:whole], size), torch.split(y[:whole], size), strict=True):
            scores = model(xs.to(device))
            if not torch.isfinite(scores).all():
                return math.nan
            right += int((scores.argmax(dim=1) == ys.to(device)).sum())
    return right / whole


@contextmanager
def _evaluating(model: nn.Module, by_batch: bool) -> Iterator[None]:
    """Put a model into eval mode, but for normalisation by batch, whose buffers come back as they were."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    norms = [module for module in modes if by_batch and isinstance(module, Normalize | _BatchNorm)]
    before = {buffer: buffer.clone() for norm in norms for buffer in norm.buffers()}
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for buffer, value in before.items():
            buffer.copy_(value)
        for module, mode in modes.items():
            module.training = mode


def as_pair(argument: str, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return x and y, or raise ArgumentError."""
    if not (isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)):
        raise invalid(argument, type(data).__name__, "a pair of tensors (x, y)", "see pyrank.data.load")
    x, y = data
    if x.ndim < 1 or y.ndim != 1 or len(x) != len(y) or not len(y):
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise invalid(argument, shapes, "x (n, ...) and y (n,) with n >= 1", "give a label for each sample")
    return x, y
