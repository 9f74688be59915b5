"""Measures taken in torch along a run: what is recorded, when, under which name, and in how much memory."""

import collections
import functools
import gc
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import pyrank
from pyrank.estimate import Accumulator
from pyrank.reference.snapshots import snapshot
from pyrank.specs.measures import RESERVED, SNAPSHOT_MEASURES

from harness import gaussian

CHAIN = pyrank.Chain(6, 5, gamma=0.5, activation="relu", normalization="batch", dtype="float64")
OPTIONS = {"chains": 3, "progress": False}


def largest(H):
    """A user's own measure of one number."""
    return H.abs().amax(dim=(-2, -1))


def column_norms(H):
    """A user's own measure of several numbers."""
    return torch.linalg.vector_norm(H, dim=-2)


def states_after(layers):
    return [pyrank.simulate(CHAIN, layer + 1, measures=[], **OPTIONS).state for layer in layers]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("burn_in", "every", "depth"), [(0, 1, 9), (2, 3, 9), (4, 7, 20), (8, 5, 9)])
def test_snapshots_are_the_tensor_functions_of_the_states_on_schedule(burn_in, every, depth, backend):
    expected = {
        "numerical_rank(0.3)": lambda H: pyrank.numerical_rank(H, 0.3).double(),
        "stable_rank": pyrank.stable_rank,
        "effective_rank(2)": lambda H: pyrank.effective_rank(H, power=2),
        "isometry_gap(0.1)": lambda H: pyrank.isometry_gap(H, 0.1),
        "orthogonality_gap": pyrank.orthogonality_gap,
        "outlier_angle": lambda H: pyrank.outlier(H).angle,
        "outlier_ratio": lambda H: pyrank.outlier(H).norm_ratio,
        "singular_values(2)[1]": lambda H: pyrank.singular_values(H, 2)[:, 1],
        "pairwise_angles[3]": lambda H: pyrank.pairwise_angles(H)[:, 0, 4],
        "pairwise_angles[4]": lambda H: pyrank.pairwise_angles(H)[:, 1, 2],
    }
    measures = ["trace", *(name.split("[")[0] for name in expected)]
    run = pyrank.simulate(CHAIN, depth, measures=measures, burn_in=burn_in, snapshot_every=every, backend=backend,
                          **OPTIONS)  # fmt: skip
    layers = range(burn_in, depth, every)
    states = states_after(layers)
    for name, formula in expected.items():
        wanted = torch.stack([formula(state) for state in states], dim=-1)
        np.testing.assert_allclose(run[name].trace, wanted, rtol=1e-9, err_msg=name)
    assert run["trace"].count == depth - burn_in
    assert run["stable_rank"].count == len(layers)
    dataset = run.to_xarray()
    assert dataset["snapshot_layer"].values.tolist() == list(layers)
    assert {*dataset.dims, *dataset.coords} <= set(RESERVED)
    assert {name.split("[")[0].split("(")[0] for name in run} == {"trace", *SNAPSHOT_MEASURES}


def test_a_function_is_a_measure():
    measures = [largest, column_norms, pyrank.Measure("mean_entry", function=lambda H: H.mean(dim=(-2, -1)))]
    run = pyrank.simulate(CHAIN, 6, measures=measures, **OPTIONS)
    states = states_after(range(6))
    np.testing.assert_array_equal(run["largest"].trace, torch.stack([largest(H) for H in states], dim=-1))
    norms = torch.stack([column_norms(H)[:, 4] for H in states], dim=-1)
    np.testing.assert_array_equal(run["column_norms[4]"].trace, norms)
    assert run["mean_entry"].count == 6
    assert "column_norms[5]" not in run
    assert list(run) == ["largest", *(f"column_norms[{i}]" for i in range(5)), "mean_entry"]


@dataclass
class Largest:
    """A measure that python cannot hash."""

    factor: float = 2.0

    def __call__(self, H):
        return self.factor * largest(H)


