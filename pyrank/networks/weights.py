"""Weights of a network from the laws that chains know."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyrank.networks.folding import fold_in_place
from pyrank.specs.weights import INITIALIZATIONS, Weights
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_choice, as_integer, invalid

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
EQUIVALENT = "equivalent"
"""The start that a batch sets."""
_BIASED = INITIALIZATIONS["torch"]
"""The law that comes with random biases."""


@unmoved
@torch.no_grad()
def initialize(
    model: nn.Module, weights: str | Weights, x: Tensor | None = None, *, seed: int | None = None
) -> nn.Module:
    """Draw the weights of all linear and convolutional layers of a module anew, in place; or let a batch set them.

    Parameters
    ----------
    model
        Any module. Its other layers stay as they are: transposed convolutions among them, and layers whose weights are
        computed from other parameters, as by `torch.nn.utils.parametrizations.weight_norm`.
    weights
        A `pyrank.Weights` or a name, as in a chain: ``"torch"``, ``"he"``, ``"xavier"``, ``"orthogonal"``,
        ``"broken"``, ... A layer's weights are a matrix (fan_out, fan_in); of a convolution, fan_in counts the entries
        of a kernel with its channels, and fan_out those of all kernels that one input channel meets, as in
        `torch.nn.init`. ``"gram"`` draws no weights, so no network can have them.

        ``"equivalent"`` draws nothing: each batch normalisation is folded into the layer before it, as the affine map
        that it is on the batch ``x``, and is a `torch.nn.Identity` from then on. So a network without normalisation
        starts where one with it would, on this batch: at the same function and with the same ranks. What can be folded
        is said in `pyrank.optimization.equivalent_network`, which does the same to a copy.
    x
        A batch, as the model takes it; for ``"equivalent"`` alone.
    seed
        Of the draws; torch's own generator is used, and moved on, if it is not given.

    Returns
    -------
    torch.nn.Module
        The model. Biases are zero, but for ``"torch"``, which draws them from U[-1, 1] / sqrt(fan_in) as
        `torch.nn.Linear` and ``Conv2d`` do.

    Raises
    ------
    ArgumentError
        If the weights are unknown or the gram law, the seed is no such integer, or ``x`` is given or missing where it
        should not be; for ``"equivalent"`` also if there is no normalisation, or one that cannot be folded. The model
        is unchanged then.
    """
    if isinstance(weights, str) and weights == EQUIVALENT:
        if x is None:
            raise invalid("x", x, "the batch on which the two networks are to be equal", "pass the inputs, not a seed")
        if seed is not None:
            raise invalid("seed", seed, "none", "an equivalent start draws nothing; draw the weights before")
        fold_in_place(model, x)
        return model
    if x is not None:
        shown = type(x).__name__ if isinstance(x, Tensor) else x
        raise invalid("x", shown, "a batch for weights='equivalent' alone", "leave it out; a seed is given as seed=")
    law = as_weights(weights)
    generator = None
    if seed is not None:
        generator = torch.Generator().manual_seed(as_integer("seed", seed, 0, 2**63 - 1, "give an integer seed"))
    for layer in model.modules():
        if isinstance(layer, _LAYERS) and isinstance(layer.weight, nn.Parameter) and not layer.weight.is_meta:
            _draw(layer.weight, law, generator)
            if layer.bias is not None:
                bound = 1.0 / math.sqrt(_fans(layer.weight)[0]) if law == _BIASED else 0.0
                layer.bias.copy_(bound * _symmetric(layer.bias.shape, generator))
    return model


def as_weights(weights: str | Weights) -> Weights:
    """Return the law of the weights of a network, or raise ArgumentError."""
    if not isinstance(weights, Weights):
        weights = INITIALIZATIONS[as_choice("weights", weights, tuple(INITIALIZATIONS))]
    if weights.law == "gram":
        raise invalid("weights.law", "gram", "a law that draws W itself", "use the gaussian law")
    return weights


def _fans(weight: Tensor) -> tuple[int, int]:
    """Return fan_in and fan_out of (out, in, ...)."""
    positions = math.prod(weight.shape[2:])
    return weight.shape[1] * positions, weight.shape[0] * positions


def _symmetric(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Return entries from U[-1, 1]."""
    return 2.0 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1.0


def _draw(weight: Tensor, law: Weights, generator: torch.Generator | None) -> None:
    fans = _fans(weight)
    shape = (weight.shape[0], fans[0])
    if law.law == "orthogonal":
        side = max(shape)
        entries = math.sqrt(side) * nn.init.orthogonal_(torch.empty(shape, dtype=torch.float32), generator=generator)
    elif law.law == "gaussian":
        entries = torch.randn(shape, generator=generator, dtype=torch.float32)
    elif law.law == "uniform":
        entries = math.sqrt(3.0) * _symmetric(shape, generator)
    else:
        entries = 2.0 * torch.randint(2, shape, generator=generator, dtype=torch.float32) - 1.0
    weight.copy_((law.average(*fans) + law.standard_deviation(*fans) * entries).view(weight.shape))
