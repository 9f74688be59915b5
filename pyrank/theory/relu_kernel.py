"""Dual kernels: what an activation makes of the correlation of two gaussian pre-activations.

For unit gaussians u, v of correlation rho and an activation F, the kernel is E F(u) F(v) / E F(u)^2. A layer of
infinite width takes the cosine of two columns of F(H) to the kernel of that cosine. For the step function and ReLU
these are the arc-cosine kernels of order 0 and 1 (Y. Cho & L. K. Saul, NeurIPS 2009, Eq. (1), n = 0 and 1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pyrank.theory._arguments import Floats, cosines, gram_matrices, numbers


def step_kernel(cosine: ArrayLike) -> Floats:
    """Order 0: the kernel of the step function, ``1 - arccos(rho) / pi``; also the derivative of `relu_kernel`.

    Parameters
    ----------
    cosine
        rho, from -1 to 1; any shape.

    Returns
    -------
    float or ndarray
        From 0 to 1, of the shape of ``cosine``.

    Raises
    ------
    ArgumentError
        If a cosine is outside of [-1, 1].
    """
    kernel: Floats = 1.0 - np.arccos(cosines(cosine)) / math.pi
    return kernel


def relu_kernel(cosine: ArrayLike) -> Floats:
    """Order 1: the kernel of ReLU, ``(sqrt(1 - rho^2) + (pi - arccos rho) rho) / pi``.

    Parameters
    ----------
    cosine
        As for `step_kernel`.

    Returns
    -------
    float or ndarray
        Cosine of the activations, from 0 to 1.

    Raises
    ------
    ArgumentError
        If a cosine is outside of [-1, 1].
    """
    rho = cosines(cosine)
    kernel: Floats = np.sqrt((1.0 - rho) * (1.0 + rho)) / math.pi + rho * (1.0 - np.arccos(rho) / math.pi)
    return np.maximum(kernel, 0.0)  # near -1 the two terms cancel


def leaky_relu_kernel(cosine: ArrayLike, slope: ArrayLike) -> Floats:
    """Kernel of max(x, 0) + slope min(x, 0): ``((1 + a^2) k(rho) - 2 a k(-rho)) / (1 + a^2)`` with that of ReLU.

    Parameters
    ----------
    cosine
        rho, from -1 to 1; any shape.
    slope
        a, finite; 0 is ReLU, 1 the identity.

    Returns
    -------
    float or ndarray
        Cosine of the activations, of the broadcast shape.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    rho = cosines(cosine)
    a = numbers("slope", slope, -1e100, 1e100, "give the slope of the negative side")
    kernel: Floats = relu_kernel(rho) - 2.0 * a / (1.0 + a * a) * relu_kernel(-rho)
    return kernel


def relu_gram(gram: ArrayLike) -> Floats:
    """``E[F(z) F(z)^T]`` for z ~ N(0, gram) and F = ReLU: the Gram matrix after a layer of infinite width.

    Parameters
    ----------
    gram
        Covariances (..., N, N) of the pre-activations of N samples.

    Returns
    -------
    ndarray, shape (..., N, N)
        ``sqrt(C_ii C_jj) k(rho_ij) / 2`` with the kernel k of ReLU.

    Raises
    ------
    ArgumentError
        If the matrices are no Gram matrices.
    """
    C = gram_matrices("gram", gram)
    lengths = np.sqrt(np.diagonal(C, axis1=-2, axis2=-1))
    products = lengths[..., :, None] * lengths[..., None, :]
    rho = np.divide(C, products, out=np.zeros_like(C), where=products > 0.0)
    activations: Floats = products * relu_kernel(np.clip(rho, -1.0, 1.0)) / 2.0
    return activations
