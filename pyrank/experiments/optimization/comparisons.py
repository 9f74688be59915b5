"""Several treatments held against each other in pairs that share a seed, all tests together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pyrank.estimate.intervals import Interval
from pyrank.estimate.paired import PairedTest, paired_test
from pyrank.experiments.optimization.trainings import Floats


@dataclass(frozen=True)
class Comparison:
    """All pairs of some treatments; the tests hold together at 95 % (Bonferroni)."""

    tests: Mapping[tuple[str, str], PairedTest]

    @classmethod
    def of(cls, values: Mapping[str, Floats]) -> Comparison:
        """Compare numbers (seeds,) by treatment."""
        pairs = list(combinations(values, 2))
        return cls({(a, b): paired_test(values[a], values[b], len(pairs)) for a, b in pairs})

    @property
    def largest(self) -> Interval:
        """The largest distance between two of them."""
        ends = [(abs(t.difference.value), *_distance(t.difference)) for t in self.tests.values()]
        value, low, high = np.max(ends, axis=0).tolist()
        return Interval(value, low, high)

    @property
    def factor(self) -> Interval:
        """The largest factor between two of them, if logarithms were compared."""
        largest = self.largest
        return exponential(largest)

    @property
    def furthest(self) -> str:
        """The pair that is furthest apart, the larger one first."""
        first, second = max(self.tests, key=lambda pair: abs(self.tests[pair].difference.value))
        larger = self.tests[first, second].difference.value > 0
        return f"{first} and {second}" if larger else f"{second} and {first}"

    def chance(self, slight: float) -> Interval:
        """Return the smallest p of all tests, from 0 on where more seeds could make it as small as that.

        They could as long as a difference that is more than ``slight`` is not excluded.
        """
        p = min(test.p for test in self.tests.values())
        open_ = any(math.isnan(test.p) for test in self.tests.values()) or self.largest.high > slight
        significant = any(test.significant for test in self.tests.values())
        return Interval(p, 0.0 if open_ and not significant else p, p, "p")


def _distance(difference: Interval) -> tuple[float, float]:
    """Return the interval of the absolute value."""
    nearest = 0.0 if difference.low <= 0.0 <= difference.high else min(abs(difference.low), abs(difference.high))
    return nearest, max(abs(difference.low), abs(difference.high))


def exponential(logs: Interval) -> Interval:
    """Return the interval of a number from that of its logarithm."""
    with np.errstate(over="ignore"):
        value, low, high = np.exp([logs.value, logs.low, logs.high]).tolist()
    return Interval(value, low, high, "95 %")
