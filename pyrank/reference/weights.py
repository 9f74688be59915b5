"""The weights of one layer, drawn from the stream."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrank.chain import Chain
from pyrank.errors import as_integer, invalid
from pyrank.reference import stream

MAX_INDEX = 2**32 - 1


def weights(chain: Chain, seed: int, layer: int, chains: Tensor) -> Tensor:
    """Return W of shape (chains, d, d) in the chain's dtype."""
    dtype = getattr(torch, chain.dtype)
    law = chain.weights
    w = stream.draw(law.law, seed, stream.WEIGHTS, layer, chain.width, chain.width, chains, dtype)
    return w * torch.tensor(law.scale, dtype=dtype) + torch.tensor(law.mean, dtype=dtype)


def draw_weights(chain: Chain, seed: int, layer: int, index: int = 0) -> Tensor:
    """Return the weight matrix that every backend uses for one layer of one chain.

    Parameters
    ----------
    chain
        The chain's specification.
    seed
        0 <= seed < 2**64.
    layer
        The layer that takes H_layer to H_{layer + 1}, counted from 0.
    index
        Number of the chain, counted from 0.

    Returns
    -------
    torch.Tensor
        (d, d), in the chain's dtype. Uniform and rademacher weights are the same to the bit on every backend;
        gaussian ones agree to a few units in the last place.

    Raises
    ------
    ArgumentError
        If ``chain`` is none, or a number is out of range.
    """
    if not isinstance(chain, Chain):
        raise invalid("chain", chain, "a pyrank.Chain", "write for example pyrank.Chain(width=32)")
    seed = as_integer("seed", seed, 0, 2**64 - 1, "give an integer seed")
    layer = as_integer("layer", layer, 0, MAX_INDEX, "layers count from 0")
    index = as_integer("index", index, 0, MAX_INDEX, "chains count from 0")
    return weights(chain, seed, layer, torch.tensor([index]))[0]
