"""Rank against depth: decades that fit together, ranks that agree with numpy and known means, verdicts both ways."""

import json
import math

import numpy as np
import pytest
import torch

from pyrank import simulate
from pyrank.experiments import Found, Row
from pyrank.experiments.chains import decades, rank_curves
from pyrank.experiments.chains import rank_vs_depth as experiment

from tolerances import SIGMAS

TINY = experiment.Settings(rank_curves.networks(8), depth=1000, chains=6, seed=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    result = experiment.EXPERIMENT.run(TINY, folder)
    return result, json.loads((folder / "rank-vs-depth.json").read_text())


@pytest.mark.parametrize(("depth", "last"), [(7, 7), (100, 100), (1000, 1000), (20_050, 20_000)])
def test_decades_follow_each_other(depth, last):
    depths = np.concatenate([part.depths for part in decades.stretches(depth)])
    strides = ((0, 1), (100, 10), (1000, 100), (10_000, 1000))
    expected = [at for at in range(1, last + 1) if all(at <= seen or at % every == 0 for seen, every in strides)]
    assert depths.tolist() == expected


def test_courses_are_joined_law_by_law():
    laws, runs = [network.chain for network in TINY.networks[:3:2]], []
    for chain, depth in zip(laws, (150, 40), strict=True):
        options = {"chains": 2, "seed": 1, "measures": ("participation_ratio",)}
        tasks = decades.stretch_tasks("any", chain, depth, options)
        runs += [simulate(task.chain, task.depth, **task.options, progress=False) for task in tasks]
    first, second = decades.courses(runs, {"r": "participation_ratio"})
    assert first.depths.tolist() == [*range(1, 101), 110, 120, 130, 140, 150]
    assert second.depths.tolist() == list(range(1, 41))
    for chain, course in zip(laws, (first, second), strict=True):
        depth = int(course.depths[-1])
        whole = simulate(chain, depth, chains=2, seed=1, measures=["participation_ratio"], trace=2 * depth,
                         progress=False)["participation_ratio"].trace  # fmt: skip
        np.testing.assert_array_equal(course.values["r"], whole[:, course.depths - 1])


def test_means_are_over_the_layers_asked_for():
    course = decades.Course(
        np.array([0, 1, 2, 4, 10, 20]), {"rank": np.array([[9.0, 9, 8, 6, 2, 1], [9, 9, 8, 6, 4, 3]])}
    )
    assert course.over("rank", 2, 9).tolist() == [7, 7]
    assert course.late.tolist() == [4, 10, 20]
    assert course.at_the_end("rank").tolist() == [3, 13 / 3]
    assert [course.nearest(depth) for depth in (0, 3.5, 8, 1e9)] == [0, 3, 4, 5]


def test_log_spaced_depths_are_ordered_and_reach_the_ends():
    depths = np.arange(5001)
    some = depths[decades.Course(depths, {}).log_spaced()]
    assert some[0] == 1
    assert some[-1] == 5000
    assert (np.diff(some) > 0).all()
    assert np.diff(np.log10(some[some > 30])).max() < 2 / 15


def test_soft_rank_counts_shares_of_the_trace():
    H = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 6, 9))) ** 3
    eigenvalues = [np.linalg.eigvalsh(h @ h.T) for h in H.numpy()]
    expected = [int((e * 6 / e.sum() >= 0.5).sum()) for e in eigenvalues]
    assert rank_curves.soft_rank_at_trace_d(H).tolist() == expected
    assert rank_curves.soft_rank_at_trace_d(1e-9 * H).tolist() == expected
    assert len(set(expected)) > 1


def test_values_belong_to_their_depths(finished):
    for number in (0, 3, 8, 13):
        network, curve = TINY.networks[number], finished[1]["curves"][number]
        assert curve["network"] == str(network)
        for depth in (1, 40, 110, 730, 1000):
            run = simulate(network.chain, depth, chains=6, seed=3, measures=["numerical_rank", "participation_ratio"],
                           burn_in=depth - 1, progress=False)  # fmt: skip
            place = curve["depth"].index(depth)
            assert curve["mean"]["numerical rank"][place] == pytest.approx(run["numerical_rank"].mean, rel=1e-12)
            ratio = run["participation_ratio"].mean  # NaN where a network died
            assert float(curve["mean"]["r"][place]) == pytest.approx(ratio, rel=1e-12, nan_ok=True)


def independent_ranks(recentre, relu, rng):
    """Mean rank_0.5 and numerical rank over depths 110, 120, ... 1000 of one chain of width 8, in plain numpy."""
    H, seen = rng.normal(size=(8, 8)), []
    for depth in range(1, 1001):
        H = rng.uniform(-1, 1, size=(8, 8)) @ (np.maximum(H, 0) if relu else H)
        H -= H.mean(axis=1, keepdims=True) if recentre else 0
        H /= np.sqrt((H**2).mean(axis=1, keepdims=True))
        if depth > 100 and depth % 10 == 0:
            seen.append([(np.linalg.eigvalsh(H @ H.T / 8) >= 0.5).sum(), np.linalg.matrix_rank(H)])
    return np.mean(seen, axis=0)


@pytest.mark.parametrize(("normalization", "activation"), [("rescale", "linear"), ("batch", "linear"),
                                                           ("batch", "relu")])  # fmt: skip
