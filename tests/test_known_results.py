"""Long runs against what is known: derived means, exact identities, published figures."""

import math

import numpy as np
import pytest
import torch
from scipy import special

import pyrank

from tolerances import FACTS_SHARE, SIGMAS, gram_tolerance

# width, gamma -> mean rank_0.5 and mean participation ratio; derived with an independent program
DERIVED = {
    (8, math.inf): (2.790, 2.248),
    (16, math.inf): (4.456, 3.305),
    (32, math.inf): (7.041, 4.866),
    (8, 0.1): (3.09, 2.535),
    (16, 0.1): (4.79, 3.60),
    (32, 0.1): (7.35, 5.14),
}
DIGITS = {math.inf: 0.0005, 0.1: 0.005}  # half a unit of the last digit given


@pytest.mark.parametrize(("width", "gamma"), DERIVED)
def test_mean_ranks(width, gamma):
    """Within five standard errors of the value as rounded, and within one per cent."""
    rank, ratio = DERIVED[width, gamma]
    burn_in = 500 if math.isinf(gamma) else 3_000
    run = pyrank.simulate(pyrank.Chain(width, gamma=gamma), burn_in + 6_000, chains=64, burn_in=burn_in, progress=False)
    for measure, expected in (("soft_rank(0.5)", rank), ("participation_ratio", ratio)):
        e = run[measure]
        assert abs(e.mean / expected - 1) <= FACTS_SHARE, (measure, e.mean)
        assert abs(e.mean - expected) <= SIGMAS * e.stderr + derived_error(expected, gamma), (measure, e.mean, e.stderr)
        assert not e.flags


def derived_error(expected, gamma):
    """Rounding of the derived value, and its own standard error of about two parts in a thousand."""
    return DIGITS[gamma] + 0.002 * expected


@pytest.mark.validate
@pytest.mark.parametrize("width", [8, 16, 32, 64, 128, 256])
def test_rank_grows_at_least_like_the_square_root(width):
    small = pyrank.simulate(pyrank.Chain(width), 2_200, chains=16, burn_in=200, progress=False)["soft_rank(0.5)"]
    large = pyrank.simulate(pyrank.Chain(2 * width), 1_200, chains=16, burn_in=200, progress=False)["soft_rank(0.5)"]
    exponent = math.log2(large.mean / small.mean)
    error = math.hypot(large.stderr / large.mean, small.stderr / small.mean) / math.log(2)
    assert 0.5 - SIGMAS * error < exponent < 0.75 + SIGMAS * error


def test_gamma_one_is_gamma_infinity_in_the_mean():
    runs = [pyrank.simulate(pyrank.Chain(16, gamma=gamma), 5_000, chains=32, burn_in=500, progress=False, seed=seed)
            for seed, gamma in enumerate((1.0, math.inf))]  # fmt: skip
    for measure in runs[0]:
        a, b = (run[measure] for run in runs)
        # the two laws are close, not equal: at gamma = 1 the skip connection is one of d + 1 terms
        assert abs(a.mean - b.mean) <= SIGMAS * math.hypot(a.stderr, b.stderr) + FACTS_SHARE * b.mean


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("normalization", ["rescale", "batch"])
@pytest.mark.parametrize(("width", "batch"), [(8, 8), (16, 40), (40, 16), (100, 100)])
def test_trace_is_the_width(width, batch, normalization, dtype):
    chain = pyrank.Chain(width, batch, normalization=normalization, activation="tanh", dtype=dtype)
    trace = pyrank.simulate(chain, 60, chains=4, measures=["trace"], progress=False)["trace"]
    bound = width * gram_tolerance(dtype, batch)
    assert width - bound <= trace.min <= trace.max <= width + bound


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_rank_bound_holds_at_every_layer(tau):
    for chain in (pyrank.Chain(8), pyrank.Chain(24, 30, gamma=0.1, activation="relu"), pyrank.Chain(20, 12)):
        margin = f"rank_bound_margin({tau})"
        run = pyrank.simulate(chain, 2_000, chains=16, measures=[margin, "participation_ratio"], progress=False)
        assert run[margin].min >= -gram_tolerance("float32", 30)
        assert run["participation_ratio"].max <= min(chain.width, chain.batch)


def test_plain_network_collapses_and_normalised_network_does_not():
    """The point of it all: without normalisation the participation ratio goes to one."""
    plain = pyrank.Chain(16, weights=pyrank.Weights(scale=0.25), normalization="none")
    assert pyrank.simulate(plain, 300, chains=8, burn_in=299, progress=False)["participation_ratio"].max < 1.1
    assert pyrank.simulate(pyrank.Chain(16), 300, chains=8, progress=False)["participation_ratio"].min > 1.5


@pytest.mark.parametrize("width", [4, 16])
def test_growth_of_a_plain_chain_is_newmans_exponent(width):
    """Gaussian products (Newman 1986): the top exponent is (ln 2 + psi(d / 2)) / 2, its variance psi'(d / 2) / 4."""
    chain, chains, first, depth = pyrank.Chain(width, normalization="none"), 64, 500, 3_500
    options = {"chains": chains, "measures": [], "progress": False}
    growth = pyrank.simulate(chain, depth, **options).log_scale - pyrank.simulate(chain, first, **options).log_scale
    rate = growth.mean() / (depth - first)
    expected = (math.log(2) + special.digamma(width / 2)) / 2
    stderr = math.sqrt(special.polygamma(1, width / 2) / 4 / (depth - first) / chains)
    whole_powers = math.log(2) / (depth - first)
    assert abs(rate - expected) <= SIGMAS * stderr + whole_powers


def test_collinear_input_recovers():
    """Figure 3b: width 50, the second eigenvalue starts near 1e-10 and passes 1 by layer 7 in most chains."""
    chain = pyrank.Chain(50, gamma=1.0)
    ranks = {depth: pyrank.simulate(chain, depth, chains=32, burn_in=depth - 1, initial="collinear(5e-6)",
                                    measures=["soft_rank(1)"], progress=False)["soft_rank(1)"].mean
             for depth in (1, 12, 100)}  # fmt: skip
    assert ranks[1] == 1.0
    assert ranks[12] >= 1.9
    assert ranks[100] > ranks[12]


@pytest.mark.parametrize(("recentre", "low", "high"), [(True, 73.0, 74.1), (False, 57.0, 63.0)])
def test_relu_angles_settle(recentre, low, high):
    """Nachum et al. 2024: about 60 degrees with rescaling alone; k(-1/(N - 1)) with recentring, 73.0 + at N = 20.

    The fixed point is that of infinite width; at width 2000 and N = 20 it is met to a degree.
    """
    norm = pyrank.Normalization(recentre=recentre)
    chain = pyrank.Chain(600, 20, activation="relu", normalization=norm)
    state = pyrank.simulate(chain, 60, chains=2, measures=[], progress=False).state
    features = torch.relu(state).double()
    columns = features / features.norm(dim=-2, keepdim=True)
    cosines = (columns.mT @ columns)[:, ~np.eye(20, dtype=bool)]
    mean_angle = math.degrees(torch.arccos(cosines.clamp(-1, 1)).mean().item())
    assert low - 1 <= mean_angle <= high + 1
