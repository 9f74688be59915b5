"""The test of pairs against an independent library, its interval against its p, and its promise."""

import math

import numpy as np
import pytest
from scipy import stats

from pyrank.estimate.paired import paired_test
from pyrank.support.errors import ArgumentError

from tolerances import EXACT, SIGMAS

PAIRS = np.random.default_rng(3).normal([[0.8], [0.0]], 1.0, (2, 7))


def test_equals_that_of_scipy():
    expected = stats.ttest_rel(*PAIRS)
    interval = expected.confidence_interval(0.95)
    found = paired_test(*PAIRS)
    assert found.p == pytest.approx(expected.pvalue, rel=EXACT)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high), rel=EXACT)


@pytest.mark.parametrize("comparisons", [2, 6, 28])
def test_several_tests_are_corrected_as_scipy_would(comparisons):
    expected = stats.ttest_rel(*PAIRS)
    interval = expected.confidence_interval(1 - 0.05 / comparisons)
    found = paired_test(*PAIRS, comparisons)
    assert found.p == pytest.approx(min(1, comparisons * expected.pvalue), rel=EXACT)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high), rel=EXACT)
    assert found.significant == (not found.difference.low <= 0 <= found.difference.high)


def test_false_alarms_come_at_the_stated_rate():
    rng, trials = np.random.default_rng(5), 4_000
    alarms = sum(paired_test(*rng.normal(size=(2, 4))).significant for _ in range(trials))
    assert alarms / trials == pytest.approx(0.05, abs=SIGMAS * math.sqrt(0.05 * 0.95 / trials))


def test_pairs_without_scatter():
    assert paired_test([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert paired_test([1.5, 2.5], [1.0, 2.0]).p == 0.0
    unknown = paired_test([1.0, math.nan], [1.0, 2.0])
    assert math.isnan(unknown.p)
    assert not unknown.significant


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0]), ([1.0, 2.0], [1.0]), (1.0, 2.0)])
def test_what_is_not_paired_is_refused(first, second):
    with pytest.raises(ArgumentError, match=r"^pairs = .*: expected two of the same length"):
        paired_test(first, second)
    with pytest.raises(ArgumentError, match="comparisons = 0"):
        paired_test([1.0, 2.0], [2.0, 1.0], 0)
