"""Bad input gets one clear line that names the argument, or a defined result; never a crash."""

import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank.engine import codes, native
from pyrank.specs.measures import parse_measures

from harness import make_plan, start

CHAIN = pyrank.Chain(4, 3)


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("arguments", "name"), [
    ({"width": 0}, "width"),
    ({"width": -3}, "width"),
    ({"width": 2.5}, "width"),
    ({"width": "8"}, "width"),
    ({"width": True}, "width"),
    ({"width": 2**40}, "width"),
    ({"width": 4, "batch": 0}, "batch"),
    ({"width": 4, "gamma": -1}, "gamma"),
    ({"width": 4, "gamma": math.nan}, "gamma"),
    ({"width": 4, "gamma": "much"}, "gamma"),
    ({"width": 4, "gamma": 10**400}, "gamma"),
    ({"width": 4, "gamma": torch.ones(2)}, "gamma"),
    ({"width": 4, "batch": np.ones((3, 3))}, "batch"),
    ({"width": b"ab"}, "width"),
    ({"width": 4, "weights": "cauchy"}, "weights"),
    ({"width": 4, "activation": "selu"}, "activation"),
    ({"width": 4, "activation": None}, "activation"),
    ({"width": 4, "normalization": "group"}, "normalization"),
    ({"width": 4, "dtype": "float16"}, "dtype"),
    ({"width": 4, "weights": pyrank.Weights(scale=1e30)}, "scale"),
    ({"width": 4, "gamma": 1e30}, "scale"),
])  # fmt: skip
def test_chain(arguments, name):
    with pytest.raises(pyrank.ArgumentError) as error:
        pyrank.Chain(**arguments)
    assert_one_line(error, name, "expected")


@pytest.mark.parametrize("make", [
    lambda: pyrank.Weights(scale=-1), lambda: pyrank.Weights(mean=math.inf), lambda: pyrank.Weights("zipf"),
    lambda: pyrank.Normalization(eps=-1), lambda: pyrank.Normalization(eps=math.nan),
    lambda: pyrank.Normalization(recentre=1), lambda: pyrank.Normalization(order=4),
    lambda: pyrank.Normalization(order=math.nan), lambda: pyrank.Normalization(order=np.ones(2)),
    lambda: pyrank.Normalization(over="rows"),
    lambda: pyrank.Normalization(rescale=False, order=1), lambda: pyrank.Normalization(rescale=False, beta=2),
    lambda: pyrank.Measure("rank"), lambda: pyrank.Measure("soft_rank"), lambda: pyrank.Measure("trace", 0.5),
    lambda: pyrank.Measure("soft_rank", 0), lambda: pyrank.Measure("soft_rank", math.nan),
    lambda: pyrank.Measure.parse("soft_rank(-1)"), lambda: pyrank.Measure.parse("soft_rank(half)"),
    lambda: pyrank.Measure(None, function=len), lambda: pyrank.Measure(np.ones(2)),
    lambda: pyrank.Measure.parse("soft rank"), lambda: pyrank.Measure.parse(3),
    lambda: pyrank.Measure("soft_rank", "x"), lambda: pyrank.Measure("rank_bound_margin", 1.5),
    lambda: pyrank.Chain(4, normalization=pyrank.Normalization(beta=1e30)),
    lambda: pyrank.rank_bound_margin(torch.eye(3), 1.5),
])  # fmt: skip
def test_specs(make):
    with pytest.raises(pyrank.ArgumentError) as error:
        make()
    assert_one_line(error, "expected")


@pytest.mark.parametrize(("options", "name"), [
    ({"depth": 0}, "depth"),
    ({"depth": -5}, "depth"),
    ({"depth": 1.5}, "depth"),
    ({"depth": 2**40}, "depth"),
    ({"depth": None}, "depth"),
    ({"chains": 0}, "chains"),
    ({"chains": 10**9}, "chains"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"burn_in": 10}, "burn_in"),
    ({"burn_in": -1}, "burn_in"),
    ({"every": 0}, "every"),
    ({"every": np.ones(2)}, "every"),
    ({"trace": 3}, "trace"),
    ({"threads": 0}, "threads"),
    ({"threads": "all"}, "threads"),
    ({"measures": ["soft_rank(0)"]}, "tau"),
    ({"measures": ["entropy"]}, "measure"),
    ({"measures": None}, "measures"),
    ({"checkpoint": ""}, "checkpoint"),
    ({"checkpoint": 3}, "checkpoint"),
    ({"initial": torch.full((4, 3), 1e-20)}, "initial"),
    ({"initial": "sparse"}, "initial"),
    ({"initial": "gaussian(3)"}, "initial"),
    ({"initial": "collinear(-1)"}, "initial"),
    ({"initial": torch.zeros(3, 3)}, "initial"),
    ({"initial": torch.zeros(2, 4, 3)}, "initial"),
    ({"initial": torch.full((4, 3), math.nan)}, "initial"),
    ({"initial": torch.full((4, 3), 1e300, dtype=torch.float64)}, "initial"),
    ({"initial": torch.zeros(4, 3, dtype=torch.complex64)}, "initial"),
    ({"initial": object()}, "initial"),
    ({"backend": "gpu"}, "backend"),
    ({"backend": np.ones(2)}, "backend"),
    ({"device": "cuda:99"}, "device"),  # with or without a GPU
])  # fmt: skip
def test_simulate(options, name):
    arguments = {"depth": 10, "chains": 3, "progress": False, **options}
    with pytest.raises(pyrank.ArgumentError) as error:
        pyrank.simulate(CHAIN, **arguments)
    assert_one_line(error, name, "expected")


