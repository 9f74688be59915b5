"""Time against state averages: slopes with a known answer, an independent sum, known means, verdicts both ways."""

import dataclasses
import math

import numpy as np
import pytest

from pyrank.experiments.chains import ergodic_average as ergodic

from tolerances import FACTS_SHARE, SIGMAS

TINY = ergodic.Settings(
    gammas=(math.inf, 1.0), width=8, burn_in=100, long=20_000, repetitions=64, layers=1024, groups=8, states=4000,
    fit_from=128, seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def averages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    result = ergodic.reproduce(TINY, folder)
    runs = iter(ergodic.run_all(ergodic._jobs(TINY), folder, progress=False))
    return result, [ergodic._Averages(*three) for three in zip(runs, runs, runs, strict=True)]


def test_errors_are_those_of_averages_side_by_side():
    values = np.random.default_rng(1).normal(size=(3, 11))
    found = ergodic.squared_errors(values, np.array([1, 4]))
    for chain in range(3):
        means = [values[chain, start : start + 4].mean() for start in (0, 4)]
        assert found[chain, 1] == pytest.approx(sum((mean - values.mean()) ** 2 for mean in means) / 2)
        assert found[chain, 0] == pytest.approx(np.mean((values[chain] - values.mean()) ** 2))


def test_slopes_of_noise_and_of_chains_that_never_forget():
    lengths = 2 ** np.arange(9)
    rng = np.random.default_rng(2)
    slope, half_width = ergodic.slope(ergodic.squared_errors(rng.normal(size=(256, 256)), lengths), lengths, 16)
    assert abs(slope + 0.5) <= SIGMAS / 2 * half_width
    assert half_width < 0.03
    stuck = np.repeat(rng.normal(size=(256, 1)), 256, axis=1)
    assert ergodic.slope(ergodic.squared_errors(stuck, lengths), lengths, 16)[0] == pytest.approx(0, abs=1e-9)


def test_intervals_of_slopes_cover():
    lengths, rng = 2 ** np.arange(6), np.random.default_rng(3)
    inside = []
    for _ in range(400):
        squares = ergodic.squared_errors(rng.normal(size=(64, 32)), lengths)
        slope, half_width = ergodic.slope(squares, lengths, 8)
        inside.append(abs(slope + 0.5) <= half_width)
    assert np.mean(inside) == pytest.approx(0.95, abs=SIGMAS * math.sqrt(0.95 * 0.05 / 400))


def test_averages_are_the_known_means_and_equal(averages):
    for each in averages[1]:
        for measure, known in zip(TINY.measures, (2.248, 2.790), strict=True):
            row = ergodic._row(each, measure, TINY)
            assert abs(row.sigmas) <= SIGMAS
            for mean, stderr in ((row.time_average, row.time_stderr), (row.state_average, row.state_stderr)):
                assert abs(mean - known) <= SIGMAS * stderr + FACTS_SHARE * known
            assert row.error == pytest.approx(row.expected, rel=SIGMAS / math.sqrt(2 * TINY.repetitions))
            assert abs(row.slope + 0.5) <= SIGMAS / 2 * row.slope_half_width


def test_three_runs_never_share_a_seed(averages):
    seeds = [run.plan.seed for each in averages[1] for run in (each.time, each.repeated, each.states)]
    assert seeds == [3, 4, 5, 6, 7, 8]
    assert averages[1][0].states.recorded == 1


def test_verdicts(averages):
    row = ergodic._row(averages[1][0], "participation_ratio", TINY)

    def judge(**changes):
        return [claim.verdict for claim in ergodic._judge([dataclasses.replace(row, **changes)])]

    assert judge(sigmas=-4.9, slope=-0.49, slope_half_width=0.02) == ["holds", "holds"]
    assert judge(sigmas=-5.1, slope=-0.4, slope_half_width=0.02) == ["fails", "fails"]
    assert judge(slope=-0.45, slope_half_width=0.02)[1] == "undecided"
    assert "provisional" in ergodic._judge([dataclasses.replace(row, flags="not converged")])[0].note


def test_table_and_caption_name_the_sizes(averages):
    result = averages[0]
    assert "20,000 layers of one chain" in result.table
    assert "d = N = 8" in result.caption
    assert "Seeds 3 to 8" in result.caption.replace("\n", " ")
