"""The activations F, elementwise, each with what its gradient takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LEAKY_SLOPE = 0.01
aten = torch.ops.aten


class Formula(NamedTuple):
    """An activation and its derivative."""

    value: Callable[[Tensor], Tensor]
    """F(h)."""
    pullback: Callable[[Tensor, Tensor, Tensor], Tensor]
    """g F'(h) of g, h and f = F(h): where torch has it, in a single pass."""


FORMULAS = {
    "linear": Formula(lambda h: h, lambda g, h, f: g),
    "relu": Formula(torch.relu, lambda g, h, f: aten.threshold_backward(g, h, 0.0)),
    "leaky_relu": Formula(
        lambda h: functional.leaky_relu(h, LEAKY_SLOPE),
        lambda g, h, f: aten.leaky_relu_backward(g, h, LEAKY_SLOPE, False),
    ),
    "tanh": Formula(torch.tanh, lambda g, h, f: aten.tanh_backward(g, f)),
    "sigmoid": Formula(torch.sigmoid, lambda g, h, f: aten.sigmoid_backward(g, f)),
    # not torch's gelu, which loses the lower tail to 1 + erf: it is 0 from -9 on
    "gelu": Formula(lambda h: 0.5 * h * torch.erfc(-math.sqrt(0.5) * h), lambda g, h, f: aten.gelu_backward(g, h)),
    # not torch's softplus, which is h itself from 20 on: off by 2e-9
    "softplus": Formula(lambda h: -functional.logsigmoid(-h), lambda g, h, f: g * torch.sigmoid(h)),
}
"""By the names that a chain knows."""


def activate(H: Tensor, activation: str) -> Tensor:
    """F(H), elementwise."""
    return FORMULAS[activation].value(H)
