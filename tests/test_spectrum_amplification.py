"""Spectrum amplification: eigenvalues of the right layers, the script's scaling of gamma, verdicts both ways."""

import json

import numpy as np
import pytest
import torch

from pyrank import Chain, Weights, simulate
from pyrank.experiments.chains import spectrum_amplification as experiment
from pyrank.experiments.chains.decades import recorded_depths

from tolerances import SIGMAS

TINY = experiment.Settings(depths=((1.0, 200), (0.01, 100)), chains=4, width=12, seed=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, experiment.reproduce(TINY, folder)


def medians(folder, number):
    return json.loads((folder / "spectrum-amplification.json").read_text())["medians"][number]


def test_eigenvalues_are_those_of_the_states(finished):
    saved = medians(finished[0], 0)
    for depth in (1, 30, 150):
        H = simulate(TINY.chain(1.0), depth, chains=4, seed=5, initial="collinear(1e-5)", measures=[], progress=False)
        eigenvalues = np.linalg.eigvalsh((H.state @ H.state.mT / 12).numpy())[:, ::-1]
        place = saved["depth"].index(depth)
        for k in (1, 2, 10):  # eigenvalues of a Gram matrix are good to a rounding of the largest
            wanted = np.median(eigenvalues[:, k - 1])
            assert saved[f"lambda_{k}"][place] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_start_is_the_spectrum_of_the_input(finished):
    # a rank-one part of norm |c|^2, and 1e-10 times a Wishart matrix of which one direction is taken up
    first = {k: medians(finished[0], 0)[f"lambda_{k}"][0] for k in (1, 2, 10)}
    assert medians(finished[0], 0)["depth"][0] == 0
    assert first[1] == pytest.approx(12, abs=SIGMAS * np.sqrt(2 * 12))
    assert 1e-10 < first[2] < 4e-10
    assert first[10] < first[2]


def test_gamma_of_the_script_is_one_hundred_times_as_large():
    options = {"chains": 3, "seed": 2, "initial": "collinear(1e-5)", "measures": [], "progress": False}
    literal = Chain(12, gamma=0.01, weights=Weights(scale=100.0), dtype="float64")
    states = [simulate(chain, 3, **options).state for chain in (literal, Chain(12, gamma=1.0, dtype="float64"))]
    torch.testing.assert_close(*states, rtol=1e-9, atol=1e-9)


def made_up(first, second, tenth):
    depths = np.append(0, recorded_depths(200))
    wobble = 1 + 1e-3 * np.arange(4.0)[:, None]
    curves = {k: np.tile(values, (4, 1)) * wobble for k, values in zip((1, 2, 10), (first, second, tenth), strict=True)}
    return experiment.Spectrum(1.0, depths, curves)


def as_published():
    depths = np.append(0, recorded_depths(200))
    first = np.where(depths < 10, 49.95, 12.5)
    return first, np.where(depths < 5, 1e-10, 9.0), np.where(depths < 50, 1e-9, 0.3)


def test_verdicts_go_both_ways():
    first, second, tenth = as_published()
    assert [claim.verdict for claim in experiment.judge(made_up(first, second, tenth), 50)] == ["holds"] * 5
    wrong = experiment.judge(made_up(first + 5, second * 1e-12, tenth / 100), 50)
    assert [claim.verdict for claim in wrong] == ["fails"] * 4 + ["undecided"]
    late = np.where(np.append(0, recorded_depths(200)) < 30, 1e-10, 9.0)
    claim = experiment.judge(made_up(first, late, tenth), 50)[-1]
    assert (claim.value, claim.verdict) == (30, "fails")


def test_presets_show_both_gammas():
    for preset in experiment.PRESETS.values():
        assert [gamma for gamma, _ in preset.depths] == [1.0, 0.01]
        assert preset.width == 50
