"""Angles between samples under rescaling and ReLU, without recentring, in layers of infinite width.

"About 60 degrees" is the claim; the statement is a fixed point that depends on N: 63.35 degrees (N = 2), 60.11 (8),
59.84 (10), 59.31 (20), 58.75 (infinity), and 10 to 13 degrees more before the activation. It attracts: a deviation
shrinks to 0.35-0.40 of itself per layer. The collapsed state, where plain ReLU layers end, repels: next to it 1 - cos
becomes of the order of its own square root within one layer.

Rows z of W F are gaussian with covariance Q. Rescaling divides z by its own length, and F is homogeneous, so
Q' = N E[F(z) F(z)^T / |z|^2]. With 1/|z|^2 = int_0^inf exp(-s |z|^2) ds the expectation is again gaussian, with the
covariance (Q^-1 + 2 s)^-1, and the dual kernel of ReLU applies inside the integral. For Q with ones on the diagonal and
rho elsewhere that covariance has two eigenvalues, so one integral gives the map. Derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyrank.support.errors import invalid
from pyrank.theory._arguments import Floats, cosines, whole_numbers
from pyrank.theory.relu_kernel import relu_kernel

# The trapezoidal rule in ln(s) converges exponentially: halving this step changes nothing above 1e-13.
_STEP = 0.1
_NODES = np.exp(np.arange(-42.0, 84.0, _STEP))
_ITERATIONS = 60  # each brings the fixed point closer by 0.4: to 1e-24


def _integrate(rho: Floats, inverse: Floats, relu: bool) -> Floats:
    """N E[z_i z_j / |z|^2], i != j, or the same with ReLU(z), doubled so that i = j would give 1."""
    rho, inverse = np.broadcast_arrays(rho, inverse)
    noise, nu = (1.0 - rho)[..., None], inverse[..., None]  # smaller eigenvalue of Q; nu = 1 / N
    common = rho[..., None] + noise * nu  # larger eigenvalue of Q, over N
    s = _NODES  # stands for N s
    exponent = np.where(nu > 0.0, np.log1p(2.0 * s * noise * nu) / np.where(nu > 0.0, 2.0 * nu, 1.0), s * noise)
    weight = np.exp(-(1.0 - nu) * exponent) / np.sqrt(1.0 + 2.0 * s * common)
    shared, own = common / (1.0 + 2.0 * s * common), noise / (1.0 + 2.0 * s * noise * nu)
    variance, covariance = shared + (1.0 - nu) * own, shared - nu * own
    if relu:
        covariance = variance * relu_kernel(np.clip(covariance / variance, -1.0, 1.0))
    integral: Floats = _STEP * (s * weight * covariance).sum(axis=-1)
    return np.where(rho >= 1.0, 1.0, integral)[()]


def _arguments(cosine: ArrayLike, samples: ArrayLike) -> tuple[Floats, Floats]:
    n = whole_numbers("samples", samples, 2, "an angle needs two samples or more", infinite=True)
    rho = cosines(cosine)
    if np.any(rho < -1.0 / (n - 1.0) - 1e-12):
        raise invalid("cosine", cosine, "at least -1 / (samples - 1)", "N vectors cannot be further apart than that")
    return np.maximum(rho, -1.0 / (n - 1.0)), 1.0 / n


def rescaled_relu_map(cosine: ArrayLike, samples: ArrayLike) -> Floats:
    """Cosine between the activations of any two samples one layer of RS + ReLU on.

    Parameters
    ----------
    cosine
        rho, the cosine between the activations of any two of the samples now; -1 / (N - 1) to 1.
    samples
        N, at least 2, or infinity.

    Returns
    -------
    float or ndarray
        Of the broadcast shape. At rho = -1 / (N - 1) it is `recentred_relu_cosine`.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    return _integrate(*_arguments(cosine, samples), relu=True)


def rescaled_cosine(cosine: ArrayLike, samples: ArrayLike) -> Floats:
    """Cosine between the rescaled pre-activations of any two samples, given that of the activations below them.

    Parameters
    ----------
    cosine, samples
        As for `rescaled_relu_map`.

    Returns
    -------
    float or ndarray
        Of the broadcast shape; it differs from ``cosine``, since every row is divided by its own length.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said there.
    """
    return _integrate(*_arguments(cosine, samples), relu=False)


def rescaled_relu_cosine(samples: ArrayLike) -> Floats:
    """Cosine between activations at the attracting fixed point of RS + ReLU.

    Parameters
    ----------
    samples
        N, at least 2, or infinity; any shape.

    Returns
    -------
    float or ndarray
        0.4984 (60.11 degrees) for N = 8, 0.5104 (59.31) for N = 20, 0.5187 (58.75) for N = infinity.

    Raises
    ------
    ArgumentError
        If a batch is smaller than 2.
    """
    cosine, inverse = _arguments(0.5, samples)
    for _ in range(_ITERATIONS):
        cosine = _integrate(cosine, inverse, relu=True)
    return cosine
