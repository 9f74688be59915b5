"""The chain in pure torch: the oracle that every other backend is held against."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank.estimate import Accumulator
from pyrank.reference.activations import activate
from pyrank.reference.layer import clear_cancelled, combine, degenerate_lines, normalize, take_off_exponent
from pyrank.reference.measures import measure
from pyrank.reference.weights import largest_of_few, multiply
from pyrank.specs.plan import Plan
from pyrank.support.ambient import unmoved


@unmoved
def advance(
    plan: Plan,
    state: Tensor,
    first_layer: int,
    layers: int,
    accumulator: Accumulator,
    counters: NDArray[np.int64],
) -> None:
    """Take ``state`` (chains, d, N) in place from H_first_layer to H_{first_layer + layers}, recording on the way.

    Where the width varies, d is the largest one, and rows that a layer does not have are zero.

    All arithmetic is in the state's dtype (float64 by default); weights are rounded as the chain's dtype asks.
    """
    chain, norm = plan.chain, plan.chain.normalization
    index = torch.arange(plan.chains)
    for layer in range(first_layer, first_layer + layers):
        H = state[:, : chain.width_at(layer)]
        F = activate(H, chain.activation)
        Z = combine(H, multiply(chain, plan.seed, layer, index, F), chain.gamma)
        if (norm.rescale or norm.whiten) and (weight := largest_of_few(chain, layer)):
            Z = clear_cancelled(Z, F, weight, norm)
        counters[0] += degenerate_lines(Z, norm).numpy()
        H = normalize(Z, norm)
        if chain.drifts:
            H, power = take_off_exponent(H)
            counters[3] += power.numpy()
        state.zero_()
        H = state[:, : chain.width_at(layer + 1)].copy_(H)
        if plan.measures and plan.schedule.records(layer):
            seen = activate(H, chain.activation) if plan.observe == "activation" else H
            values = torch.stack([measure(seen, what) for what in plan.measures])
            accumulator.push(values.numpy(), plan.schedule.recorded(layer))
