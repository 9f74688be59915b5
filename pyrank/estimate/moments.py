"""Means and sums of squares that lose nothing to a common offset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

quiet = np.errstate(invalid="ignore", over="ignore", divide="ignore")  # what is not finite is flagged


def mean_of(values: Floats) -> Floats:
    """Return the mean over the last axis, exact where all values are equal."""
    first = values[..., 0]
    return np.asarray(first + np.add.reduce(values - first[..., None], axis=-1) / values.shape[-1])


def scatter_of(values: Floats) -> Floats:
    """Return the sum of squares about the mean over the last axis, exactly 0 where all values are equal."""
    offsets = values - values[..., :1]
    offsets -= np.add.reduce(offsets, axis=-1, keepdims=True) / values.shape[-1]
    return np.asarray(np.add.reduce(offsets * offsets, axis=-1))
