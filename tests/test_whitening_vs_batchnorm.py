"""Whitening against batch normalisation: the numbers are those of plain simulations, verdicts go both ways."""

from dataclasses import replace

import numpy as np
import pytest

import pyrank
from pyrank.experiments import whitening_vs_batchnorm as experiment

SMALL = experiment.Settings(widths=(4, 8, 16, 24), depth=200, chains=8, timed=5, seed=3)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "judge", lambda cases: kept.extend(cases) or JUDGE(cases))
        experiment.reproduce(SMALL, tmp_path_factory.mktemp("whitening"), progress=False)
    return kept


JUDGE = experiment.judge


def test_values_are_those_of_a_simulation(cases):
    case = next(case for case in cases if (case.width, case.activation, case.normalization) == (8, "relu", "batch"))
    chain = pyrank.Chain(8, 16, activation="relu", normalization="batch")
    run = pyrank.simulate(chain, 200, chains=8, seed=3, measures=["participation_ratio"], progress=False)
    depths = case.depths[case.depths > 20]
    np.testing.assert_array_equal(
        case.values["r"][:, case.depths > 20], run["participation_ratio"].trace[:, depths - 1]
    )


def test_whitening_keeps_every_direction(cases):
    """M = I, so r = d and the isometry gap is 0, up to the rounding of states in single precision."""
    rounding = 100 * np.finfo(np.float32).eps
    for case in cases:
        if case.normalization == "whiten" and case.activation == "linear":
            np.testing.assert_allclose(case.values["r"], case.width, rtol=rounding)
            assert np.all(case.values["gap"] <= rounding)


def test_verdicts_go_both_ways(cases):
    """With the values of batch normalisation and whitening exchanged, verdicts on the rank turn."""
    swap = {"whiten": "rescale", "rescale": "whiten"}
    swapped = [replace(case, normalization=swap.get(case.normalization, case.normalization)) for case in cases]
    verdicts, exchanged = ([claim.verdict for claim in JUDGE(some) if "linear" in claim.statement and
                            "recentre" not in claim.statement] for some in (cases, swapped))  # fmt: skip
    assert verdicts[0] == "holds"
    assert exchanged[0] == "fails"
    assert verdicts[1] == "fails"
    assert exchanged[1] != "fails"  # an exponent of one, up to rounding
