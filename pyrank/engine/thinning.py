"""Which layers to record: the stride that gives the smallest standard error in a given time.

To record costs ``c`` layers. In the time of T layers a stride of k records T / (k + c) samples, each with the
asymptotic variance of the thinned series, ``S_k = 1 + 2 sum_j rho(j k)`` in units of the variance. So the squared error
of a mean is proportional to ``(k + c) S_k``: small strides pay for samples that say the same, large ones for layers
nobody looks at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrank.engine.backends import Backend
from pyrank.estimate import Accumulator
from pyrank.specs.plan import COUNTERS, Plan

STRIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PILOT_SECONDS = 0.25  # for each of the three parts of the pilot: settling, timing, recording
LONGEST_PILOT = 8192

Floats = NDArray[np.float64]


def best_stride(autocorrelations: Sequence[Floats], cost: float, widths: int = 1) -> int:
    """Return the stride of `STRIDES` that is best for the measure that fares worst with it.

    Parameters
    ----------
    autocorrelations
        For each measure rho(0), rho(1), ..., which is taken to be zero beyond.
    cost
        Time to record one layer over the time to compute one.
    widths
        How many widths take turns; the stride has no divisor in common with it, so that all of them are recorded.
    """
    if not autocorrelations:
        return 1
    strides = [k for k in STRIDES if math.gcd(k, widths) == 1]
    losses = np.array([[(k + cost) * (1.0 + 2.0 * rho[k::k].sum()) for k in strides] for rho in autocorrelations])
    worst = (losses / losses.min(axis=1, keepdims=True)).max(axis=0)
    return strides[int(worst.argmin())]


def autocorrelation(traces: Floats) -> Floats:
    """Return rho(0), rho(1), ... of series (chains, samples), up to where noise takes over.

    That is where the sum of two neighbours is no longer positive (Geyer, Statist. Sci. 7, 473, 1992).
    """
    samples = traces.shape[1]
    centred = traces - traces.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * samples)) ** 2
    covariance = np.fft.irfft(spectrum)[:, :samples].mean(axis=0) / samples
    rho: Floats = covariance / covariance[0]
    pairs = rho[: samples // 2 * 2].reshape(-1, 2).sum(axis=1)
    noise = np.nonzero(pairs <= 0)[0]
    return rho[: 2 * noise[0]] if noise.size else rho


def choose(plan: Plan, engine: Backend, state: Tensor) -> int:
    """Return the stride for the kernel measures of a plan, after a pilot run on a copy of its first state."""
    if not plan.measures:
        return 1
    pilot = _Pilot(plan, engine, state.clone())
    pilot.run(1, record=False)  # a device takes its time to start, once
    settling = pilot.layers_in(PILOT_SECONDS, record=False)
    pilot.run(max(settling, 1), record=False)
    layers = pilot.layers_in(PILOT_SECONDS, record=True)
    with_record, without = (min(pilot.run(layers, record=record)[0] for _ in range(3)) for record in (True, False))
    _, record = pilot.run(layers, record=True)
    traces = record.trace[:, :layers].transpose(0, 2, 1)
    varying = [trace for trace in traces if np.isfinite(trace).all() and np.ptp(trace) > 0]
    cost = max(with_record / without - 1.0, 0.0)
    return best_stride([autocorrelation(trace) for trace in varying], cost, len(plan.chain.widths))


class _Pilot:
    """Advances a state of its own, with every layer recorded or none."""

    def __init__(self, plan: Plan, engine: Backend, state: Tensor) -> None:
        self.plan = replace(plan, snapshots=(), burn_in=0, every=1)
        self.engine, self.state, self.layer = engine, state, 0

    def run(self, layers: int, *, record: bool) -> tuple[float, Accumulator]:
        """Return the seconds that ``layers`` layers took, and what was recorded of them."""
        measures = self.plan.measures if record else ()
        plan = replace(self.plan, measures=measures, burn_in=self.layer, trace=layers + layers % 2)
        accumulator = Accumulator.empty([False] * len(measures), plan.chains, 1, plan.trace)
        counters = np.zeros((len(COUNTERS), plan.chains), dtype=np.int64)
        began = time.perf_counter()
        self.engine.advance(plan, self.state, self.layer, layers, accumulator, counters)
        self.layer += layers
        return time.perf_counter() - began, accumulator

    def layers_in(self, seconds: float, *, record: bool) -> int:
        """Return how many layers fit into a time, by running them."""
        layers = 1
        while layers < LONGEST_PILOT and self.run(layers, record=record)[0] < seconds / 2:
            layers *= 2
        return layers
