"""When a quantity passes a level."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def falls_below(depth: ArrayLike, values: ArrayLike, level: float) -> float:
    """Return where positive values first fall below a level, by a line in the logarithm between depths, or inf.

    Parameters
    ----------
    depth, values
        Shape (depths,), the depths ascending.
    level
        A positive number.
    """
    at, values = np.asarray(depth, dtype=float), np.asarray(values, dtype=float)
    below = np.flatnonzero(values < level)
    if not below.size:
        return math.inf
    around = slice(max(0, below[0] - 1), below[0] + 1)
    return float(np.interp(-math.log(level), -np.log(values[around]), at[around]))
