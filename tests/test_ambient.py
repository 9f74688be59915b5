"""What a program has told torch elsewhere: every public function gives the same bits under it as without."""

import contextlib
import functools
import inspect
import time
import timeit

import numpy as np
import pytest
import torch

import pyrank
from pyrank import reference
from pyrank.support.ambient import unmoved

from harness import ALL_MEASURES, as_arrays, gaussian, make_plan, start


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


TRACKING = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default float64": lambda: default_dtype(torch.float64),
    "default float16": lambda: default_dtype(torch.float16),
    "default device": lambda: default_device("cuda"),  # there or not
    "device block": lambda: torch.device("meta"),
    "deterministic": deterministic,
}
STATES = {**TRACKING, "inference": torch.inference_mode, "no gradients": torch.no_grad}


@pytest.fixture(params=STATES)
def state(request):
    return STATES[request.param]


@pytest.fixture(params=TRACKING)
def tracking_state(request):
    return TRACKING[request.param]


def own_measure(H):
    """It takes a product, an identity, and a gradient."""
    H = H.requires_grad_()
    distance = (H.mT @ H - torch.eye(H.shape[-1], dtype=H.dtype)).square().sum()
    return torch.autograd.grad(distance, H)[0].square().sum(dim=(-2, -1))


H, W = gaussian(2, 5, 7, dtype=torch.float32), gaussian(5, 5, seed=1, dtype=torch.float32)
GIVEN = gaussian(6, 6)
STATES_OF_H = (H, H.mT, H.double(), H.half(), H.bfloat16())

CHAINS = {
    "linear": pyrank.Chain(6),
    "textbook": pyrank.Chain(6, 9, gamma=0.3, activation="relu", normalization="batch"),
    "double": pyrank.Chain(7, 5, activation="tanh", weights="rademacher", normalization="layer", dtype="float64"),
    "growing": pyrank.Chain(6, weights=pyrank.Weights(scale=1e8), normalization="none"),
    "vanishing": pyrank.Chain(6, weights=pyrank.Weights(scale=1e-8), normalization="none", dtype="float64"),
    "orthogonal": pyrank.Chain((4, 7), 5, activation="gelu", weights="orthogonal"),
    "gram": pyrank.Chain(9, 4, weights="gram", activation="sigmoid"),
    "whitened": pyrank.Chain(5, 8, weights="uniform", normalization="whiten"),
}
SNAPSHOTS = ("numerical_rank", "effective_rank", "orthogonality_gap", "outlier_angle", own_measure)


def simulated(chain, **options):
    run = pyrank.simulate(chain, 6, chains=3, measures=[*ALL_MEASURES, *SNAPSHOTS], snapshot_every=2, **options)
    assert not run.state.is_inference()
    return as_arrays(run)


def simulations():
    named = [simulated(chain, backend=backend) for chain in CHAINS.values() for backend in ("cpu", "reference")]
    given = [simulated(CHAINS["linear"], initial=first) for first in ("identity", "collinear", GIVEN)]
    return named + given


PLAN = make_plan(CHAINS["textbook"])
BEGUN = start(PLAN, torch.float64)


def advanced():
    with torch.inference_mode(False):  # what is changed in place
        now, record, counters = BEGUN[0].clone(), BEGUN[1].copy(), BEGUN[2].copy()
    reference.advance(PLAN, now, 0, 5, record, counters)
    return now, record.moments, counters


def exponents():
    chain = pyrank.Chain(4, gamma=0.5, normalization="none")
    return [pyrank.lyapunov_spectrum(chain, 144, chains=2, burn_in=0, backend=backend).exponents
            for backend in ("cpu", "reference")]  # fmt: skip


def layers():
    return [step(H, W, gamma=gamma, activation="gelu", normalization=norm)
            for step in (pyrank.layer_step, reference.layer_step)
            for gamma in (0.5, float("inf")) for norm in ("batch", "layer", "whiten")]  # fmt: skip


def measured(name):
    functions = {getattr(home, name) for home in (pyrank, reference)}
    return lambda: [function(matrix) for function in functions for matrix in STATES_OF_H]


CALLS = {
    "advance": advanced,
    "draw_weights": lambda: [pyrank.draw_weights(CHAINS[name], 1, 2) for name in CHAINS if name != "gram"],
    "effective_rank": lambda: [pyrank.effective_rank(M, power=power) for M in STATES_OF_H for power in (1, 2)],
    "isometry_gap": measured("isometry_gap"),
    "frobenius_norm": measured("frobenius_norm"),
    "grid": lambda: [task.content for task in pyrank.grid(width=[2, 3], depth=4, weights=["gaussian", "he"])],
    "layer_step": layers,
    "lyapunov_spectrum": exponents,
    "numerical_rank": measured("numerical_rank"),
    "orthogonality_gap": measured("orthogonality_gap"),
    "outlier": measured("outlier"),
    "pairwise_angles": measured("pairwise_angles"),
    "participation_ratio": measured("participation_ratio"),
    "rank_bound_margin": measured("rank_bound_margin"),
    "show_config": pyrank.show_config,
    "simulate": simulations,
    "singular_values": measured("singular_values"),
    "soft_rank": measured("soft_rank"),
    "stable_rank": measured("stable_rank"),
    "trace": measured("trace"),
}


