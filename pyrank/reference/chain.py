"""The chain in pure torch: the oracle that every other backend is held against."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank.estimate import Accumulator
from pyrank.plan import Plan
from pyrank.reference.layer import activate, combine, degenerate_lines, normalize, take_off_exponent
from pyrank.reference.measures import measure
from pyrank.reference.weights import weights


def advance(
    plan: Plan,
    state: Tensor,
    first_layer: int,
    layers: int,
    accumulator: Accumulator,
    counters: NDArray[np.int64],
) -> None:
    """Take ``state`` (chains, d, N) in place from H_first_layer to H_{first_layer + layers}, recording on the way.

    All arithmetic is in the state's dtype (float64 by default); weights are rounded as the chain's dtype asks.
    """
    chain = plan.chain
    index = torch.arange(plan.chains)
    for layer in range(first_layer, first_layer + layers):
        W = weights(chain, plan.seed, layer, index).to(state.dtype)
        Z = combine(state, W, chain.gamma, chain.activation)
        counters[0] += degenerate_lines(Z, chain.normalization).numpy()
        H = normalize(Z, chain.normalization)
        if chain.drifts:
            H, power = take_off_exponent(H)
            counters[3] += power.numpy()
        state.copy_(H)
        if plan.measures and plan.schedule.records(layer):
            seen = activate(state, chain.activation) if plan.observe == "activation" else state
            values = torch.stack([measure(seen, what) for what in plan.measures])
            accumulator.push(values.numpy(), plan.schedule.recorded(layer))
