"""How the closed forms of `pyrank.theory` are held against other routes to the same number."""

import math

import numpy as np

from tolerances import SIGMAS

QUAD = {"epsabs": 1e-12, "epsrel": 1e-11, "limit": 400}
"""What quadrature is asked for."""


def agrees(samples, expected, axis=0):
    """Assert that the mean of independent samples is the expected value at five standard errors, of size resolved."""
    mean = samples.mean(axis=axis)
    stderr = samples.std(axis=axis, ddof=1) / math.sqrt(samples.shape[axis])
    assert np.all(np.abs(mean - expected) <= SIGMAS * stderr), (mean, expected, stderr)
