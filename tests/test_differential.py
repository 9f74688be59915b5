"""Random members of the whole family, run in any way: the compiled kernels against the reference in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyrank import reference
from pyrank.engine import native
from pyrank.estimate import Accumulator
from pyrank.estimate.accumulator import SHIFT
from pyrank.reference.measures import measure
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure, parse_measures
from pyrank.specs.plan import COUNTERS, Plan
from pyrank.support.ambient import one_thread

import family
import roundings
from tolerances import COUNT_MARGIN, gram_tolerance

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st


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


def one_by_one(case, layers):
    """Check each layer from the state that the kernels left before it; returns the last state and all counters.

    Roundings of a layer before it are part of that state, so that no chaos of many layers is ever to be bounded.
    """
    chain, state = case.chain, torch.from_numpy(case.state())
    plan = Plan(chain, case.seed, case.chains, (), 0, 1, 0, "")
    total = np.zeros((len(COUNTERS), case.chains), dtype=np.int64)
    for layer in range(case.layer, case.layer + layers):
        before = state[:, : chain.width_at(layer)].double().clone()
        record, counters = Accumulator.empty([], case.chains, 1, 0), np.zeros_like(total)
        native.advance(plan, state, layer, 1, record, counters, threads=case.threads, isa=case.isa, layout=case.layout)
        zeros = torch.from_numpy(counters[0])
        exact = roundings.layer(chain, case.seed, layer, before, zeros)
        assert ((exact.fewest <= zeros) & (zeros <= exact.most)).all(), f"{exact.fewest} <= {zeros} <= {exact.most}"
        check_layer(torch.ldexp(state.double(), torch.from_numpy(counters[3])[:, None, None]), exact, chain)
        total += counters
    return state, total


def check_layer(found, exact, chain):
    """The state is within its bound, but for lines that are zero where they may be; rows beyond its width are zero."""
    (value, error), width = exact.state, exact.state.value.shape[1]
    assert not found[:, width:].any()
    excess = (found[:, :width] - value).abs() - error
    excess = excess.masked_fill(exact.open & (found[:, :width] == chain.normalization.alpha), 0.0)
    assert (excess <= 0).all(), f"off by {excess.max().item():.3g} more than its bound"


def check_states(case, layers):
    """All layers in one call are, to the bit, one after the other, each of which is right."""
    state, counters, values = compiled(case, layers)
    check_measures(case, layers, state, values)
    again, counted = one_by_one(case, layers)
    assert torch.equal(state, again)
    np.testing.assert_array_equal(counters[[0, 3]], counted[[0, 3]])


def check_measures(case, layers, state, values):
    """The values that a kernel recorded are those of the state that it left.

    States of zeros have no rank. Those whose squares are denormal, or none, in the kernel's precision are not asked.
    """
    chain = case.chain
    H = state[:, : chain.width_at(case.layer + layers)].double()
    H = reference.activations.activate(H, chain.activation) if case.observe == "activation" else H
    lines = H if H.shape[-2] <= H.shape[-1] else H.mT
    eigenvalues = torch.linalg.eigvalsh(lines @ lines.mT / H.shape[-1])
    limits = np.finfo(chain.dtype)
    alive = eigenvalues[:, -1] > limits.tiny / limits.eps
    known = alive | ~H.any(dim=-1).any(dim=-1)
    margin = COUNT_MARGIN * eigenvalues[:, -1:].clamp_min(1.0)
    ratio = measure(H, Measure("participation_ratio"))
    for what, found in zip(case.measures, torch.from_numpy(values), strict=True):
        if what.name in ("participation_ratio", "rank_bound_margin"):  # which a state of zeros does not have
            assert torch.equal(found.isnan()[known], ~alive[known])
        tolerance, tau = gram_tolerance(chain.dtype, H.shape[-1] * H.shape[-2]), what.argument
        if tau is None:
            torch.testing.assert_close(found[alive], measure(H, what)[alive], rtol=tolerance, atol=0.0)
            continue
        count = found
        if what.name == "rank_bound_margin":
            count = (found + (1.0 - tau) ** 2 * ratio).round()
        fewest, most = ((eigenvalues >= tau + off).sum(dim=-1) for off in (margin, -margin))
        assert ((fewest <= count) & (count <= most))[alive].all(), (what, count, fewest, most)


@pytest.mark.parametrize("layers", [1, 5])
def test_random_chains(layers, request):
    isas = native.isas()
    cases = st.randoms(use_true_random=False).map(lambda rng: family.draw(rng, isas))
    examples = 10_000 if request.config.getoption("--validate") else 150

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(cases)
    def check(case):
        with one_thread():
            check_states(case, layers)

    check()


NEARLY = [{"seed": 1}, {"gamma": 0.3001}, {"dtype": "float32"}, {"activation": "softplus"}]


def small_case(normalization):
    chain = Chain(7, 9, gamma=0.3, activation="tanh", normalization=normalization, dtype="float64")
    return family.Case(chain, 5, 0, 0, parse_measures(["trace"]), "activation", 0, 1, 0, "", "auto", 1)


@pytest.mark.parametrize("normalization", ["batch", "whiten", "recentre"])
@pytest.mark.parametrize("change", NEARLY, ids=str)
def test_another_layer_is_told_from_the_right_one(change, normalization, monkeypatch):
    """A run of something that is almost the same exceeds the bounds of the first layer."""
    case, bounds = small_case(normalization), roundings.layer
    monkeypatch.setattr(roundings, "layer", lambda chain, seed, *rest: bounds(case.chain, case.seed, *rest))
    check_states(case, 5)
    own = {name: value for name, value in change.items() if name == "seed"}
    other = replace(case, **own, chain=replace(case.chain, **{name: change[name] for name in change.keys() - own}))
    with pytest.raises(AssertionError, match=r"more than its bound|<="):
        check_states(other, 1)


@pytest.mark.parametrize("change", [{"observe": "state"}, {"seed": 1}], ids=str)
def test_another_call_is_told_from_single_layers(change, monkeypatch):
    case, run = small_case("batch"), compiled
    monkeypatch.setitem(globals(), "compiled", lambda _, layers: run(replace(case, **change), layers))
    with pytest.raises(AssertionError):
        check_states(case, 2)
