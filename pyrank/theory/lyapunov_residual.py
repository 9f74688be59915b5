"""Growth rates of a product of I + gamma W, W gaussian: unnormalised chains with a skip connection.

W is invariant under rotations, so the directions gathered over earlier layers do not matter, and the exponents are
expectations over one layer: lambda_k = E ln |R_kk| for the QR factorisation of I + gamma W (Daneshmand et al. 2020,
Lemma 3; the finite-d spectrum: P. J. Forrester & J. Zhang, arXiv:1805.05529). For k = 1 this is the expectation of
ln |u + gamma g| for a unit vector u and gaussian g: gamma^2 times a non-central chi-square variable with d degrees of
freedom and non-centrality 1 / gamma^2, that is, a Poisson mixture of chi-squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # type: ignore[import-untyped]

from pyrank.theory._arguments import Floats, number_of_features, numbers, whole_number

_SMALLEST, _LARGEST = 1e-4, 1e100
_TAIL = 12.0  # standard deviations of the Poisson law that are summed on either side, besides a hundred terms


def at_each_gamma(formula: Callable[[float], float], gamma: ArrayLike, largest: float = _LARGEST) -> Floats:
    """Evaluate a formula at strengths for which the Poisson mixture can be summed, or raise."""
    strengths = numbers("gamma", gamma, _SMALLEST, largest, "below it use weak_residual_exponents; for gamma = inf "
                        "use ginibre_lyapunov_exponents")  # fmt: skip
    values: Floats = np.vectorize(formula, otypes=[np.float64])(strengths)[()]
    return values


def poisson_terms(m: float) -> tuple[Floats, Floats]:
    """Values j of a Poisson variable of mean m that matter, and their weights."""
    reach = _TAIL * math.sqrt(m) + 100.0
    j = np.arange(max(0, math.floor(m - reach)), math.ceil(m + reach) + 1, dtype=np.float64)
    # from ratios of neighbours: m^j e^-m / j! itself would lose the digits of m ln m
    logs = np.concatenate(([0.0], np.cumsum(np.log(m / j[1:]))))
    weights = np.exp(logs - logs.max())
    return j, weights / weights.sum()


def _top(width: int, gamma: float) -> tuple[float, float]:
    """Mean and variance of ln |u + gamma g|."""
    m = 0.5 / gamma**2
    if m < 1e-200:  # the skip connection is lost in rounding
        half = width / 2.0
        return math.log(gamma) + (math.log(2.0) + special.digamma(half)) / 2.0, special.polygamma(1, half) / 4.0
    j, weights = poisson_terms(m)
    x = width / 2.0 + j
    # ln gamma + (ln 2) / 2 = -(ln m) / 2, taken off term by term so that small exponents keep their digits
    terms = special.digamma(x) - np.log(x) + np.log1p((x - m) / m) if m > 1.0 else special.digamma(x) - math.log(m)
    mean = float(weights @ terms)
    return mean / 2.0, float(weights @ ((terms - mean) ** 2 + special.polygamma(1, x))) / 4.0


def residual_top_exponent(width: int, gamma: ArrayLike) -> Floats:
    """Top Lyapunov exponent of products of I + gamma W, with i.i.d. N(0, 1) entries in the (d, d) matrices W.

    ``lambda_1 = ln gamma + (ln 2 + sum_j Poisson(j; 1 / (2 gamma^2)) psi(d / 2 + j)) / 2``.

    Parameters
    ----------
    width
        d, at least 1.
    gamma
        Strength of the random branch, from 1e-4 to 1e100; any shape.

    Returns
    -------
    float or ndarray
        Nats per layer, of the shape of ``gamma``. For d = 2 it is E_1(1 / (2 gamma^2)) / 2.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    d = number_of_features(width)
    return at_each_gamma(lambda g: _top(d, g)[0], gamma)


def residual_top_variance(width: int, gamma: ArrayLike) -> Floats:
    """Variance, per layer, of the logarithm by which I + gamma W stretches a vector: that of the same mixture.

    Parameters
    ----------
    width, gamma
        As for `residual_top_exponent`.

    Returns
    -------
    float or ndarray
        Nats^2 per layer, of the shape of ``gamma``.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said there.
    """
    d = number_of_features(width)
    return at_each_gamma(lambda g: _top(d, g)[1], gamma)


def weak_residual_exponents(width: int, gamma: float) -> Floats:
    """Lyapunov exponents of products of I + gamma W to leading order in gamma: ``gamma^2 (d - 2 k) / 2``.

    Neighbours differ by gamma^2, so a representation needs 1 / gamma^2 layers to lose a direction. The next order is
    smaller by a factor of about gamma^2 d.

    Parameters
    ----------
    width
        d, at least 1.
    gamma
        Strength of the random branch, from 0 on, small against 1 / sqrt d.

    Returns
    -------
    ndarray, shape (d,)
        Nats per layer, largest first.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    d = number_of_features(width)
    g = float(numbers("gamma", gamma, 0.0, 1.0 / math.sqrt(d), "the expansion needs gamma sqrt(d) < 1; use "
                      "residual_lyapunov_spectrum"))  # fmt: skip
    return g**2 * (d - 2.0 * np.arange(1, d + 1, dtype=np.float64)) / 2.0


def residual_lyapunov_spectrum(width: int, gamma: float, samples: int = 10_000, seed: int = 0) -> tuple[Floats, Floats]:
    """All Lyapunov exponents of products of I + gamma W, by Monte Carlo: ``lambda_k = E ln |R_kk|``.

    Layers need not be multiplied: one QR factorisation of an independent I + gamma W is one exact sample.

    Parameters
    ----------
    width, gamma
        d, at least 1, and the strength of the random branch, from 1e-100 to 1e100.
    samples
        Number of factorisations, at least 2; the cost is about samples * d^3.
    seed
        Seed of the numpy generator, >= 0.

    Returns
    -------
    exponents, stderr : ndarray, shape (d,)
        Nats per layer, largest first up to the error, and the standard errors.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    d, n = number_of_features(width), whole_number("samples", samples, 2, "a standard error needs two samples or more")
    g = float(numbers("gamma", gamma, 1e-100, _LARGEST, "for gamma = inf use ginibre_lyapunov_exponents"))
    generator = np.random.default_rng(whole_number("seed", seed, 0, "give an integer seed"))
    chunk = max(1, 2**20 // d**2)
    stretches = np.empty((n, d))
    for start in range(0, n, chunk):
        count = min(chunk, n - start)
        R = np.linalg.qr(np.eye(d) + g * generator.standard_normal((count, d, d)), mode="r")
        stretches[start : start + count] = np.log(np.abs(np.diagonal(R, axis1=-2, axis2=-1)))
    stderr: Floats = stretches.std(axis=0, ddof=1) / math.sqrt(n)
    return np.asarray(stretches.mean(axis=0)), stderr
