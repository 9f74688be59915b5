"""Squared singular values of a product P = W_L ... W_1 of square gaussian matrices with entries of variance 1 / d.

For d -> infinity at fixed L the eigenvalues x of P P^T follow the Fuss-Catalan law. Its moments are the Fuss-Catalan
numbers (K. A. Penson & K. Zyczkowski, Phys. Rev. E 83, 061118, 2011), and it has the elementary parametrisation of
P. Biane (see U. Haagerup & S. Moeller, arXiv:1211.4457): for 0 < phi < pi / (L + 1)

    x       = sin^(L+1)((L+1) phi) / (sin phi sin^L(L phi)),
    density = sin^2 phi sin^(L-1)(L phi) / (pi sin^L((L+1) phi)),
    P(X > x) = ((L+1) phi - L sin phi sin((L+1) phi) / sin(L phi)) / pi.

The last line is the integral of the second, done here. L = 1 is the Marchenko-Pastur law.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pyrank.theory._arguments import Floats, numbers, whole_number, whole_numbers

_BISECTIONS = 200  # enough to resolve eigenvalues of 1e-60


def _factors(factors: int) -> int:
    return whole_number("factors", factors, 1, "give the number of matrices L")


def _factors_and_eigenvalues(factors: int, x: ArrayLike) -> tuple[int, Floats]:
    return _factors(factors), numbers("x", x, -1e300, 1e300, "give finite eigenvalues")


def _sines(delta: Floats, L: int) -> tuple[Floats, Floats, Floats]:
    """Sines of phi, L phi and (L + 1) phi at phi = pi / (L + 1) - delta; small eigenvalues have small delta."""
    phi = np.maximum(math.pi / (L + 1) - delta, 1e-300)
    return np.sin(phi), np.sin(L * phi), np.sin((L + 1) * np.minimum(phi, delta))


def _solve(x: Floats, L: int) -> Floats:
    """Delta at which the parametrisation gives x, for x between 0 and the edge."""
    low, high = np.zeros_like(x), np.full_like(x, math.pi / (L + 1))
    with np.errstate(divide="ignore"):
        target = np.log(x)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            one, most, all_ = _sines(middle, L)
            below = (L + 1) * np.log(all_) - np.log(one) - L * np.log(most) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2.0


def ginibre_product_edge(factors: int) -> float:
    """Upper edge of the limiting law, ``(L + 1)^(L + 1) / L^L``.

    Parameters
    ----------
    factors
        L, at least 1.

    Returns
    -------
    float
        The largest eigenvalue of P P^T in the limit.

    Raises
    ------
    ArgumentError
        If L is no whole number >= 1.
    """
    L = _factors(factors)
    return (L + 1.0) * (1.0 + 1.0 / L) ** L


def ginibre_product_density(x: ArrayLike, factors: int) -> Floats:
    """Limiting density of the eigenvalues of P P^T.

    Parameters
    ----------
    x
        Where, finite; any shape.
    factors
        L, at least 1.

    Returns
    -------
    float or ndarray
        Of the shape of ``x``: 0 outside of the support, infinite at x = 0, where it diverges as x^(-L/(L+1)).

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    L, at = _factors_and_eigenvalues(factors, x)
    inside = (at > 0.0) & (at < ginibre_product_edge(L))
    one, most, all_ = _sines(_solve(np.where(inside, at, 1.0), L), L)
    density = np.exp(2.0 * np.log(one) + (L - 1) * np.log(most) - L * np.log(all_)) / math.pi
    return np.where(inside, density, np.where(at == 0.0, math.inf, 0.0))[()]


def ginibre_product_cdf(x: ArrayLike, factors: int) -> Floats:
    """Share of the eigenvalues of P P^T that is at most x, in the limit.

    Parameters
    ----------
    x, factors
        As for `ginibre_product_density`.

    Returns
    -------
    float or ndarray
        From 0 to 1, of the shape of ``x``.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said there.
    """
    L, at = _factors_and_eigenvalues(factors, x)
    edge = ginibre_product_edge(L)
    inside = (at > 0.0) & (at < edge)
    delta = _solve(np.where(inside, at, 1.0), L)
    one, most, all_ = _sines(delta, L)
    share = ((L + 1) * delta + L * one * all_ / most) / math.pi
    return np.where(inside, share, np.where(at >= edge, 1.0, 0.0))[()]


def ginibre_product_moment(order: int, factors: int) -> int:
    """Moment E x^n of the limiting law: the Fuss-Catalan number ``binomial((L + 1) n, n) / (L n + 1)``.

    Parameters
    ----------
    order
        n, at least 0.
    factors
        L, at least 1.

    Returns
    -------
    int
        Exact.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    n, L = whole_number("order", order, 0, "give the order n of the moment"), _factors(factors)
    return math.comb((L + 1) * n, n) // (L * n + 1)


def ginibre_product_second_moments(width: ArrayLike, factors: ArrayLike) -> tuple[Floats, Floats]:
    """``E ||P P^T||_F^2`` and ``E Tr(P P^T)^2``, exact at every width for gaussian entries of variance 1 / d.

    By Wick's theorem one more factor multiplies the two by ((d + 1, 1), (2, d)) / d, whose eigenvalues are 1 + 2/d and
    1 - 1/d; both are d and d^2 for no factor. Their ratio falls from d towards 1: rank collapse within about d layers.
    (E Tr(P P^T) = d for any L.) Derived here.

    Parameters
    ----------
    width, factors
        d, at least 1, and L, at least 0; of any shapes that broadcast.

    Returns
    -------
    squared_norm, squared_trace : float or ndarray
        For large d the first is d (L + 1), the second moment of the limiting law.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    d = whole_numbers("width", width, 1, "give the width d")
    L = whole_numbers("factors", factors, 0, "give the number of matrices L")
    growing = d * (d + 2.0) / 3.0 * (1.0 + 2.0 / d) ** L
    shrinking = d * (d - 1.0) / 3.0 * (1.0 - 1.0 / d) ** L
    return growing - shrinking, growing + 2.0 * shrinking
