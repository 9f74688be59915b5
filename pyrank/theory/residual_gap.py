"""How fast the second direction of a product of I + gamma W is lost: the first two exponents as a series.

Of I + gamma W let a be the first column and b what is left of the second one across a. Given a, |b|^2 / gamma^2 is a
non-central chi-square variable with d - 1 degrees of freedom and non-centrality (1 - c) / gamma^2, where c is the
squared cosine between a and the second unit vector. So lambda_2 = E ln |b| is that of a Poisson mixture whose mean is
m (1 - c), m = 1 / (2 gamma^2). A derivative in the mean of a Poisson law is a difference in its variable, and the
differences of the digamma function are reciprocals of rising factorials (x)_i. Given a Poisson variable J of mean m,
c is a Beta(1/2, (d - 1) / 2 + J) variable, with moments (1/2)_i / (d/2 + J)_i. A Taylor series in c then gives the
sum below, all of whose terms are positive.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from pyrank.theory._arguments import Floats, whole_number
from pyrank.theory.lyapunov_ginibre import ginibre_lyapunov_exponents
from pyrank.theory.lyapunov_residual import at_each_gamma, poisson_terms


def residual_gap(width: int, gamma: ArrayLike) -> Floats:
    """Difference of the first two Lyapunov exponents of products of I + gamma W, W with i.i.d. N(0, 1) entries.

    With independent Poisson variables J and K of mean ``m = 1 / (2 gamma^2)``, ::

        2 (lambda_1 - lambda_2) = E [psi(d/2 + J) - psi((d - 1)/2 + J)]
                                  + sum_i m^i / i  E [(1/2)_i / (d/2 + J)_i]  E [1 / ((d - 1)/2 + K)_i]

    The ratio of the second to the first singular value falls like ``exp(-gap * depth)``. The gap is close to gamma^2
    for gamma^2 d << 1, and to Newman's for large gamma.

    Parameters
    ----------
    width
        d, at least 2.
    gamma
        Strength of the random branch, from 1e-4 on; infinity is no skip connection (Newman's exponents). Any shape.

    Returns
    -------
    float or ndarray
        Nats per layer, of the shape of ``gamma``.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    d = whole_number("width", width, 2, "a second direction needs two features or more")
    return at_each_gamma(lambda g: _gap(d, g), gamma, largest=math.inf)


def _gap(width: int, gamma: float) -> float:
    half, less = width / 2.0, (width - 1) / 2.0
    m = 0.5 / gamma**2
    if m < 1e-200:  # the skip connection is lost in rounding
        first, second = ginibre_lyapunov_exponents(width)[:2]
        return float(first - second)
    j, weights = poisson_terms(m)
    total = float(weights @ (special.digamma(half + j) - special.digamma(less + j)))
    # m^i is shared between the two factors, so that neither leaves the range of a double
    beta, rising, term, i = np.ones_like(j), np.ones_like(j), math.inf, 0
    while term > 1e-17 * total:
        beta *= (i + 0.5) * math.sqrt(m) / (half + i + j)
        rising *= math.sqrt(m) / (less + i + j)
        i += 1
        term = float(weights @ beta) * float(weights @ rising) / i
        total += term
    return total / 2.0
