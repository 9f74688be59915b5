"""Collapse to rank one: measured ratios against products in numpy, rates against closed forms, verdicts both ways."""

import math

import numpy as np
import pytest
import torch

from pyrank import Chain, draw_weights
from pyrank.engine import initial
from pyrank.experiments import Found, Row
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
    result = collapse.EXPERIMENT.run(TINY, folder)
    return result, collapse.EXPERIMENT.find(TINY, folder)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_ratios_are_those_of_the_product(finished, number):
    run, setting = finished[1].data[number], TINY.grid[number]
    chain = Chain(4, gamma=setting.gamma, weights=setting.weights, normalization="none", dtype="float64")
    H = initial.state("gaussian", chain, 2, TINY.seed + number, torch.float64)[1].numpy()
    depth, ratio = collapse.ratios(run)
    expected = []
    for layer in range(depth[4]):
        A = draw_weights(chain, TINY.seed + number, layer, 1).numpy() @ H
        H = A if math.isinf(setting.gamma) else H + setting.gamma * A
        if layer + 1 in depth[:5]:
            sigma = np.linalg.svd(H, compute_uv=False)
            expected.append(sigma[1] / sigma[0])
    np.testing.assert_allclose(ratio[1, :5], expected, rtol=1e-8)  # at 1e-8 of s1 that is what a double leaves


def test_rates_are_the_predicted_gaps(finished):
    for row in finished[1].rows:
        assert abs(row.deviation) <= SIGMAS  # at gamma = 0.2 uniform weights are as good as gaussian ones
        assert row.half_width < 0.1 * row.gap
        assert row.half_width == pytest.approx(
            1.96 * math.sqrt(2 * row.gap / ((TINY.last - TINY.first) / row.gap) / row.chains), rel=0.25
        )  # the logarithm gains a variance of two in the time in which it falls by one


def test_verdicts(finished):
    assert {claim.verdict for claim in finished[0].claims[:4]} == {"holds"}
    plain, skip, uniform = finished[1].rows

    def judge(number, **changes):
        rows = [plain, Row(**(vars(skip) | changes)), uniform]
        return collapse.claims(Found(TINY, [], rows))[number].verdict

    assert judge(0, final=1e-3) == "fails"
    exact = {"rate": skip.gap, "half_width": 0.01 * skip.gap}
    assert judge(5, **exact) == "holds"
    assert judge(5, **(exact | {"rate": 0.9 * skip.gap})) == "fails"
    assert judge(5, rate=0.9 * skip.gap, half_width=0.1 * skip.gap) == "undecided"
    assert judge(-1, collapse=1e5) == "fails"
    assert [claim.kind for claim in finished[0].claims] == ["published"] * 5 + ["extension"] * 3


def test_presets_cover_both_laws_with_and_without_skip():
    for preset in collapse.EXPERIMENT.presets.values():
        for law in ("gaussian", "uniform"):
            gammas = {setting.gamma for setting in preset.grid if setting.weights == law}
            assert {math.inf, 1.0, 0.3, 0.1} <= gammas
        assert any(setting.gamma == 0.01 for setting in preset.grid)
