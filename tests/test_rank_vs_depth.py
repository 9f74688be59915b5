"""Rank against depth: decades that fit together, ranks that agree with numpy and known means, verdicts both ways."""

import json

import numpy as np
import pytest
import torch

from pyrank import simulate
from pyrank.experiments.chains import decades, rank_curves
from pyrank.experiments.chains import rank_vs_depth as experiment

from tolerances import SIGMAS

TINY = experiment.Settings(rank_curves.networks(8), depth=1000, chains=6, seed=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, experiment.reproduce(TINY, folder)


@pytest.mark.parametrize(("depth", "last"), [(7, 7), (100, 100), (1000, 1000), (20_050, 20_000)])
def test_decades_follow_each_other(depth, last):
    depths = np.concatenate([part.depths for part in decades.stretches(depth)])
    strides = ((0, 1), (100, 10), (1000, 100), (10_000, 1000))
    expected = [at for at in range(1, last + 1) if all(at <= seen or at % every == 0 for seen, every in strides)]
    assert depths.tolist() == expected


def test_log_spaced_depths_are_ordered_and_reach_the_ends():
    depths = np.arange(1, 5001)
    some = depths[decades.log_spaced(depths)]
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
    saved = json.loads((finished[0] / "rank-vs-depth.json").read_text())["curves"]
    for number in (0, 3, 8, 13):
        network, curve = TINY.networks[number], saved[number]
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
    settings = experiment.Settings((network,), depth=1000, chains=40, seed=5)
    experiment.reproduce(settings, tmp_path)
    row = json.loads((tmp_path / "rank-vs-depth.json").read_text())["rows"][0]
    rng = np.random.default_rng(8)
    chains = [independent_ranks(normalization == "batch", activation == "relu", rng) for _ in range(12)]
    for name, expected in zip(("soft_rank", "numerical_rank"), np.transpose(chains), strict=True):
        error = np.hypot(row[f"{name}_error"] / 2, expected.std(ddof=1) / np.sqrt(len(expected)))
        assert row[name] == pytest.approx(expected.mean(), abs=SIGMAS * error + 1e-9)


def test_known_means_of_gaussian_chains(finished):
    rows = json.loads((finished[0] / "rank-vs-depth.json").read_text())["rows"]
    for row in rows[-2:]:
        assert row["weights"] == "gaussian"
        assert row["soft_rank"] == pytest.approx(2.790, abs=SIGMAS * row["soft_rank_error"] / 2)
        assert row["r"] == pytest.approx(2.248, abs=SIGMAS * row["r_error"] / 2)


def test_exact_rank_is_lost_to_rounding_sooner_in_single_precision(finished):
    claim = finished[1].claims[-1]
    assert claim.statement.startswith("numerical rank = rank = d")
    assert claim.verdict == "fails"
    curves = json.loads((finished[0] / "rank-vs-depth.json").read_text())["curves"]
    double, single = (np.array(curve["mean"]["numerical rank"]) for curve in curves[-2:])
    assert (double >= 7.99).argmin() > 1.5 * (single >= 7.99).argmin() > 1


KINDS = ("rank = 1 deep down", ">= sqrt(d)", "numerical rank = rank")


def made_up(network, rank):
    depths = np.concatenate([part.depths for part in decades.stretches(1000)])
    wobble = 1e-3 * np.arange(4.0)[:, None]
    values = dict.fromkeys(rank_curves.MEASURES, np.full((4, depths.size), float(rank)) + wobble)
    return rank_curves.Curve(network, depths, values, 0, "")


def verdicts(vanilla, normalised, gaussian):
    ranks = {"none": vanilla, "rescale": normalised, "batch": normalised}
    curves = [made_up(network, gaussian if network.weights == "gaussian" else ranks[network.normalization])
              for network in rank_curves.networks(32)]  # fmt: skip
    claims = experiment.judge(curves)
    return {kind: frozenset(c.verdict for c in claims if kind in c.statement) for kind in KINDS}


def test_verdicts_go_both_ways():
    assert verdicts(1, 9, 32) == dict.fromkeys(KINDS, frozenset({"holds"}))
    assert verdicts(9, 1, 9) == dict.fromkeys(KINDS, frozenset({"fails"}))
    assert verdicts(np.nan, np.nan, np.nan) == dict.fromkeys(KINDS, frozenset({"undecided"}))


def test_presets_are_the_published_figure():
    for preset in experiment.PRESETS.values():
        shown = {(n.activation, n.normalization) for n in preset.networks if n.width == 32}
        assert shown == {(a, n) for a in ("linear", "relu") for n in ("none", "rescale", "batch")}
        assert preset.chains == 10
