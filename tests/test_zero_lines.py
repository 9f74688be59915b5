"""Lines that are zero in exact arithmetic, whatever rounding leaves of them.

With one sample every line is a sign, and a sum of d random signs is zero in C(d, d/2) of 2^d cases.
"""

import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank import reference
from pyrank.reference.weights import weights
from pyrank.specs.chain import ACTIVATIONS

from harness import advance, make_plan, start
from tolerances import SIGMAS

DTYPES = ("float32", "float64")
SIGNS = {"weights": "rademacher"}


def zero_lines(chain, layers, chains, **options):
    """Lines found to be zero in the last layer, by chain."""
    plan = make_plan(chain, chains, measures=())
    return (advance(plan, [layers], **options)["counters"] - advance(plan, [layers - 1], **options)["counters"])[0]


def by_reference(chain, layers, chains, dtype=torch.float64):
    plan = make_plan(chain, chains, measures=())
    state, accumulator, counters = start(plan, dtype)
    reference.advance(plan, state, 0, layers, accumulator, counters)
    return state, counters


def assert_exact_share(zeros, width, lines=None):
    """A law of large numbers: each line, of ``width`` if not said, is zero as often as so many signs have the sum 0."""
    share = (width if lines is None else lines) * math.comb(width, width // 2) / 2**width
    mean, error = zeros.mean(), zeros.std() / math.sqrt(len(zeros))
    assert abs(mean - share) <= SIGMAS * error, f"{mean} ± {error}, expected {share}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_share_of_zero_rows(activation, dtype, isa, layout):
    for width in (8, 34):
        chain = pyrank.Chain(width, 1, activation=activation, dtype=dtype, **SIGNS)
        assert_exact_share(zero_lines(chain, 2, 2000 if width == 8 else 500, isa=isa, layout=layout), width)


@pytest.mark.parametrize("dtype", DTYPES)
def test_share_of_zero_rows_on_gpus(dtype, gpus):
    for activation in ("linear", "tanh"):
        chain = pyrank.Chain(8, 1, activation=activation, dtype=dtype, **SIGNS)
        assert_exact_share(zero_lines(chain, 2, 400, gpus=gpus), 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_share_of_zero_rows_in_the_reference(dtype):
    for activation in ("linear", "tanh"):
        chain = pyrank.Chain(8, 1, activation=activation, **SIGNS)
        counters = by_reference(chain, 2, 2000, dtype)[1] - by_reference(chain, 1, 2000, dtype)[1]
        assert_exact_share(counters[0], 8)


@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_share_of_zero_rows_of_proportional_samples(dtype, order, layout):
    """Samples that are multiples of one another: again every line is a sign times the same line."""
    column, row = torch.tensor([3.0, 1, -2, 7, 5, -1, 4, 6]), torch.tensor([3.0, -10, 7, 1 / 4, 51, -22, 1])
    initial = torch.outer(column, row).to(getattr(torch, dtype))
    norm = pyrank.Normalization(order=order)
    plan = make_plan(pyrank.Chain(8, 7, normalization=norm, dtype=dtype, **SIGNS), 2000, measures=(), start=initial)
    zeros = advance(plan, [2], layout=layout)["counters"][0] - advance(plan, [1], layout=layout)["counters"][0]
    assert_exact_share(zeros, 8)


@pytest.mark.parametrize("recentre", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_share_of_whitened_states_that_are_zero(dtype, recentre, layout):
    """Eight rows that are a sign times the same one, summed to the single row of the next layer: all there is."""
    norm = pyrank.Normalization(recentre, rescale=False, whiten=True)
    chain = pyrank.Chain((8, 1), 5, normalization=norm, dtype=dtype, **SIGNS)
    assert_exact_share(zero_lines(chain, 3, 2000, layout=layout), 8, lines=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_line_is_zero_up_to_the_rounding_of_its_sum_and_no_further(dtype, kernels):
    """1 - (1 - 16 u) lies below the noise of 2 (8 + sqrt(2 + N)) u, 1 - (1 - 32 u) above it, as 1 - 5 does."""
    u = np.finfo(dtype).eps / 2
    for gap, below in ((16, True), (32, False)):
        pair = torch.tensor([[1, 1], [1 - gap * u, 5]], dtype=getattr(torch, dtype))
        for over, batch in (("batch", 1), ("batch", 2), ("features", 2)):
            norm = pyrank.Normalization(over=over)
            plan = make_plan(
                pyrank.Chain(2, batch, normalization=norm, dtype=dtype, **SIGNS), 40, measures=(), start=pair[:, :batch]
            )
            zero = below & (weights(plan.chain, plan.seed, 0, torch.arange(40)).sum(dim=-1) == 0).numpy()
            expected = {("batch", 1): zero.sum(axis=1), ("batch", 2): 0, ("features", 2): zero.all(axis=1)}[over, batch]
            result = advance(plan, [1], **kernels)
            np.testing.assert_array_equal(result["counters"][0], np.broadcast_to(expected, 40))
            if batch == 1:
                np.testing.assert_array_equal(result["state"][:, :, 0] == 0, zero)


@pytest.mark.parametrize("dtype", DTYPES)
def test_recentring_spreads_rounding_to_columns_that_have_none(dtype, kernels):
    """Rows a, b and a + b, rounded, of which the first column is the mean: there F(H), centred, all but vanishes."""
    batch = 16
    a, b = torch.from_numpy(np.random.default_rng(0).normal(size=(2, batch)))
    rows = torch.stack([a, b, a + b])
    rows[:, 0] = rows[:, 1:].mean(dim=1)
    chain = pyrank.Chain(3, batch, normalization="batch", dtype=dtype, **SIGNS)
    plan = make_plan(chain, 40, measures=(), start=rows.to(getattr(torch, dtype)))
    signs = weights(chain, plan.seed, 0, torch.arange(40)).sign()
    zero = ((signs[..., 0] == signs[..., 1]) & (signs[..., 0] == -signs[..., 2])).numpy()
    result = advance(plan, [1], **kernels)
    np.testing.assert_array_equal((result["state"] == 0).all(axis=-1), zero)
    np.testing.assert_array_equal(result["counters"][0], zero.sum(axis=-1))


FAMILY = [
    *({"activation": activation} for activation in ACTIVATIONS),
    {"normalization": pyrank.Normalization(order=math.inf, alpha=0.5, beta=-2.0)},
    {"width": 7, "gamma": 1.0},
    {"gamma": 1.0, "activation": "relu"},
    {"weights": pyrank.Weights("rademacher", mean=0.3, scale=0.3)},
    {"weights": pyrank.Weights("rademacher", scale="he"), "activation": "gelu"},
    {"batch": 2, "normalization": "batch"},
    {"batch": 2, "normalization": "batch", "activation": "gelu"},
    {"width": (8, 1), "batch": 5, "activation": "tanh", "normalization": pyrank.Normalization(over="features")},
    {"width": (8, 3, 6)},
    {"width": 1, "weights": "orthogonal", "gamma": 1.0},
    {"width": (8, 1), "batch": 5, "normalization": "whiten", "activation": "tanh"},
]
"""Changes of a chain of 8 x 1 signs; in each some line is zero within four layers."""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", FAMILY, ids=str)
def test_chains_that_meet_zeros_stay_with_the_reference(change, dtype, layout):
    """Four layers: the same lines are zero, and no others; what is left differs by rounding alone."""
    chain = pyrank.Chain(**{"width": 8, "batch": 1, "dtype": dtype, **SIGNS, **change})
    plan = make_plan(chain, 200, measures=())
    compiled = advance(plan, [4], layout=layout)
    exact, counters = by_reference(chain, 4, 200)
    np.testing.assert_array_equal(compiled["counters"][0], counters[0])
    assert counters[0].any()
    np.testing.assert_allclose(compiled["state"], exact, rtol=0, atol=1e4 * np.finfo(dtype).eps)
