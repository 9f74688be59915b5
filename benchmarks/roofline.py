"""The machine's own limit, measured in the same run: nobody draws weights or multiplies faster than this."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from cases import WIDTHS, Case
from timing import calibrate

import pyrank
from pyrank.engine import native

PRODUCT_SIDE = 1024
PRODUCT_WIDTHS = (128, 256, 512)
FILL_SIDE = 1024
CHAINS = 16


@dataclass(frozen=True)
class Roofline:
    """Rates of one core in one precision, and where the generator's was reached."""

    weights_per_second: float
    weights_from: str
    flops_per_second: float
    flops_from: str

    def parts(self, case: Case) -> dict[str, float]:
        """Return what one layer of one chain takes at least for drawing alone, and for computing alone."""
        return {"weights": case.weights / self.weights_per_second, "flops": case.flops / self.flops_per_second}

    def seconds(self, case: Case) -> float:
        """Least time of one layer of one chain, if drawing and computing overlap perfectly."""
        return max(self.parts(case).values())

    def seconds_in_turn(self, case: Case) -> float:
        """Least time if they do not overlap at all, because they wait for the same units of the processor."""
        return sum(self.parts(case).values())

    def binds(self, case: Case) -> str:
        """Which of the two sets the limit."""
        parts = self.parts(case)
        return max(parts, key=parts.__getitem__)

    def of(self, case: Case) -> dict[str, Any]:
        """Return what a result says of the limit."""
        return {
            "limit_seconds": self.seconds(case),
            "limit_in_turn_seconds": self.seconds_in_turn(case),
            "limit_from": self.binds(case),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def measure(dtype: str, seconds: float) -> Roofline:
    """Measure both rates as the best of several ways and repetitions: a limit is what the machine can do.

    Weights: chains with N = 1, whose layer draws d^2 weights and computes next to nothing with them, at every width;
    and a plain fill of a matrix from the same generator.
    Flops: a large square product by numpy and by torch; and chains with rademacher weights, which cost one bit each, so
    that their layer is hardly more than pyrank's own product. The libraries' products alone would be a false limit
    where they are tuned for another maker's processors.
    """
    weights = {
        f"chains with N = 1, d = {d}": rate(_run(pyrank.Chain(d, 1, dtype=dtype)), CHAINS * d**2, seconds)
        for d in WIDTHS
    }
    weights[f"a fill of {FILL_SIDE} x {FILL_SIDE}"] = rate(_fill(dtype), FILL_SIDE**2, seconds)
    A = np.random.default_rng(0).standard_normal((PRODUCT_SIDE, PRODUCT_SIDE)).astype(dtype)
    T, shape, work = torch.from_numpy(A), f"{PRODUCT_SIDE} x {PRODUCT_SIDE}", 2 * PRODUCT_SIDE**3
    flops = {
        f"numpy, {shape}": rate(lambda times: [A @ A for _ in range(times)], work, seconds),
        f"torch, {shape}": rate(lambda times: [T @ T for _ in range(times)], work, seconds),
    }
    for d in PRODUCT_WIDTHS:
        chain = pyrank.Chain(d, weights="rademacher", dtype=dtype)
        flops[f"rademacher chains, d = {d}"] = rate(_run(chain), CHAINS * 2 * d**3, seconds)
    drawn, multiplied = (max(rates, key=rates.__getitem__) for rates in (weights, flops))
    return Roofline(weights[drawn], drawn, flops[multiplied], multiplied)


def _run(chain: pyrank.Chain) -> Callable[[int], object]:
    return lambda layers: pyrank.simulate(
        chain, layers, chains=CHAINS, measures=[], initial="identity", backend="cpu", threads=1, progress=False
    )


def _fill(dtype: str) -> Callable[[int], object]:
    chain = pyrank.Chain(FILL_SIDE, dtype=dtype)
    return lambda layers: [native.draw_weights(chain, 0, layer) for layer in range(layers)]


def rate(run: Callable[[int], object], work: int, seconds: float, repeats: int = 5) -> float:
    """Units of work per second, where ``run(k)`` does k times ``work``."""
    count = calibrate(run, seconds)
    elapsed = []
    for _ in range(repeats):
        began = time.perf_counter()
        run(count)
        elapsed.append(time.perf_counter() - began)
    return work * count / min(elapsed)