def test_any_callable_is_a_measure():
    shift = functools.partial(torch.amin, dim=(-2, -1))
    run = pyrank.simulate(CHAIN, 6, measures=[largest, Largest(), Largest(), shift], **OPTIONS)
    assert list(run) == ["largest", "Largest", "partial"]
    np.testing.assert_array_equal(run["Largest"].trace, 2 * run["largest"].trace)


@pytest.mark.parametrize(("burn_in", "size"), [(0, 9), (1, 4)])
def test_how_many_numbers_a_measure_gives_is_learnt_at_the_width_where_it_is_taken(burn_in, size):
    """H_0 has four rows, but with a stride of 2 only states of one width are looked at."""
    chain = pyrank.Chain((4, 9), 9)
    run = pyrank.simulate(chain, 8, measures=["singular_values"], burn_in=burn_in, every=2, **OPTIONS)
    assert len(run) == size
    with pytest.raises(pyrank.ArgumentError, match="as many numbers"):
        pyrank.simulate(chain, 8, measures=["singular_values"], **OPTIONS)


def test_a_function_cannot_change_the_chain():
    def spoil(H):
        return H.zero_().sum(dim=(-2, -1))

    run = pyrank.simulate(CHAIN, 6, measures=["trace", spoil, largest], **OPTIONS)
    plain = pyrank.simulate(CHAIN, 6, measures=["trace", largest], **OPTIONS)
    assert torch.equal(run.state, plain.state)
    np.testing.assert_array_equal(run["largest"].trace, plain["largest"].trace)


def test_ranks_have_histograms():
    histogram = pyrank.simulate(CHAIN, 30, measures=["numerical_rank"], **OPTIONS)["numerical_rank"].histogram
    assert histogram.sum() == 90


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "linear"])
def test_the_activation_can_be_observed(activation, backend):
    """The same chain, measured at F(H): the same states, the measures of F of them."""
    chain = pyrank.Chain(7, 9, gamma=0.5, activation=activation, normalization="batch", dtype="float64")
    measures = ["participation_ratio", "soft_rank(0.1)", "trace", "stable_rank"]
    run = pyrank.simulate(chain, 5, measures=measures, observe="activation", backend=backend, **OPTIONS)
    plain = pyrank.simulate(chain, 5, measures=measures, backend=backend, **OPTIONS)
    assert torch.equal(run.state, plain.state)
    seen = pyrank.reference.activations.activate(run.state, activation)
    formulas = (pyrank.participation_ratio, lambda H: pyrank.soft_rank(H, 0.1), pyrank.trace, pyrank.stable_rank)
    for name, formula in zip(measures, formulas, strict=True):
        np.testing.assert_allclose(run[name].trace[:, -1], formula(seen), rtol=1e-9, err_msg=name)
    differs = run["trace"].mean != pytest.approx(plain["trace"].mean, rel=1e-6)
    assert differs == (activation != "linear")


def test_resumed_snapshots_equal_uninterrupted_ones(tmp_path):
    options = {"measures": ["trace", "stable_rank", largest], "snapshot_every": 3, **OPTIONS}
    whole = pyrank.simulate(CHAIN, 40, **options)
    for depth in (1, 7, 8, 31, 40):
        resumed = pyrank.simulate(CHAIN, depth, checkpoint=tmp_path / "run.ckpt", **options)
    for name in whole:
        np.testing.assert_array_equal(resumed[name].trace, whole[name].trace, err_msg=name)
        assert (resumed[name].mean, resumed[name].stderr) == (whole[name].mean, whole[name].stderr)
    with pytest.raises(pyrank.ArgumentError, match="snapshot_every"):
        pyrank.simulate(CHAIN, 50, checkpoint=tmp_path / "run.ckpt", **{**options, "snapshot_every": 2})
    other = {**options, "measures": ["trace", "stable_rank", pyrank.Measure("largest", function=column_norms)]}
    with pytest.raises(pyrank.ArgumentError, match="checkpoint"):
        pyrank.simulate(CHAIN, 50, checkpoint=tmp_path / "run.ckpt", **other)


