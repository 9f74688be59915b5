"""Networks without normalisation that are the same function on one batch (Morwani 2020, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrank.networks.folding import folded
from pyrank.support.ambient import unmoved


@unmoved
@torch.no_grad()
def equivalent_network(model: nn.Module, x: Tensor) -> nn.Module:
    """Fold each normalisation of a network into the layer before it, as the affine map that it is on this batch.

    A layer w.x + b and its normalisation gamma (z - mu) / s + beta become one layer with ::

        w_eq = gamma w / s        b_eq = gamma (b - mu) / s + beta,

    with the mean mu and the size s of this batch, whatever the order. On it the network computes what the model does in
    train mode, but for rounding, which depth multiplies in both. Its gradients differ, as
    `pyrank.theory.linear_gradients` and `pyrank.theory.normalized_gradients` say, and so does what a step of descent
    does to it.

    Parameters
    ----------
    model
        Any module in which each batch normalisation, of torch or a `pyrank.networks.Normalize`, is called once, on the
        output of a `torch.nn.Linear` or convolution that nothing else uses. It is not changed.
    x
        The batch, as the model takes it.

    Returns
    -------
    torch.nn.Module
        A copy of the model in which normalisations are `torch.nn.Identity`, in the mode of the model.

    Raises
    ------
    ArgumentError
        If a normalisation is not of that kind, the model is random (dropout) or cannot be called with ``x``, or the
        copy does not compute the same in the end (shared layers, or outputs used twice).
    """
    return folded(model, x)
