"""Spectrum amplification: eigenvalues of the right layers, the script's scaling of gamma, verdicts both ways."""

import json

import numpy as np
import pytest
import torch

from pyrank import Chain, Weights, simulate
from pyrank.experiments import Found
from pyrank.experiments.chains import spectrum_amplification as experiment
from pyrank.experiments.chains.decades import Course

from tolerances import SIGMAS

TINY = experiment.Settings(depths=((1.0, 200), (0.01, 100)), chains=4, width=12, seed=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    experiment.EXPERIMENT.run(TINY, folder)
    return json.loads((folder / "spectrum-amplification.json").read_text())


def test_eigenvalues_are_those_of_the_states(finished):
    saved = finished["medians"][0]
    for depth in (1, 30, 150):
        H = simulate(TINY.chain(1.0), depth, chains=4, seed=5, initial="collinear(1e-5)", measures=[], progress=False)
        eigenvalues = np.linalg.eigvalsh((H.state @ H.state.mT / 12).numpy())[:, ::-1]
        place = saved["depth"].index(depth)
        for k in (1, 2, 10):  # eigenvalues of a Gram matrix are good to a rounding of the largest
            wanted = np.median(eigenvalues[:, k - 1])
            assert saved[f"lambda_{k}"][place] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_start_is_the_spectrum_of_the_input(finished):
    # a rank-one part of norm |c|^2, and 1e-10 times a Wishart matrix of which one direction is taken up
    saved = finished["medians"][0]
    first = {k: saved[f"lambda_{k}"][0] for k in (1, 2, 10)}
    assert saved["depth"][0] == 0
    assert first[1] == pytest.approx(12, abs=SIGMAS * np.sqrt(2 * 12))
    assert 1e-10 < first[2] < 4e-10
    assert first[10] < first[2]


def test_gamma_of_the_script_is_one_hundred_times_as_large():
    options = {"chains": 3, "seed": 2, "initial": "collinear(1e-5)", "measures": [], "progress": False}
    literal = Chain(12, gamma=0.01, weights=Weights(scale=100.0), dtype="float64")
    states = [simulate(chain, 3, **options).state for chain in (literal, Chain(12, gamma=1.0, dtype="float64"))]
    torch.testing.assert_close(*states, rtol=1e-9, atol=1e-9)


DEPTHS = np.array([*range(101), *range(110, 201, 10)])


def as_published():
    """What the figure shows of lambda_1, lambda_2 and lambda_10."""
    return [np.where(DEPTHS < 10, 49.95, 12.5), np.where(DEPTHS < 5, 1e-10, 9.0), np.where(DEPTHS < 50, 1e-9, 0.3)]


def found(curves, gamma=1.0):
    """Four chains that follow the curves, a tenth of a per cent apart, of one gamma alone."""
    values = {}
    for k, curve in zip(experiment.SHOWN, curves, strict=True):
        values[f"lambda_{k}"] = curve * (1 + 1e-3 * np.arange(4.0)[:, None])
        values[f"log10 lambda_{k}"] = np.log10(values[f"lambda_{k}"])
    return Found(experiment.PRESETS["quick"], {gamma: Course(DEPTHS, values)})


def verdicts(curves, gamma=1.0):
    claims = experiment.claims(found(curves, gamma))
    return [[claim.verdict for claim in claims if claim.kind == kind] for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    first, second, tenth = as_published()
    assert verdicts((first, second, tenth)) == [["holds"] * 3, ["holds"] * 2]
    wrong = first + 5, second * 1e-12, tenth / 100
    assert verdicts(wrong) == [["undecided", "fails", "fails"], ["fails", "fails"]]  # lambda_2 never passes 1
    late = np.where(DEPTHS < 30, 1e-10, 9.0)
    claim = experiment.claims(found((first, late, tenth)))[0]
    assert (claim.value, claim.verdict) == (30, "fails")


def test_another_gamma_is_an_extension():
    assert verdicts(as_published(), gamma=0.01) == [[], ["holds"] * 5]


def test_late_values_are_means_over_the_second_half():
    first, second, tenth = as_published()
    first[DEPTHS < 100] = 1e9
    (row,) = experiment.rows(TINY, found((first, second, tenth)).data)
    assert row["lambda_1_late"] == pytest.approx(12.5 * 1.0015)
    assert (row["lambda_2_passage"], row["lambda_2_passage_error"]) == (5, 0)
    assert row["log10_lambda_2_start"] == pytest.approx(-10, abs=1e-3)


def test_presets_show_both_gammas():
    for preset in experiment.PRESETS.values():
        assert [gamma for gamma, _ in preset.depths] == [1.0, 0.01]
        assert preset.width == 50
