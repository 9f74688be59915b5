"""Growth rates of a product of gaussian matrices: unnormalised chains without skip connection.

For W with i.i.d. N(0, s^2) entries, the k-th column of the triangular factor of a product grows per layer by an
independent factor |R_kk|, s times a chi variable with d - k + 1 degrees of freedom. Its logarithm has the mean and the
variance given here. C. M. Newman, Commun. Math. Phys. 103, 121 (1986); the variances are those of P. J. Forrester,
J. Phys. A 48, 215205 (2015).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from pyrank.theory._arguments import Floats, number_of_features, numbers


def _half_degrees(width: int) -> Floats:
    """(d - k + 1) / 2 for k = 1..d."""
    return np.arange(number_of_features(width), 0, -1) / 2.0


def ginibre_lyapunov_exponents(width: int, scale: float = 1.0) -> Floats:
    """Lyapunov exponents of products of (d, d) matrices with i.i.d. N(0, scale^2) entries.

    ``lambda_k = ln s + (ln 2 + psi((d - k + 1) / 2)) / 2``.

    Parameters
    ----------
    width
        d, at least 1.
    scale
        Standard deviation s of an entry, > 0.

    Returns
    -------
    ndarray, shape (d,)
        Exponents in nats per layer, largest first.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    s = float(numbers("scale", scale, 1e-300, 1e300, "give a finite standard deviation > 0"))
    exponents: Floats = math.log(s) + (math.log(2.0) + special.digamma(_half_degrees(width))) / 2.0
    return exponents


def ginibre_lyapunov_variances(width: int) -> Floats:
    """Variance, per layer, of the k-th log-stretch: ``psi'((d - k + 1) / 2) / 4``; it does not depend on the scale.

    Over L layers the estimate of the k-th exponent has this variance divided by L.

    Parameters
    ----------
    width
        d, at least 1.

    Returns
    -------
    ndarray, shape (d,)
        In nats^2 per layer, in the order of the exponents.

    Raises
    ------
    ArgumentError
        If the width is no whole number >= 1.
    """
    variances: Floats = special.polygamma(1, _half_degrees(width)) / 4.0
    return variances


def ginibre_numerical_rank(width: int, depth: ArrayLike, tolerance: float) -> Floats:
    """Numerical rank that the exponents predict for a product of (d, d) gaussian matrices.

    The singular values fall behind the first one by ``(lambda_1 - lambda_k) depth`` nats, up to fluctuations; counted
    are those that are then still above ``tolerance`` times the first.

    Parameters
    ----------
    width
        d, at least 1.
    depth
        How many matrices are multiplied, any shape.
    tolerance
        Above 0, up to 1: for `numpy.linalg.matrix_rank` d times the unit of the dtype.

    Returns
    -------
    ndarray
        Of the shape of ``depth``, from d down to 1.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    layers = numbers("depth", depth, 0.0, 1e300, "give the number of factors")
    smallest = float(numbers("tolerance", tolerance, 1e-300, 1.0, "give the share of the first that still counts"))
    exponents = ginibre_lyapunov_exponents(width)
    lag = (exponents[0] - exponents) * layers[..., None]
    return np.asarray((lag <= -math.log(smallest)).sum(axis=-1), dtype=np.float64)
