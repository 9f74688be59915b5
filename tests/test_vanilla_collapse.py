"""Collapse to rank one: measured ratios against products in numpy, rates against closed forms, verdicts both ways."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from pyrank import Chain, draw_weights, experiments
from pyrank.engine import initial
from pyrank.experiments import running
from pyrank.experiments.chains import vanilla_collapse as collapse

from tolerances import SIGMAS

TINY = collapse.Settings(
    tuple(
        collapse.Setting(law, gamma, chains=2000, units=18)
        for law, gamma in (("gaussian", math.inf), ("gaussian", 0.4), ("uniform", 0.2))
    ),
    width=4,
    seed=5,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    result = collapse.reproduce(TINY, folder)
    runs = running.run_all([collapse._job(TINY, number) for number in range(len(TINY.grid))], folder, progress=False)
    return result, runs


@pytest.mark.parametrize("number", [0, 1, 2])
def test_ratios_are_those_of_the_product(finished, number):
    run, setting = finished[1][number], TINY.grid[number]
    chain = Chain(4, gamma=setting.gamma, weights=setting.weights, normalization="none", dtype="float64")
    H = initial.state("gaussian", chain, 2, TINY.seed + number, torch.float64)[1].numpy()
    depth, ratio = collapse._ratios(run)
    expected = []
    for layer in range(depth[4]):
        A = draw_weights(chain, TINY.seed + number, layer, 1).numpy() @ H
        H = A if math.isinf(setting.gamma) else H + setting.gamma * A
        if layer + 1 in depth[:5]:
            sigma = np.linalg.svd(H, compute_uv=False)
            expected.append(sigma[1] / sigma[0])
    np.testing.assert_allclose(ratio[1, :5], expected, rtol=1e-8)  # at 1e-8 of s1 that is what a double leaves


def test_rates_are_the_predicted_gaps(finished):
    for run in finished[1]:
        row = collapse._row(run, TINY)
        assert abs(row.deviation) <= SIGMAS  # at gamma = 0.2 uniform weights are as good as gaussian ones
        assert row.half_width < 0.1 * row.gap
        assert row.half_width == pytest.approx(
            1.96 * math.sqrt(2 * row.gap / ((TINY.last - TINY.first) / row.gap) / row.chains), rel=0.25
        )  # the logarithm gains a variance of two in the time in which it falls by one


def test_predicted_gap_of_two_features():
    """Of 2 x 2 gaussian matrices the first stretch is chi_2 and the second chi_1: (psi(1) - psi(1/2)) / 2 = ln 2."""
    assert collapse.predicted_gap(2, math.inf) == pytest.approx(math.log(2))
    assert collapse.predicted_gap(2, 1e6) == pytest.approx(math.log(2))


def test_depth_of_collapse_is_read_off_an_exponential():
    depth = np.array([1, 101, 201, 301])
    assert collapse._passes(depth, np.exp(-0.04 * depth)) == pytest.approx(math.log(1000) / 0.04)
    assert collapse._passes(depth, np.exp(-0.001 * depth)) == math.inf
    assert collapse._passes(depth, np.exp(-10.0 * depth)) == 1


def test_verdicts(finished):
    result = finished[0]
    assert [claim.verdict for claim in result.claims[:2]] == ["holds", "holds"]
    row = collapse._row(finished[1][0], TINY)

    def judge(**changes):
        return [claim.verdict for claim in collapse._judge([dataclasses.replace(row, **changes)])]

    exact = {"rate": row.gap, "half_width": 0.01 * row.gap}
    assert judge(**exact) == ["holds", "holds", "holds"]
    assert judge(**exact, final=1e-3, collapse=1e5) == ["fails", "fails", "holds"]
    assert judge(rate=0.9 * row.gap, half_width=0.01 * row.gap)[2] == "fails"
    assert judge(rate=0.9 * row.gap, half_width=0.1 * row.gap)[2] == "undecided"


def test_presets_cover_both_laws_with_and_without_skip():
    for preset in collapse.PRESETS.values():
        for law in ("gaussian", "uniform"):
            gammas = {setting.gamma for setting in preset.grid if setting.weights == law}
            assert {math.inf, 1.0, 0.3, 0.1} <= gammas
        assert any(setting.gamma == 0.01 for setting in preset.grid)
    assert "vanilla-collapse" in experiments.EXPERIMENTS
