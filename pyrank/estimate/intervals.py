"""95 % intervals from independent repetitions, such as one number for each seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # type: ignore[import-untyped]

from pyrank.estimate.fitting import LEVEL
from pyrank.support.errors import invalid


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