def test_ranks_agree_with_numpy(normalization, activation, tmp_path):
    network = rank_curves.Network(8, activation, normalization, "uniform", "float64")
    (row,) = experiment.EXPERIMENT.find(experiment.Settings((network,), depth=1000, chains=40, seed=5), tmp_path).rows
    rng = np.random.default_rng(8)
    chains = [independent_ranks(normalization == "batch", activation == "relu", rng) for _ in range(12)]
    for name, expected in zip(("soft_rank", "numerical_rank"), np.transpose(chains), strict=True):
        error = np.hypot(getattr(row, f"{name}_error") / 2, expected.std(ddof=1) / np.sqrt(len(expected)))
        assert getattr(row, name) == pytest.approx(expected.mean(), abs=SIGMAS * error + 1e-9)


def test_known_means_of_gaussian_chains(finished):
    for row in finished[1]["rows"][-2:]:
        assert row["weights"] == "gaussian"
        assert row["soft_rank"] == pytest.approx(2.790, abs=SIGMAS * row["soft_rank_error"] / 2)
        assert row["r"] == pytest.approx(2.248, abs=SIGMAS * row["r_error"] / 2)


def test_exact_rank_is_lost_to_rounding_sooner_in_single_precision(finished):
    claim = finished[0].claims[-1]
    assert claim.statement.startswith("numerical rank where the rank is d")
    assert (claim.kind, claim.verdict) == ("extension", "fails")
    double, single = (np.array(curve["mean"]["numerical rank"]) for curve in finished[1]["curves"][-2:])
    assert (double >= 7.99).argmin() > 1.5 * (single >= 7.99).argmin() > 1


def test_only_the_published_width_decides_what_is_published(finished):
    assert {claim.kind for claim in finished[0].claims} == {"extension"}


def found(late, early=None):
    """What would be found if all three ranks of a network were ``late(network)``, and up to layer 1000 ``early``."""
    depths, curves = np.array([1, 100, 1000, 1100, 10_000]), {}
    for network in rank_curves.networks(32):
        ranks = np.where(depths <= 1000, (early or late)(network), late(network)) + 1e-3 * np.arange(4.0)[:, None]
        curves[network] = decades.Course(depths, dict.fromkeys(rank_curves.MEASURES, ranks))
    lines = experiment.rows(TINY, curves)
    return Found(TINY, curves, [Row(**line) for line in lines])


def verdicts(*arguments):
    claims = experiment.claims(found(*arguments))
    return [[claim.verdict for claim in claims if claim.kind == kind] for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    as_expected = {"none": 1.0, "rescale": 9.0, "batch": 9.0}
    assert verdicts(lambda n: 32.0 if n.weights == "gaussian" else as_expected[n.normalization]) == [
        ["holds"] * 5, ["holds"] * 6]  # fmt: skip
    upside_down = {"none": 9.0, "rescale": 1.0, "batch": 1.0}
    assert verdicts(lambda n: upside_down[n.normalization], lambda n: 31.5) == [["fails"] * 5, ["fails"] * 6]
    assert verdicts(lambda n: math.nan) == [["undecided"] * 5, ["undecided"] * 6]


def test_a_rank_drops_quickly_if_it_falls_below_what_batch_normalisation_keeps():
    """One of 32 that is lost is no drop on a logarithmic axis; what BN networks lose is another question."""
    late = {"none": 1.0, "rescale": 9.0, "batch": 9.0}

    def drop(vanilla, normalised):
        early = {"none": vanilla, "rescale": normalised, "batch": normalised}
        claims = experiment.claims(found(lambda n: late[n.normalization], lambda n: early[n.normalization]))
        return [claim.verdict for claim in claims if "quickly drops" in claim.statement or "halved" in claim.statement]

    assert drop(5.0, 30.0) == ["holds", "fails"]
    assert drop(6.0, 15.0) == ["fails", "holds"]


def test_the_figure_is_in_float32_and_rescales_only():
    """What is published rests on these curves alone; what others show is an extension."""

    def late(network):
        shown = (network.dtype, network.weights) == ("float32", "uniform") and network.normalization != "batch"
        return (1.0 if network.normalization == "none" else 9.0) if shown else 5.0

    assert verdicts(late) == [["holds"] * 5, ["holds"] + ["fails"] * 5]


def test_extensions_name_the_worst():
    claims = experiment.claims(found(lambda n: 4.0 if (n.activation, n.normalization) == ("relu", "batch") else 9.0))
    worst = [claim for claim in claims if "/ sqrt(d)" in claim.statement]
    assert len(worst) == 3
    for claim in worst:
        assert claim.value == pytest.approx(4.0 / math.sqrt(32), abs=1e-3)
        assert "relu, BN (recentre, rescale)" in claim.note


def test_tolerance_is_that_of_numpy():
    H = np.diag(10.0 ** -np.arange(0.0, 20.0, 0.5)[:32])
    for dtype in ("float32", "float64"):
        network = rank_curves.Network(32, "linear", "none", "uniform", dtype)
        assert (np.diag(H) > network.tolerance).sum() == np.linalg.matrix_rank(H.astype(dtype))


def test_presets_are_the_published_figure():
    for preset in experiment.PRESETS.values():
        shown = {(n.activation, n.normalization) for n in preset.networks if n.width == 32}
        assert shown == {(a, n) for a in ("linear", "relu") for n in ("none", "rescale", "batch")}
        assert preset.chains == 10