def test_not_a_chain():
    with pytest.raises(pyrank.ArgumentError, match=r"pyrank\.Chain"):
        pyrank.simulate(32, 10)


def test_unknown_instruction_set(monkeypatch):
    monkeypatch.setenv("PYRANK_ISA", "mmx")
    with pytest.raises(pyrank.ArgumentError, match="PYRANK_ISA"):
        pyrank.simulate(CHAIN, 1, progress=False)


def test_huge_network_is_refused_before_anything_is_allocated():
    with pytest.raises(pyrank.ArgumentError, match="GiB"):
        pyrank.simulate(pyrank.Chain(2**20, 2**20), 1, chains=1, progress=False)


def many_numbers(H):
    return torch.ones(len(H), 2**20)


@pytest.mark.parametrize(("batch", "measure"), [(512, "pairwise_angles"), (3, many_numbers)])
def test_a_huge_record_of_snapshots_is_refused(batch, measure):
    """Of 512 samples there are 130,816 pairs; with a trace of 2^24 samples no machine holds them."""
    with pytest.raises(pyrank.ArgumentError, match="GiB") as error:
        pyrank.simulate(pyrank.Chain(4, batch), 1, measures=[measure], trace=2**24, progress=False)
    assert_one_line(error, "sizes", "trace")


def test_a_huge_record_is_refused_before_anything_runs(monkeypatch):
    """16 chains of 512 samples: 16 * 130,816 * (214 + trace) numbers of 8 bytes, and the result's copy of them."""

    def none_of_it(*_):
        raise AssertionError("something ran")

    monkeypatch.setattr("pyrank.engine.snapshots.snapshot", none_of_it)
    monkeypatch.setattr("pyrank.engine.initial.state", none_of_it)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**23}.get)  # 32 GiB
    angles = {"measures": ["pairwise_angles"], "chains": 16, "progress": False}
    for checked in ({}, {"trace": 2048}, {"trace": 832}):
        with pytest.raises(pyrank.ArgumentError, match="32 GiB") as error:
            pyrank.simulate(pyrank.Chain(512), 1, **angles, **checked)
        assert_one_line(error, "sizes", "numbers", "trace=0")
    for fits in ({"trace": 0}, {"trace": 4096, "chains": 1}, {"trace": 4096, "measures": [many_numbers]}):
        with pytest.raises(AssertionError, match="something ran"):
            pyrank.simulate(pyrank.Chain(512), 1, **angles | fits)


@pytest.mark.parametrize("name", ["chain", "draw", "layer", "snapshot", "snapshot_layer"])
def test_names_of_dimensions_are_refused_for_measures(name):
    with pytest.raises(pyrank.ArgumentError) as error:
        pyrank.Measure(name, function=len)
    assert_one_line(error, repr(name), "expected", "Measure('my_name'")


@pytest.mark.parametrize("initial", [
    torch.arange(12).reshape(4, 3),
    torch.arange(12.0).reshape(3, 4).T,
    torch.arange(24.0, dtype=torch.float64).reshape(4, 6)[:, ::2],
    torch.arange(1.0, 13.0).reshape(4, 3).requires_grad_(),
    np.arange(12.0).reshape(4, 3),
    torch.arange(36.0).reshape(3, 4, 3),
])  # fmt: skip
def test_any_real_tensor_is_a_state(initial):
    """Integers, non-contiguous views, tensors that require a gradient, arrays: used by value, never changed."""
    before = torch.as_tensor(initial).detach().clone()
    run = pyrank.simulate(CHAIN, 5, chains=3, initial=initial, progress=False)
    expected = pyrank.simulate(CHAIN, 5, chains=3, initial=before.contiguous().float(), progress=False)
    assert torch.equal(run.state, expected.state)
    assert torch.equal(torch.as_tensor(initial).detach(), before)
    assert not run.state.requires_grad


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("normalization", ["rescale", "batch"])
def test_zero_rows_stay_zero_and_are_counted(backend, normalization):
    chain = pyrank.Chain(4, 3, normalization=normalization)
    run = pyrank.simulate(chain, 5, chains=3, initial=torch.zeros(4, 3), backend=backend, progress=False)
    assert (run.state == 0).all()
    np.testing.assert_array_equal(run.events["degenerate_rows"], 20)
    assert run["soft_rank(0.5)"].max == 0


