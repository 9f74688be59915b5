"""Between the two states that attract under recentring and ReLU: which mixtures of them end in which.

The symmetric fixed point (`pyrank.theory.recentred_relu_cosine`) and the escaped state (`pyrank.theory.escaped_gram`)
are both stable in layers of infinite width. Derived here.
"""

from __future__ import annotations

import math

import numpy as np

from pyrank.theory._arguments import Floats, numbers
from pyrank.theory.centred_angles import recentred_relu_cosine
from pyrank.theory.escaped_state import escaped_gram, reduced, reduced_layer


def escaped_mixture(samples: int, weight: float) -> Floats:
    """Gram matrix (N, N) between the symmetric fixed point and `escaped_gram`: the weighted mean of both.

    Parameters
    ----------
    samples
        N, at least 7.
    weight
        Of the escaped state, 0 to 1.

    Returns
    -------
    ndarray, shape (N, N)

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    share = float(numbers("weight", weight, 0.0, 1.0, "give the share of the escaped state"))
    escaped = escaped_gram(samples)
    symmetric = np.full_like(escaped, recentred_relu_cosine(samples))
    np.fill_diagonal(symmetric, 1.0)
    mixed: Floats = share * escaped + (1.0 - share) * symmetric
    return mixed


def critical_mixture(samples: int) -> float:
    """Weight of the escaped state above which `escaped_mixture` becomes it, and below which it becomes symmetric.

    Found by bisection, to a part in a thousand.

    Parameters
    ----------
    samples
        N, at least 7.

    Returns
    -------
    float
        0.0255 for N = 8, 3.44e-4 for N = 20, 6.22e-6 for N = 64.

    Raises
    ------
    ArgumentError
        If N is smaller than 7.
    """
    low, high = 1e-6, 1.0
    for _ in range(14):
        weight = math.sqrt(low * high)
        start = reduced(escaped_mixture(samples, weight))
        end = start
        for _ in range(400):
            end = reduced_layer(end, samples)
        low, high = (low, weight) if end[2] > start[2] else (weight, high)
    return math.sqrt(low * high)
