"""Whether two treatments differ, from repetitions that share all else, such as one pair of numbers for each seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from pyrank.estimate.fitting import LEVEL
from pyrank.estimate.intervals import Interval
from pyrank.support.errors import as_integer, invalid


@dataclass(frozen=True)
class PairedTest:
    """Student's test of pairs.

    Attributes
    ----------
    difference
        Mean of first minus second, and its 95 % interval.
    p
        The chance of one so far from 0, in either direction, if there were none: below 0.05 where the interval leaves 0
        out.
    """

    difference: Interval
    p: float

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05."""
        return self.p < 1.0 - LEVEL


def paired_test(first: ArrayLike, second: ArrayLike, comparisons: int = 1) -> PairedTest:
    """Test whether the mean difference of pairs is zero, by Student's t.

    Parameters
    ----------
    first, second
        (pairs,): at least two.
    comparisons
        How many such tests are made together: p is multiplied by that (Bonferroni), and the interval is as much wider,
        so that all of them hold together at 95 %.

    Raises
    ------
    ArgumentError
        If there are fewer than two pairs, or not as many of one as of the other.
    """
    comparisons = as_integer("comparisons", comparisons, 1, 2**31, "give the number of tests")
    a, b = (np.asarray(values, dtype=float) for values in (first, second))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise invalid("pairs", (a.shape, b.shape), "two of the same length, at least 2", "run more seeds")
    offsets = a - b
    dof, mean = len(offsets) - 1, float(offsets.mean())
    stderr = float(offsets.std(ddof=1)) / math.sqrt(len(offsets))
    reach = float(special.stdtrit(dof, 1.0 - (1.0 - LEVEL) / comparisons / 2.0)) * stderr
    if stderr > 0 or math.isnan(stderr):
        p = comparisons * 2.0 * float(special.stdtr(dof, -abs(mean) / stderr))
    else:  # equal to the last bit in all pairs
        p = float(mean == 0)
    return PairedTest(Interval.around(mean, reach), p if math.isnan(p) else min(p, 1.0))
