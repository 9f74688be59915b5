"""Gaussian weights by the special functions of a GPU: as close to the CPU's as docs/stream.md says.

In emulation each of these functions is as wrong as its documentation lets it be.
"""

import math

import numpy as np
import pytest

import pyrank
from pyrank.engine import native

from harness import advance, assert_same, make_plan

QUICK = {"cuda_kernel": "quick"}

TWO_NUMBERS = 2.0**-23
"""Of a weight, at most this share is lost when it is split in two numbers of the tensor cores."""


def bounds(weights):
    """How far a quick weight may be from each of these, by the radius of its pair."""
    radius = np.hypot(weights[:, ::2], weights[:, 1::2]).repeat(2, axis=1)
    return 2.0**-20 * (1.1 * radius + 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_weights(seed, gpus):
    """The identity picks them out. Radii from about 0 to 4.5 are among them, with the few where a series is taken."""
    chain = pyrank.Chain(256, 128, normalization="none")
    plan = make_plan(chain, chains=1, measures=(), start="identity", seed=seed)
    result = advance(plan, [1], gpus=gpus, **QUICK)
    found = np.ldexp(result["state"][0], result["counters"][3, 0]).astype(float)
    drawn = native.draw_weights(chain, plan.seed, 0)[:, :128].astype(float)
    radius = np.hypot(drawn[:, ::2], drawn[:, 1::2])
    assert (radius < math.sqrt(2 * 2.0**-6)).sum() > 100
    share = np.abs(found - drawn) / (bounds(drawn) + TWO_NUMBERS * np.abs(drawn))
    assert share.max() <= 1
    assert share.max() > 0.5  # the bound says something


@pytest.mark.parametrize("batch", [9, 24, 50, 100, 140])
def test_a_layer_is_that_of_the_cpus_weights_within_the_bound(batch, gpus):
    chain = pyrank.Chain(40, batch, gamma=0.5, normalization="none", activation="relu")
    plan = make_plan(chain, chains=1, measures=(), seed=3)
    quick, exact = (advance(plan, [1], gpus=gpus, cuda_kernel=kernel) for kernel in ("quick", "tensor"))
    states = [np.ldexp(each["state"][0].astype(float), each["counters"][3, 0]) for each in (quick, exact)]
    F = np.maximum(advance(plan, [0], gpus=gpus, **QUICK)["state"][0].astype(float), 0.0)
    W = native.draw_weights(chain, plan.seed, 0).astype(float)
    rounding = 2.0**-19 * np.abs(W) @ F  # of the split and of sums that are truncated, in both
    share = np.abs(states[0] - states[1]) / (0.5 * (bounds(W) @ F + rounding))
    assert 0 < share.max() <= 1


@pytest.mark.parametrize("chain", [
    pyrank.Chain(9, 12, gamma=0.5, activation="tanh"),
    pyrank.Chain(40, 33, activation="relu", normalization="batch"),
    pyrank.Chain(17, 150, gamma=0.5, normalization="batch"),
], ids=str)  # fmt: skip
def test_chunks_and_positions_change_no_bit(chain, gpus):
    plan = make_plan(chain, chains=5, burn_in=1, every=2)
    whole = advance(plan, [7], gpus=gpus, **QUICK)
    assert_same(advance(plan, [1, 4, 2], gpus=gpus, **QUICK), whole)
    few = advance(make_plan(chain, chains=2, burn_in=1, every=2), [7], gpus=gpus, **QUICK)
    np.testing.assert_array_equal(few["state"], whole["state"][:2])


def test_other_laws_have_no_quick_weights(gpus):
    plan = make_plan(pyrank.Chain(20, weights="uniform"), chains=2)
    assert_same(advance(plan, [3], gpus=gpus, **QUICK), advance(plan, [3], gpus=gpus, cuda_kernel="tensor"))
