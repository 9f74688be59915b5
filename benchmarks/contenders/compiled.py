"""pyrank as its users call it."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from cases import Case
from contenders import SEED, Array, Layer, Loop

import pyrank
from pyrank.engine import native

TRACE = {"cpu": 4096, "cuda": 64}
"""Samples kept of each chain; of thousands of chains fewer, since nobody wants gigabytes of them."""


def simulate(
    case: Case, layers: int, chains: int, seed: int, initial: str | torch.Tensor, threads: int = 1
) -> pyrank.Run:
    """Run the case on one core or one GPU."""
    chain = pyrank.Chain(case.width, case.batch, activation=case.activation, dtype=case.dtype)
    place = {"backend": "cpu", "threads": threads} if case.device == "cpu" else {"device": "cuda:0"}
    return pyrank.simulate(
        chain, layers, chains=chains, seed=seed, measures=case.pyrank_measures, initial=initial,
        trace=TRACE[case.device], progress=False, **place,
    )  # fmt: skip


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop; the layer draws W itself, and the gate gives the same W to the peers."""
    if missing := native.why_missing():
        raise ImportError(missing)
    fresh_seeds = itertools.count(SEED + 1)

    def outcome(layers: int, seed: int, initial: str | torch.Tensor) -> tuple[Array, Array]:
        run = simulate(case, layers, chains, seed, initial)
        means = [estimate.trace.mean(axis=1) for estimate in run.values()]
        return run.state.numpy(), np.stack(means, axis=1) if means else np.empty((chains, 0))

    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        return outcome(1, SEED, torch.from_numpy(H))

    def run(layers: int) -> tuple[Array, Array]:
        return outcome(layers, next(fresh_seeds), "identity")

    return layer, run
