"""The equality gate: nothing is timed before it was shown to compute the same job as the reference.

One layer: from the same H and W, a contender's own functions agree with `pyrank.reference` in float64. The bound is
a small multiple of what plain torch loses on the same problem in the contender's precision.
The law: peers draw other random numbers, so of whole runs only the means over chains can agree, within their errors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from cases import TAU, Case
from contenders import PYRANK, SEED, Array, Contender, on_host
from torch import Tensor

import pyrank
from pyrank.engine import native

LOSS_FACTOR = 4.0
"""Sums in another order."""

FLOOR_ULPS = 8.0
"""Where plain torch happens to lose nothing."""

SWEEPS = 10
"""Eigenvalues on a GPU come from about so many sweeps, in each of which as many rotations as columns round an entry."""

COUNT_MARGIN = 1e-3
"""An eigenvalue this close to the threshold may be counted either way."""

CHECKED = 8192
"""Chains times width whose layer is compared; a GPU advances more chains than the reference has time for."""

LAW_WIDTH = 256
"""Beyond this width the reference takes minutes, and the loops are the same."""

LAW_SIGMAS = 8.0
"""With an error estimated from 16 chains, Student's t: one false alarm in a million."""


def law_size(case: Case) -> int:
    """Return how many chains of the reference, and how many layers: what a few seconds allow."""
    return min(64, max(16, 4096 // case.width)) if case.device == "cpu" else 16


class GateError(AssertionError):
    """A contender does not compute the case."""


def check(case: Case, contender: Contender) -> None:
    """Raise `GateError` unless the contender computes the case."""
    _check_layer(case, contender)
    if case.width <= LAW_WIDTH:
        _check_law(case, contender)


def _check_layer(case: Case, contender: Contender) -> None:
    """Of many chains, which then repeat the problem of the first ones, the last are compared.

    Of pyrank's the first are, since it draws other weights for each chain.
    """
    checked = min(contender.chains, max(16, CHECKED // case.width))
    H, W = problem(case, checked)
    state, values = contender.layer(*(np.resize(array, (contender.chains, *array.shape[1:])) for array in (H, W)))
    first = 0 if contender.name == PYRANK else contender.chains - checked
    state, values = (np.roll(array[first:][:checked], first, axis=0) for array in (state, values))
    known = _known(case, checked)
    _within(case, contender, "state", state, *known.states)
    if case.measures != "none":
        rotated = case.device != "cpu" and case.measures == "rank" and contender.name != PYRANK
        steps = SWEEPS * case.gram[0] if rotated else 0
        _within(case, contender, "participation ratio", values[:, 0], *known.r, random_walk=steps)
    if case.measures == "rank":
        least, most = known.counts
        if not ((least <= values[:, 1]) & (values[:, 1] <= most)).all():
            raise GateError(f"{case}, {contender.name}: soft rank {values[:, 1]}, expected from {least} to {most}")


@dataclass(frozen=True)
class _Known:
    """The layer by the reference in float64 and float32: states, participation ratios; least and greatest counts."""

    states: tuple[Tensor, Tensor]
    r: tuple[Tensor, Tensor]
    counts: tuple[Array, Array]


@functools.lru_cache(maxsize=1)
def _known(case: Case, chains: int) -> _Known:
    H, W = problem(case, chains)
    exact = pyrank.reference.layer_step(H.double(), W.double(), activation=case.activation)
    single = pyrank.reference.layer_step(H.float(), W.float(), activation=case.activation)
    r = (pyrank.reference.participation_ratio(exact), pyrank.reference.participation_ratio(single))
    least, most = (pyrank.reference.soft_rank(exact, TAU + margin).numpy() for margin in (COUNT_MARGIN, -COUNT_MARGIN))
    return _Known((exact, single), r, (least, most))


@functools.lru_cache(maxsize=1)
def problem(case: Case, chains: int) -> tuple[Tensor, Tensor]:
    """Random states, and the weights that pyrank's kernels draw for the first layer.

    Those of the reference differ in the last places, which a row of few samples that happen to be small would magnify.
    """
    dtype = getattr(torch, case.dtype)
    generator = torch.Generator().manual_seed(SEED)
    H = torch.randn(chains, case.width, case.batch, generator=generator, dtype=torch.float64).to(dtype)
    chain = pyrank.Chain(case.width, case.batch, dtype=case.dtype)
    return H, torch.stack([torch.from_numpy(native.draw_weights(chain, SEED, 0, index)) for index in range(chains)])


def _within(
    case: Case, contender: Contender, what: str, found: Array, exact: Tensor, single: Tensor, random_walk: int = 0
) -> None:
    eps, eps32 = np.finfo(case.dtype).eps, np.finfo(np.float32).eps
    loss = (single.double() - exact).abs().max().item() * eps / eps32
    ulps = FLOOR_ULPS + math.sqrt(random_walk)
    tolerance = LOSS_FACTOR * loss + ulps * eps * exact.abs().max().item()
    error = np.abs(np.asarray(found, dtype=float) - exact.numpy()).max()
    if not error <= tolerance:
        raise GateError(f"{case}, {contender.name}: {what} is off by {error:.2g}, allowed {tolerance:.2g}")


@functools.cache
def _law(case: Case) -> Array:
    """Return the outcome of the reference's chains."""
    chain = pyrank.Chain(case.width, case.batch, activation=case.activation, dtype=case.dtype)
    size = law_size(case)
    run = pyrank.simulate(
        chain, size, chains=size, seed=SEED - 1, measures=case.pyrank_measures, initial="identity",
        backend="reference", progress=False,
    )  # fmt: skip
    means = [estimate.trace.mean(axis=1) for estimate in run.values()]
    return _outcome(run.state.numpy(), np.stack(means, axis=1) if means else np.empty((size, 0)))


def _outcome(state: Array, means: Array) -> Array:
    """Return the means over layers (chains, measures), or of a run that measured nothing r of the last state."""
    return means if means.size else pyrank.reference.participation_ratio(torch.tensor(state).double()).numpy()[:, None]


def _check_law(case: Case, contender: Contender) -> None:
    expected = _law(case)
    found = _outcome(*(on_host(array) for array in contender.run(law_size(case))))
    error = expected.std(axis=0, ddof=1) * math.sqrt(1 / len(expected) + 1 / len(found))
    off = np.abs(found.mean(axis=0) - expected.mean(axis=0))
    if not (off <= LAW_SIGMAS * error).all():
        raise GateError(f"{case}, {contender.name}: {law_size(case)} layers give {found.mean(axis=0)}, "
                  f"expected {expected.mean(axis=0)} within {LAW_SIGMAS * error}")  # fmt: skip