def test_recentring_equal_samples_gives_exact_zeros():
    """Three equal samples: their mean is not representable in general, their distances are exactly zero."""
    chain = pyrank.Chain(5, 3, normalization="batch", gamma=0.7)
    column = torch.tensor([0.1, -1 / 3, 7.7, 1e-5, 3e4])
    run = pyrank.simulate(chain, 3, chains=2, initial=column[:, None].expand(5, 3), progress=False)
    assert (run.state == 0).all()
    np.testing.assert_array_equal(run.events["degenerate_rows"], 15)


def test_one_sample_recentred_is_zero():
    run = pyrank.simulate(pyrank.Chain(6, 1, normalization="batch"), 2, chains=2, progress=False)
    assert (run.state == 0).all()


def test_gamma_zero_freezes_the_chain():
    run = pyrank.simulate(pyrank.Chain(6, 5, gamma=0.0), 50, chains=2, progress=False)
    once = pyrank.simulate(pyrank.Chain(6, 5, gamma=0.0), 1, chains=2, progress=False)
    torch.testing.assert_close(run.state, once.state)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_overflow_is_noticed(backend):
    chain = pyrank.Chain(8, normalization="recentre", activation="gelu")  # grows, and not exactly by a factor
    with pytest.raises(FloatingPointError, match="overflowed"):
        pyrank.simulate(chain, 5_000, chains=2, backend=backend, progress=False)


def test_overflow_of_squares_is_noticed():
    """Finite entries whose squares are not: never scaled to a silent zero."""
    plan = make_plan(CHAIN, chains=2, measures=())
    state, accumulator, counters = start(plan)
    native.advance(plan, state.fill_(1e30), 0, 1, accumulator, counters)
    assert torch.isnan(state).all()


@pytest.mark.parametrize(
    "function", [pyrank.trace, pyrank.frobenius_norm, pyrank.participation_ratio, pyrank.soft_rank]
)
@pytest.mark.parametrize(
    "wrong", [np.ones((3, 3)), torch.ones(3), torch.ones(3, 3, dtype=torch.int64), torch.ones(0, 3)]
)
def test_functions_on_tensors(function, wrong):
    with pytest.raises(pyrank.ArgumentError, match=r"^H") as error:
        function(wrong)
    assert_one_line(error, "expected")


def test_layer_step_checks_its_tensors():
    H, W = torch.ones(3, 4), torch.ones(3, 3)
    for wrong in ((H.numpy(), W), (H, W.double()), (H.long(), W), (H, W[:, :2])):
        with pytest.raises(pyrank.ArgumentError):
            pyrank.layer_step(*wrong)
    with pytest.raises(pyrank.ArgumentError, match="skip"):
        pyrank.layer_step(H, W[:2], gamma=1.0)
    assert pyrank.layer_step(H, W[:2]).shape == (2, 4)


def test_missing_extension_says_how_to_build_it(monkeypatch):
    monkeypatch.setattr(native, "_load", lambda: (None, "No module named 'pyrank._native'"))
    with pytest.raises(ImportError, match="pip install"):
        pyrank.simulate(CHAIN, 2, backend="cpu", progress=False)
    run = pyrank.simulate(CHAIN, 2, progress=False)
    assert "pip install" in run.explain()


@pytest.mark.parametrize("wrong", [
    {"state": np.zeros((2, 4, 3), dtype=np.float16)},
    {"state": np.zeros((2, 3, 4), dtype=np.float32)},
    {"state": np.zeros((2, 4, 6), dtype=np.float32)[:, :, ::2]},
    {"values": np.zeros((2, 2))},
    {"values": np.zeros((1, 2), dtype=np.float32)},
    {"counters": np.zeros((3, 2), dtype=np.int64)},
    {"counters": np.zeros((4, 2), dtype=np.int32)},
    {"state": None},
])  # fmt: skip
def test_the_binding_checks_every_tensor(wrong):
    arguments = {
        "chain": codes.params(native._extension(), CHAIN, 0),
        "state": np.zeros((2, 4, 3), dtype=np.float32),
        "measures": codes.measures_of(parse_measures(["trace"])),
        "counters": np.zeros((4, 2), dtype=np.int64),
        "values": np.zeros((1, 2)),
    }
    kernels = native._extension().Cpu("baseline")
    kernels.measure(**arguments)
    with pytest.raises((ValueError, TypeError)):
        kernels.measure(**{**arguments, **wrong})
    with pytest.raises(ValueError, match="mmx"):
        native._extension().Cpu("mmx").measure(**arguments)
