"""Angles between samples under recentring and ReLU, in layers of infinite width.

A layer takes the Gram matrix Q of the activations to the ReLU dual kernel of P Q P, where P = I - 1 1^T / N takes off
the mean over the batch. Any Q that treats all samples alike has P Q P proportional to P: cosines are -1 / (N - 1)
before the activation and k(-1 / (N - 1)) after it, from the first layer on. Rescaling changes nothing of that: a
centred gaussian vector of covariance P has a direction independent of its length.

The setting is that of I. Nachum et al., "Batch Normalization Decomposed" (arXiv:2412.02843); the cosines and the
multipliers are derived here. The outlier they report is a second fixed point: N - 1 samples in one point, and one
sample at a right angle to it, N - 1 times as long (what attracts is a state nearby, see
`pyrank.theory.escaped_state`). The symmetric state is stable in either case, but differently so:
per layer the mode "one sample stands out" shrinks to 1 - 0.27 / N of itself under RC + ReLU (large N), so slowly that
the fluctuations of a finite width carry a batch to the outlier (N = 20 within 200 layers at width 6000, N = 8 at width
400 but not at 6000), and to 1 - 2.27 / N under RC + RS + ReLU, where no escape was seen.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pyrank.support.errors import invalid
from pyrank.theory._arguments import Floats, cosines, gram_matrices, whole_number, whole_numbers
from pyrank.theory.relu_kernel import relu_gram, relu_kernel, step_kernel


def angle_degrees(cosine: ArrayLike) -> Floats:
    """Angle of a cosine, in degrees.

    Parameters
    ----------
    cosine
        From -1 to 1; any shape.

    Returns
    -------
    float or ndarray
        From 0 to 180, of the shape of ``cosine``.

    Raises
    ------
    ArgumentError
        If a number is no cosine.
    """
    angle: Floats = np.degrees(np.arccos(cosines(cosine)))
    return angle


def recentred_relu_gram(gram: ArrayLike) -> Floats:
    """One layer of RC + ReLU without rescaling: the dual kernel of P Q P.

    Parameters
    ----------
    gram
        Q, Gram matrices (..., N, N) of the activations.

    Returns
    -------
    ndarray, shape (..., N, N)
        Gram matrices one layer on, for weights of variance 1 / width.

    Raises
    ------
    ArgumentError
        If the matrices are no Gram matrices.
    """
    Q = gram_matrices("gram", gram)
    rows = Q - Q.mean(axis=-1, keepdims=True)
    C = rows - rows.mean(axis=-2, keepdims=True)
    diagonal = np.einsum("...ii->...i", C)  # a view: what cancelled must not be left below zero
    np.maximum(diagonal, 0.0, out=diagonal)
    return relu_gram(C)


def recentred_relu_cosine(samples: ArrayLike) -> Floats:
    """Cosine between activations at the symmetric fixed point of RC + ReLU, with or without RS: ``k(-1 / (N - 1))``.

    Parameters
    ----------
    samples
        N, at least 2, or infinity; any shape.

    Returns
    -------
    float or ndarray
        0.2501 (75.5 degrees) for N = 8, 73.0 degrees for N = 20, 1 / pi (71.4 degrees) for N = infinity.

    Raises
    ------
    ArgumentError
        If a batch is smaller than 2.
    """
    n = whole_numbers("samples", samples, 2, "a centred batch needs two samples or more", infinite=True)
    return relu_kernel(-1.0 / (n - 1.0))


def recentred_relu_multipliers(samples: ArrayLike, rescale: bool) -> tuple[Floats, Floats]:
    """Factors by which small deviations from the symmetric fixed point shrink per layer, relative to the whole.

    Deviations of P Q P are of two kinds: P diag(v) P with sum v = 0 (samples of different lengths), and matrices with
    zero diagonal and zero row sums (pairs at different angles). With k1, k0 the ReLU and step kernels at
    rho = -1 / (N - 1) the factors are ``((1 - 2/N)(1 - sqrt(1 - rho^2) / pi) + 2 k0 / N) / D`` and ``k0 / D``,
    ``D = (1 - 1/N)(1 - k1)``; rescaling multiplies both by (N - 1) / (N + 1).

    Parameters
    ----------
    samples
        N, at least 3, or infinity; any shape. The second kind needs N >= 4.
    rescale
        Whether rows are rescaled.

    Returns
    -------
    outlier, pairs : float or ndarray
        Below 1: stable. For N = infinity the first is 1.

    Raises
    ------
    ArgumentError
        If a batch is smaller than 3 or ``rescale`` is no bool.
    """
    n = whole_numbers("samples", samples, 3, "two centred samples have no freedom left", infinite=True)
    if not isinstance(rescale, bool):
        raise invalid("rescale", rescale, "True or False", "give a bool")
    rho, part = -1.0 / (n - 1.0), 1.0 / n
    k0 = step_kernel(rho)
    scale = (1.0 - part) * (1.0 - relu_kernel(rho)) * (1.0 + 2.0 * rescale / (n - 1.0))
    outlier = (1.0 - 2.0 * part) * (1.0 - np.sqrt(1.0 - rho**2) / math.pi) + 2.0 * k0 * part
    return outlier / scale, k0 / scale


def outlier_gram(samples: int) -> Floats:
    """Gram matrix (N, N) of the outlier state: N - 1 equal unit vectors and, last, one at 90 degrees of length N - 1.

    `recentred_relu_gram` multiplies it by (1 + (N - 1)^2) / (2 N^2): up to that scale it is a fixed point.

    Parameters
    ----------
    samples
        N, at least 2.

    Returns
    -------
    ndarray, shape (N, N)

    Raises
    ------
    ArgumentError
        If N is smaller than 2.
    """
    n = whole_number("samples", samples, 2, "an outlier needs others")
    gram = np.ones((n, n))
    gram[-1, :] = gram[:, -1] = 0.0
    gram[-1, -1] = (n - 1.0) ** 2
    return gram