def growth(kept):
    """Bytes that 2,000 samples take more than 100 do, seen from inside of the run; ``kept`` gets a number of each.

    A peak would also have the garbage of the moment, and how much that is depends on when the collector came last.
    """
    seen, samples = [], iter(range(3_000))

    def probe(H):
        kept.append(H.sum().item())
        if next(samples) in (100, 2_000):
            gc.collect()
            seen.append(tracemalloc.get_traced_memory()[0])
        return H.mean(dim=(-2, -1))

    tracemalloc.start()
    try:
        pyrank.simulate(CHAIN, 20_100, measures=["trace", probe], snapshot_every=10, **OPTIONS | {"trace": 0})
    finally:
        tracemalloc.stop()
    return seen[1] - seen[0]


def test_memory_is_flat_in_depth():
    """Less than a number more for each sample; a run that keeps one is found."""
    record = 1_900 * 8
    assert growth(collections.deque(maxlen=1)) < record / 4
    assert growth([]) > record


@pytest.mark.parametrize(("width", "batch"), [(4, 3), (3, 4), (2, 9)])
def test_how_many_numbers_a_measure_gives_is_known_beforehand(width, batch):
    for text in (*SNAPSHOT_MEASURES, "singular_values(2)", "effective_rank(2)"):
        measure = pyrank.Measure.parse(text)
        assert snapshot(gaussian(1, width, batch), measure).numel() == measure.numbers(width, batch), text
    assert pyrank.Measure.parse(largest).numbers(width, batch) is None


def test_a_run_takes_the_memory_that_is_asked_for():
    """Once for the record, a second time for the result, and some kilobytes for the rest."""
    chain, options = pyrank.Chain(4, 8), {"measures": ["pairwise_angles"], **OPTIONS, "trace": 128, "chains": 16}
    pyrank.simulate(chain, 1, **options)
    record = Accumulator.size(28, 0, 16, 5, 128)
    tracemalloc.start()
    pyrank.simulate(chain, 128, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 1.25 * record < peak < 2 * record


@pytest.mark.parametrize(
    ("measures", "named"),
    [
        ([lambda H: H.mean()], "lambda"),
        ([pyrank.Measure("f", function=lambda H: H.mean())], "measure f"),
        ([pyrank.Measure("f", function=lambda H: H)], "measure f"),
        ([pyrank.Measure("f", function=lambda H: "no")], "measure f"),
        ([pyrank.Measure("f", function=lambda H: 1j * largest(H))], "measure f"),
        (["singular_values(6)"], "k = 6"),
        (["effective_rank(3)"], "power"),
        (["numerical_rank(2)"], "rtol"),
        (["stable_rank(1)"], "stable_rank"),
        ([largest, pyrank.Measure("largest", function=column_norms)], "largest"),
    ],
)  # fmt: skip
def test_bad_measures_are_refused_before_anything_runs(measures, named):
    with pytest.raises(pyrank.ArgumentError, match=named.replace("(", r"\(")):
        pyrank.simulate(CHAIN, 10, measures=measures, **OPTIONS)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(pyrank.ArgumentError, match="trace"):
        pyrank.Measure("trace", function=largest)
    with pytest.raises(pyrank.ArgumentError, match="observe"):
        pyrank.simulate(CHAIN, 10, observe="weights", **OPTIONS)


def test_torch_measures_on_one_thread():
    before, seen = torch.get_num_threads(), []

    def threads(H):
        seen.append(torch.get_num_threads())
        return H.mean(dim=(1, 2))

    torch.set_num_threads(3)
    try:
        pyrank.simulate(pyrank.Chain(4), 2, chains=2, measures=[threads], progress=False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}
