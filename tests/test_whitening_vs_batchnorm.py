"""Whitening against batch normalisation: the numbers are those of plain simulations, verdicts go both ways."""

from dataclasses import replace

import numpy as np
import pytest

import pyrank
from pyrank.experiments.chains import whitening_vs_batchnorm as experiment

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


def test_exponents_are_those_of_the_means(cases):
    """A law 3 d^0.75 is found again."""
    exact = [replace(case, values={**case.values, "r": 0.0 * case.values["r"] + law(case)}) for case in cases]
    linear = next(growth for growth in experiment.growths(exact) if growth.normalization == "rescale")
    assert linear.fits["r"].exponent == pytest.approx(0.75, abs=1e-3)


def law(case):
    """3 d^0.75, a thousandth larger or smaller in each chain: without scatter there are no errors to weigh by."""
    signs = np.where(np.arange(len(case.values["r"])) % 2, 1.0, -1.0)[:, None]
    return 3.0 * case.width**0.75 * (1.0 + 1e-3 * signs)


def test_dead_chains_are_left_out(cases):
    """A state of zeros has no r: its width bends no exponent, and its whitened state is not held against M = I."""
    some = [replace(case, values={**case.values, "r": dead(case.values["r"]), "rank": dead(case.values["rank"], 0.0)})
            if case.width == 8 else case for case in cases]  # fmt: skip
    assert all(growth.dead == (8,) for growth in experiment.growths(some) if growth.activation == "linear")
    verdicts = [claim.verdict for claim in JUDGE(some) if claim.statement.endswith(": linear")]
    assert verdicts[-1] == "holds"


def dead(values, nothing=np.nan):
    values = values.copy()
    values[0, -100:] = nothing
    return values


def test_verdicts_go_both_ways(cases):
    """Batch normalisation passed off as whitening is found out, and so is a rank below sqrt(d)."""
    claims = JUDGE(cases)
    assert [claim.verdict for claim in claims] == ["holds"] * 4
    plain = [case for case in cases if case.normalization != "whiten"]
    passed_off = [replace(case, normalization="whiten") for case in plain if case.normalization == "batch"]
    assert [claim.verdict for claim in JUDGE(plain + passed_off)] == ["holds", "holds", "fails", "fails"]
    slow = [replace(case, values={name: values / case.width**0.4 for name, values in case.values.items()})
            for case in cases]  # fmt: skip
    assert [claim.verdict for claim in JUDGE(slow)[:2]] == ["fails", "fails"]
