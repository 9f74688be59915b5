"""Intervals from independent repetitions, against closed forms, an independent library and their own promise."""

import math

import numpy as np
import pytest
from scipy import stats

from pyrank.estimate.intervals import mean_interval, share_interval
from pyrank.support.errors import ArgumentError


def test_two_repetitions_have_the_cauchy_interval():
    mean, half_width = mean_interval([[1.0, 5.0], [3.0, 5.0]])
    assert mean == pytest.approx([2.0, 5.0], rel=1e-15)
    assert half_width == pytest.approx([math.tan(math.pi * 0.475), 0.0], rel=1e-9)


def test_mean_interval_covers():
    samples = np.random.default_rng(1).normal(3.0, 2.0, size=(6, 10_000))
    mean, half_width = mean_interval(samples)
    covered = np.mean(abs(mean - 3.0) <= half_width)
    assert covered == pytest.approx(0.95, abs=5 * math.sqrt(0.95 * 0.05 / 10_000))


@pytest.mark.parametrize("trials", [1, 7, 200])
def test_share_of_nothing_and_of_everything(trials):
    bound = 0.025 ** (1 / trials)
    assert share_interval(0, trials) == pytest.approx((0.0, 1 - bound), rel=1e-9)
    assert share_interval(trials, trials) == pytest.approx((bound, 1.0), rel=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(1, 2), (3, 20), (57, 60)])
def test_share_interval_equals_that_of_scipy(successes, trials):
    interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert share_interval(successes, trials) == pytest.approx((interval.low, interval.high), rel=1e-9)


@pytest.mark.parametrize("samples", [[], [1.0], 1.0, [[1.0, 2.0]]])
def test_one_repetition_has_no_interval(samples):
    with pytest.raises(ArgumentError, match=r"repetitions = [01]: expected at least two"):
        mean_interval(samples)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_share_is_refused(successes, trials):
    with pytest.raises(ArgumentError, match="successes = "):
        share_interval(successes, trials)
