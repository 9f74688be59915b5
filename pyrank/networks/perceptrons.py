"""Multi-layer perceptrons."""

from __future__ import annotations

import torch
from torch import nn

from pyrank.networks.parts import after, normalizes
from pyrank.networks.weights import as_weights, initialize
from pyrank.specs.chain import MAX_SIZE, as_law
from pyrank.specs.normalization import Normalization
from pyrank.specs.weights import Weights
from pyrank.support.errors import as_integer


def mlp(
    depth: int,
    width: int,
    inputs: int,
    outputs: int,
    normalization: str | Normalization = "batch",
    activation: str = "relu",
    weights: str | Weights = "torch",
    *,
    seed: int | None = None,
) -> nn.Sequential:
    """Build a perceptron: hidden layers of linear map, normalisation and activation, and a linear head.

    Parameters
    ----------
    depth
        Number of hidden layers, at least 0.
    width
        Features of each of them.
    inputs, outputs
        Features of the input (B, inputs) and of the output (B, outputs).
    normalization
        A `pyrank.Normalization` or its name, as in a chain. The names have eps = 0; that of torch is
        ``pyrank.Normalization(recentre=True, eps=1e-5)``. With ``"none"`` the hidden layers have biases instead.
    activation
        Its name, as in a chain.
    weights
        A `pyrank.Weights` or a name, for all layers and the head: see `initialize`.
    seed
        Of the weights; torch's own generator is used if it is not given.

    Returns
    -------
    torch.nn.Sequential
        Without nesting: ``model[0]`` is the first linear map, ``model[-1]`` the head.

    Raises
    ------
    ArgumentError
        If an argument cannot be used.
    """
    depth = as_integer("depth", depth, 0, MAX_SIZE, "give the number of hidden layers")
    width = as_integer("width", width, 1, MAX_SIZE, "give the number of features")
    inputs = as_integer("inputs", inputs, 1, MAX_SIZE, "give the number of features of the input")
    outputs = as_integer("outputs", outputs, 1, MAX_SIZE, "give the number of classes")
    _, activation, normalization = as_law(1.0, activation, normalization)
    weights = as_weights(weights)
    with torch.random.fork_rng(devices=[]):  # torch draws weights of its own, which do not count
        layers: list[nn.Module] = []
        features = inputs
        for _ in range(depth):
            layers.append(nn.Linear(features, width, bias=not normalizes(normalization)))
            layers += after(width, activation, normalization)
            features = width
        model = nn.Sequential(*layers, nn.Linear(features, outputs))
    initialize(model, weights, seed=seed)
    return model
