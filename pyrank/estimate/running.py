"""A mean and its error bar while the record grew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate.blocks import error_of_batches, half_width
from pyrank.estimate.fitting import LEVEL
from pyrank.estimate.moments import Floats, mean_of, quiet


class Running(NamedTuple):
    """Arrays with an entry for each completed batch: what was known at its end.

    Attributes
    ----------
    samples : ndarray of int64
        Samples of each chain up to there.
    mean, low, high : ndarray of float64
        Their mean over all chains, and the ends of its 95 % interval; NaN where so few cannot tell it.
    """

    samples: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats


@quiet
def running_mean(batch_means: Floats, length: int) -> Running:
    """Return the mean over the first batch, the first two, ... of [chains, batches] of ``length`` samples.

    Each error comes from the batches up to there.
    """
    ends = np.arange(1, batch_means.shape[1] + 1)
    records = [batch_means[:, :end] for end in ends]
    errors = [error_of_batches(record, length) for record in records]
    reach = np.array([half_width(error.stderr, error.dof, LEVEL) for error in errors])
    mean = np.array([mean_of(mean_of(record)) for record in records])
    return Running(ends * length, mean, mean - reach, mean + reach)