def assert_same(found, expected):
    """The same kinds, dtypes and bits, all the way down; NaN equals NaN."""
    assert type(found) is type(expected)
    if isinstance(found, torch.Tensor):
        assert (found.dtype, found.device) == (expected.dtype, expected.device)
        assert_same(found.detach().numpy(), expected.detach().numpy())
    elif isinstance(found, np.ndarray):
        np.testing.assert_array_equal(found, expected, strict=True)
    elif isinstance(found, dict):
        assert_same(list(found.items()), list(expected.items()))
    elif isinstance(found, list | tuple):
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_every_public_function_is_held_to_it():
    functions = {
        name for home in (pyrank, reference) for name in home.__all__ if inspect.isfunction(getattr(home, name))
    }
    assert functions == CALLS.keys()


@functools.cache
def without(name):
    return CALLS[name]()


@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_under_every_state(name, state):
    expected = without(name)
    with state():
        found = CALLS[name]()
    assert_same(found, expected)


def gradients(function, *tensors, around):
    """Value and gradients, of the forward pass in a context and the backward pass in another."""
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    forwards, backwards = around
    with forwards():
        value = function(*tensors)
    direction = gaussian(*value.shape, seed=9).to(value.dtype)
    with backwards():
        return value, *torch.autograd.grad(value, tensors, direction)


@pytest.mark.parametrize("norm", ["batch", pyrank.Normalization(order=1, eps=0.1)], ids=str)
def test_operations_have_the_same_gradients_inside_and_out(norm, tracking_state):
    def layer(H, W):
        return pyrank.layer_step(H, W, gamma=0.5, activation="gelu", normalization=norm)

    for function, tensors in ((layer, (H, W)), (pyrank.participation_ratio, (H,))):
        expected = gradients(function, *tensors, around=(contextlib.nullcontext, contextlib.nullcontext))
        assert_same(gradients(function, *tensors, around=(tracking_state, tracking_state)), expected)


DIFFERENTIABLE = (
    "effective_rank", "frobenius_norm", "isometry_gap", "orthogonality_gap", "pairwise_angles", "participation_ratio",
    "rank_bound_margin", "singular_values", "stable_rank", "trace",
)  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_measures_have_the_same_gradients_of_a_forward_pass_inside(name, tracking_state):
    function, outside = getattr(reference, name), contextlib.nullcontext
    expected = gradients(function, H.mT, around=(outside, outside))
    assert_same(gradients(function, H.mT, around=(tracking_state, outside)), expected)


def two_layers(H, W):
    return pyrank.participation_ratio(pyrank.layer_step(pyrank.layer_step(H, W), W, gamma=0.5, activation="tanh"))


def test_compiled_under_autocast():
    outside, inside = contextlib.nullcontext, TRACKING["autocast"]
    compiled = torch.compile(two_layers, backend="aot_eager", fullgraph=True)
    expected = gradients(two_layers, H, W, around=(outside, outside))
    assert_same(gradients(compiled, H, W, around=(inside, inside)), expected)
    plain = torch.compile(reference.layer_step, backend="aot_eager", fullgraph=True)
    with inside():
        assert_same(plain(H, W), reference.layer_step(H, W))


@pytest.mark.parametrize("mode", ["inference", "no gradients"])
def test_nothing_is_tracked_where_nothing_is_asked_for(mode):
    with STATES[mode]():
        for value in (pyrank.layer_step(H, W.requires_grad_()), pyrank.trace(W), pyrank.participation_ratio(W)):
            assert not value.requires_grad
    W.requires_grad_(False)


def test_it_leaves_the_state_as_it_was():
    for enter in STATES.values():
        with enter():
            pyrank.trace(H)
            with contextlib.suppress(pyrank.ArgumentError):
                pyrank.trace("no matrix")
            settings = torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled(), torch.is_grad_enabled()
            assert settings == (
                enter is TRACKING["autocast"],
                enter is torch.inference_mode,
                enter not in (torch.inference_mode, torch.no_grad),
            )
    with torch.device("meta"):
        pyrank.trace(H)
        assert torch.empty(0).is_meta


def test_it_costs_next_to_nothing():
    """Under 20 us of this process, the best of several, because other work on this machine is no cost of it."""
    call = unmoved(lambda: None)
    assert min(timeit.repeat(call, number=1000, repeat=5, timer=time.process_time)) / 1000 < 20e-6
