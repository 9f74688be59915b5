"""Gaussian weights by the special functions of a GPU: as close to the CPU's as docs/stream.md says.

In emulation each of these functions is as wrong as its documentation lets it be.
"""

import itertools
import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank.engine import native
from pyrank.specs.plan import COUNTERS

from harness import advance, assert_same, make_plan
from tolerances import gram_tolerance

QUICK = {"cuda_kernel": "quick"}


@pytest.fixture
def roomy(gpus, request):
    """The devices of `gpus`, with as much shared memory as a Hopper has, so that all of a small layer fits into it."""
    if "emulated" in request.node.callspec.id:
        request.getfixturevalue("emulated").configure(shared_limit=227 << 10)
    return gpus


TWO_NUMBERS = 2.0**-23
"""Of a weight, at most this share is lost when it is split in two numbers of the tensor cores."""


def bounds(weights):
    """How far a quick weight may be from each of these, by the radius of its pair."""
    radius = np.hypot(weights[:, ::2], weights[:, 1::2]).repeat(2, axis=1)
    return 2.0**-20 * (1.6 * radius + 1.0)


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
    assert share.max() > 0.4  # the bound says something


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


TENSOR_SUM = 4
"""How many times as far as one in single precision a sum of some dozens of products on tensor cores may be off."""

REAL = ["participation_ratio", "trace", "frobenius_norm"]

SHAPES = [
    (16, 16),
    (32, 32),
    (64, 64),
    (21, 9),
    (9, 21),
    (33, 50),
    (50, 33),
    (7, 64),
    (64, 7),
    (2, 3),
    (64, 1),
    (1, 5),
    (300, 16),
    (200, 33),
]


@pytest.mark.parametrize("observe", ["state", "activation"])
@pytest.mark.parametrize(("width", "batch"), SHAPES)
def test_measures_are_those_of_the_state(width, batch, observe, roomy):
    chain = pyrank.Chain(width, batch, activation="relu", normalization="batch" if batch > 1 else "rescale")
    measures = [*REAL, "soft_rank(0.5)", "soft_rank(1.0)", "soft_rank(1.7)"]
    plan = make_plan(chain, chains=2, burn_in=3, observe=observe, measures=measures)
    result = advance(plan, [4], gpus=roomy, **QUICK)
    state = torch.from_numpy(result["state"])
    seen = state.relu() if observe == "activation" else state
    expected, _ = native.measure(seen.double(), plan.measures)
    found = result["trace"][:, 0]
    rtol = TENSOR_SUM * gram_tolerance("float32", max(width, batch))
    np.testing.assert_allclose(found[: len(REAL)], expected[: len(REAL)], rtol=rtol)
    np.testing.assert_array_equal(found[len(REAL) :], expected[len(REAL) :])
    exact = advance(plan, [4], gpus=roomy, cuda_kernel="tensor")
    assert (exact["trace"][:, 0] != found).any() or batch == 1 or width == 1  # other weights, other sums


@pytest.mark.parametrize("batch", [9, 24, 40, 64])
def test_counts_close_to_a_threshold_are_right(batch, roomy):
    """Of thresholds ever closer to the first pivot, by which S doubles: those left open are counted in double."""
    chain = pyrank.Chain(48, batch)
    state = advance(make_plan(chain, chains=1, burn_in=1, measures=()), [2], gpus=roomy, **QUICK)["state"]
    rows = state[0].astype(float) if batch >= 48 else state[0].T.astype(float)
    first = ((0.8 * rows[0] + 0.6 * rows[len(rows) // 2]) ** 2).sum() / batch
    plan = make_plan(chain, chains=1, burn_in=1, measures=[f"soft_rank({first - 2.0**-k})" for k in range(4, 24)])
    result = advance(plan, [2], gpus=roomy, **QUICK)
    eigenvalues = np.linalg.eigvalsh(rows @ rows.T / batch)
    expected = [(eigenvalues >= measure.argument).sum() for measure in plan.measures]
    np.testing.assert_array_equal(result["trace"][:, 0, 0], expected)
    assert 2 < result["counters"][COUNTERS.index("flagged")][0] < 18


@pytest.mark.parametrize(("width", "batch"), [(40, 33), (33, 40), (16, 16)])
def test_blocks_memories_and_orders_change_no_bit(width, batch, emulated):
    plan = make_plan(pyrank.Chain(width, batch), chains=3)
    emulated.configure(shared_limit=227 << 10)
    whole = advance(plan, [2], gpus=(0,), **QUICK)
    for seed, (blocks, limit) in enumerate(itertools.product((1, 9), (0, 9000, 227 << 10))):
        emulated.configure(seed=seed, resident_blocks=blocks, shared_limit=limit)
        assert_same(advance(plan, [2], gpus=(0,), **QUICK), whole)
