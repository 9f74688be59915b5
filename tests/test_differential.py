"""Random members of the whole family, run in any way: the compiled kernels against the reference in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyrank import reference
from pyrank.engine import native
from pyrank.estimate import Accumulator
from pyrank.estimate.accumulator import SHIFT
from pyrank.reference.layer import combine, degenerate_lines, normalize, recentre, take_off_exponent
from pyrank.reference.measures import measure
from pyrank.reference.weights import multiply, weights
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure, parse_measures
from pyrank.specs.plan import COUNTERS, Plan

import family
from test_whitening import by_eigenvalues
from tolerances import COUNT_MARGIN, FLOOR_ULPS, gram_tolerance, trajectory_tolerance

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

ROUNDED = 3
"""Runs of the reference with roundings of their own, to learn what roundings do."""


def compiled(case, layers):
    """States, counters and the values measured on the last layer, from the kernels."""
    chain = case.chain
    plan = Plan(chain, case.seed, case.chains, case.measures, case.layer + layers - 1, 1, 0, "", case.observe)
    state = torch.from_numpy(case.state())
    flags = [what.is_rank for what in case.measures]
    record = Accumulator.empty(flags, case.chains, min(chain.width, chain.batch) + 1, 0)
    counters = np.zeros((len(COUNTERS), case.chains), dtype=np.int64)
    native.advance(plan, state, case.layer, layers, record, counters, threads=case.threads, isa=case.isa,
                   layout=case.layout)  # fmt: skip
    return state, counters, record.moments[:, SHIFT]


def weights_of(case, layers):
    """The weights of each layer in float64; None for the law that never draws them."""
    if case.chain.weights.law == "gram":
        return [None] * layers
    index = torch.arange(case.chains)
    return [weights(case.chain, case.seed, layer, index).double() for layer in range(case.layer, case.layer + layers)]


def expected(case, drawn, rng=None):
    """States and zeros from the reference; with ``rng`` from one that rounds as a kernel may, at random."""
    chain, norm = case.chain, case.chain.normalization
    H = torch.from_numpy(case.state()).double()[:, : chain.width_at(case.layer)]
    zeros, power = 0, torch.zeros(case.chains, dtype=torch.int64)
    for layer, W in enumerate(drawn, start=case.layer):
        F = reference.activations.activate(H, chain.activation)
        A = multiply(chain, case.seed, layer, torch.arange(case.chains), F) if W is None else W @ F
        Z = combine(H, A, chain.gamma)
        if rng is None:
            zeros += degenerate_lines(Z, norm)
            H = normalize(Z, norm)
        else:
            size = size_of_roundings(chain, H, F, W, A)
            if norm.whiten:  # in double; it amplifies its own roundings as it does those of Z
                size = size + FLOOR_ULPS * np.finfo(np.float64).eps * torch.linalg.matrix_norm(Z, 2)[:, None, None]
            Z = Z + torch.from_numpy(rng.uniform(-1.0, 1.0, Z.shape)) * size
            centred = recentre(Z, norm.over) if norm.recentre else Z
            H = by_eigenvalues(centred, norm.eps) if norm.whiten else normalize(Z, norm)
        if chain.drifts:
            H, off = take_off_exponent(H)
            power += off
    return torch.ldexp(H, power[:, None, None]), zeros


def size_of_roundings(chain, H, F, W, A):
    """Some units in the last place of the sum of the sizes of what is added up in H + gamma W F, with A = W F."""
    units = FLOOR_ULPS * np.finfo(chain.dtype).eps
    if W is None:
        lost = math.sqrt(F.shape[-2] * np.finfo(np.float64).eps)  # of a sample's length: see pyrank.Weights
        scale = chain.weights.standard_deviation(F.shape[-2], A.shape[-2])
        longest = torch.linalg.vector_norm(F, dim=-2, keepdim=True).amax(dim=-1, keepdim=True)
        return combine(units * H.abs(), (units + lost) * scale * longest.expand_as(A), chain.gamma)
    return units * combine(H.abs(), W.abs() @ F.abs(), chain.gamma)


def check_states(case, layers):
    state, counters, values = compiled(case, layers)
    check_measures(case, layers, state, values)
    drawn, rng = weights_of(case, layers), np.random.default_rng(1)
    exact, zeros = expected(case, drawn)
    rounded = [expected(case, drawn, rng)[0] for _ in range(ROUNDED)]
    scaled = torch.ldexp(state.double(), torch.from_numpy(counters[3])[:, None, None])
    found, rest = scaled.split([exact.shape[1], state.shape[1] - exact.shape[1]], dim=1)
    assert not rest.any()
    error, tolerance = (found - exact).abs().max().item(), trajectory_tolerance(exact, rounded, case.chain.dtype)
    assert error <= tolerance, f"error {error:.3g} exceeds {tolerance:.3g} after {layers} layers"
    if not case.chain.normalization.whiten:
        np.testing.assert_array_equal(counters[0], zeros)


def check_measures(case, layers, state, values):
    """The values that a kernel recorded are those of the state that it left."""
    chain = case.chain
    H = state[:, : chain.width_at(case.layer + layers)].double()
    H = reference.activations.activate(H, chain.activation) if case.observe == "activation" else H
    lines = H if H.shape[-2] <= H.shape[-1] else H.mT
    eigenvalues = torch.linalg.eigvalsh(lines @ lines.mT / H.shape[-1])
    alive = eigenvalues[:, -1] > 0
    margin = COUNT_MARGIN * eigenvalues[:, -1:].clamp_min(1.0)
    ratio = measure(H, Measure("participation_ratio"))
    for what, found in zip(case.measures, torch.from_numpy(values), strict=True):
        if what.name in ("participation_ratio", "rank_bound_margin"):  # which a state of zeros does not have
            assert torch.equal(found.isnan(), ~alive)
        tolerance, tau = gram_tolerance(chain.dtype, H.shape[-1] * H.shape[-2]), what.argument
        if tau is None:
            torch.testing.assert_close(found[alive], measure(H, what)[alive], rtol=tolerance, atol=0.0)
            continue
        count = found
        if what.name == "rank_bound_margin":
            count = (found + (1.0 - tau) ** 2 * ratio).round()
        fewest, most = ((eigenvalues >= tau + off).sum(dim=-1) for off in (margin, -margin))
        assert ((fewest <= count) & (count <= most))[alive].all(), (what, count, fewest, most)


def cancels(case, layers):
    """Whether sums of weights of two values may cancel on lines that are equal or opposite but for rounding."""
    return case.chain.weights.law == "rademacher" and layers > 1


def outruns_the_rule(case, layers):
    """Several whitenings in double, which lose up to 30 times what the rule allows where states are singular."""
    return case.chain.normalization.whiten and case.chain.dtype == "float64" and layers > 1


@pytest.mark.parametrize("layers", [1, 5])
def test_random_chains(layers, request):
    isas = native.isas()
    cases = st.randoms(use_true_random=False).map(lambda rng: family.draw(rng, isas))
    examples = 10_000 if request.config.getoption("--validate") else 150

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(cases.filter(lambda case: not cancels(case, layers)).filter(lambda case: not outruns_the_rule(case, layers)))
    def check(case):
        check_states(case, layers)

    check()


@pytest.mark.parametrize("change", [{"seed": 1}, {"gamma": 0.3001}, {"observe": "state"}, {"dtype": "float32"}])
def test_a_fault_is_found(change, monkeypatch):
    """A run of something that is almost the same is told from it."""
    chain = Chain(7, 9, gamma=0.3, activation="tanh", normalization="batch", dtype="float64")
    run, case = compiled, family.Case(chain, 5, 0, 0, parse_measures(["trace"]), "activation", 0, 1, 0, "", "auto", 1)
    check_states(case, 1)
    own = {name: value for name, value in change.items() if name in ("seed", "observe")}
    other = replace(case, **own, chain=replace(chain, **{name: change[name] for name in change.keys() - own.keys()}))
    monkeypatch.setitem(globals(), "compiled", lambda _, layers: run(other, layers))
    with pytest.raises(AssertionError):
        check_states(case, 1)
