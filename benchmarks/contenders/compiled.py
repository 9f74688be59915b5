"""pyrank as its users call it."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from cases import Case

import pyrank
from contenders import SEED, Array, Layer, Loop
from pyrank import native


def simulate(
    case: Case, layers: int, chains: int, seed: int, initial: str | torch.Tensor, threads: int = 1
) -> pyrank.Run:
    """Run the case."""
    chain = pyrank.Chain(case.width, case.batch, activation=case.activation, dtype=case.dtype)
    return pyrank.simulate(
        chain, layers, chains=chains, seed=seed, measures=case.pyrank_measures, initial=initial, backend="cpu",
        threads=threads, progress=False,
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
