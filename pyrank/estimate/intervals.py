"""95 % intervals from independent repetitions, such as one number for each seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # type: ignore[import-untyped]

from pyrank.estimate.fitting import LEVEL
from pyrank.support.errors import invalid
from pyrank.support.text import plus_minus


def mean_interval(samples: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean over independent repetitions, and the half-width of its 95 % interval (Student).

    Parameters
    ----------
    samples
        Shape (repetitions, ...): at least two repetitions; what follows, such as layers, is kept.

    Raises
    ------
    ArgumentError
        If there are fewer than two repetitions.
    """
    values = np.asarray(samples, dtype=float)
    count = len(values) if values.ndim else 0
    if count < 2:
        raise invalid("repetitions", count, "at least two", "run more seeds")
    stderr = values.std(axis=0, ddof=1) / math.sqrt(count)
    return values.mean(axis=0), special.stdtrit(count - 1, (1 + LEVEL) / 2) * stderr


def share_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a probability (Clopper & Pearson, Biometrika 26, 404, 1934).

    Parameters
    ----------
    successes, trials
        How often it happened in how many independent trials.

    Raises
    ------
    ArgumentError
        If there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise invalid("successes", successes, f"from 0 to {trials} successes in at least one trial", "run more seeds")
    failures, tail = trials - successes, (1 - LEVEL) / 2
    low = special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return float(low), float(high)


@dataclass(frozen=True)
class Interval:
    """A measured number and its 95 % interval, which ends at the number itself where nothing was sampled.

    Attributes
    ----------
    value, low, high
        The number, and where the interval ends.
    counted
        What a share was counted from, as text; may be empty.
    """

    value: float
    low: float
    high: float
    counted: str = ""

    @classmethod
    def exact(cls, value: float) -> Interval:
        """Return a number without sampling error, such as an observed minimum."""
        return cls(float(value), float(value), float(value))

    @classmethod
    def around(cls, value: float, half_width: float) -> Interval:
        """Return a number with an interval of this half-width."""
        return cls(float(value), float(value - half_width), float(value + half_width))

    @classmethod
    def mean(cls, samples: ArrayLike) -> Interval:
        """Return the mean of independent numbers, see `mean_interval`."""
        value, half_width = mean_interval(samples)
        return cls.around(float(value), float(half_width))

    @classmethod
    def share(cls, successes: int, trials: int) -> Interval:
        """Return a share with its exact interval, see `share_interval`."""
        low, high = share_interval(successes, trials)
        return cls(successes / trials, low, high, f"{successes:,} of {trials:,}")

    @property
    def error(self) -> float:
        """The longer side of the interval."""
        return max(self.high - self.value, self.value - self.low)

    def __str__(self) -> str:
        if self.counted:
            return f"{self.value:.3f} ({self.counted}; {self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.4g}" if self.low == self.value == self.high else plus_minus(self.value, self.error)
