"""The outlier state that attracts: one sample apart from a cluster of samples that lie close, but not in one point.

`outlier_gram` is a fixed point of RC + ReLU, but not a stable one: its cluster is a point, and small distances within
the cluster grow by N / sqrt(1 + (N - 1)^2) per layer, relative to the length of its samples. The reason: near rho = 1
the kernel of ReLU keeps distances up to a common factor, whereas recentring shortens the samples of the cluster, whose
mean is pulled by the outlier. Growth ends where the next term of the kernel, of order (1 - rho)^(3/2), makes up for it:
where samples of the cluster are about 3 pi / N apart (large N), with an outlier a little shorter than N - 1 and almost
at a right angle. Below N = 7 there is no such state: the outlier falls back. Derived here, for layers of infinite
width; see `pyrank.theory.centred_angles` for the setting.

All of these states are three numbers: the cosine within the cluster, the product of the outlier with a sample of it,
and the length of the outlier, the samples of the cluster having length 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize  # type: ignore[import-untyped]

from pyrank.theory._arguments import Floats, whole_number, whole_numbers
from pyrank.theory.centred_angles import angle_degrees
from pyrank.theory.relu_kernel import relu_kernel


def cluster_multiplier(samples: ArrayLike) -> Floats:
    """Growth per layer of small distances within the cluster of `outlier_gram`: ``N / sqrt(1 + (N - 1)^2)``.

    Parameters
    ----------
    samples
        N, at least 3, or infinity; any shape.

    Returns
    -------
    float or ndarray
        Relative to the length of the samples. Above 1: the cluster does not stay a point.

    Raises
    ------
    ArgumentError
        If a batch is smaller than 3.
    """
    n = whole_numbers("samples", samples, 3, "a cluster needs two samples besides the outlier", infinite=True)
    multiplier: Floats = 1.0 / np.hypot(1.0 / n, 1.0 - 1.0 / n)
    return multiplier


def escaped_gram(samples: int) -> Floats:
    """Gram matrix (N, N) of the outlier state that attracts: unit vectors of one cosine and, last, the outlier.

    `recentred_relu_gram` multiplies it by a number.

    Parameters
    ----------
    samples
        N, at least 7: with fewer samples every batch ends in the symmetric state.

    Returns
    -------
    ndarray, shape (N, N)
        For N = 8, 20 and 64 samples of the cluster are 54.65, 24.54 and 8.18 degrees apart, the outlier is 87.54, 89.82
        and 89.99 degrees from them, and 5.10, 18.08 and 62.67 times as long.

    Raises
    ------
    ArgumentError
        If N is smaller than 7.
    """
    n = whole_number("samples", samples, 7, "smaller batches have no outlier that stays")
    start = [max(math.cos(3.0 * math.pi / n), 0.5), 0.0, n - 1.0]
    found = optimize.root(lambda state: reduced_layer(state, n) - state, start, tol=1e-13)
    cosine, product, length = found.x
    gram = np.full((n, n), cosine)
    np.fill_diagonal(gram, 1.0)
    gram[-1, :] = gram[:, -1] = product
    gram[-1, -1] = length**2
    return gram


class EscapedShape(NamedTuple):
    """What `escaped_gram` looks like.

    Attributes
    ----------
    length
        Of the outlier, over N - 1 times that of the others.
    angle
        Between the outlier and any other sample, in degrees.
    cluster
        The angle between two of the others, in degrees.
    spread
        Root of the mean squared distance of the others from their mean, over their mean squared length.
    """

    length: float
    angle: float
    cluster: float
    spread: float


def escaped_shape(samples: int) -> EscapedShape:
    """Lengths and angles of `escaped_gram`.

    Parameters
    ----------
    samples
        N, at least 7.

    Returns
    -------
    EscapedShape
        (0.729, 87.54, 54.65, 0.601) for N = 8, (0.952, 89.82, 24.54, 0.292) for N = 20, (0.995, 89.99, 8.18, 0.100) for
        N = 64.

    Raises
    ------
    ArgumentError
        If N is smaller than 7.
    """
    gram = escaped_gram(samples)
    n, length = len(gram), math.sqrt(gram[-1, -1])
    angle, cluster = angle_degrees([gram[0, -1] / length, gram[0, 1]])
    spread = math.sqrt((1.0 - gram[0, 1]) * (n - 2) / (n - 1))
    return EscapedShape(length / (n - 1), float(angle), float(cluster), spread)


def escaped_multiplier(samples: int) -> float:
    """Factor per layer by which a small deviation from `escaped_gram` shrinks, if it treats all the cluster alike.

    Recentring leaves such states one degree of freedom, so that their Jacobian has one eigenvalue that is not 0: its
    trace, taken by central differences.

    Parameters
    ----------
    samples
        N, at least 7.

    Returns
    -------
    float
        0.931 for N = 8, 0.952 for N = 20, 0.984 for N = 64.

    Raises
    ------
    ArgumentError
        If N is smaller than 7.
    """
    gram, step = escaped_gram(samples), 1e-5
    state = reduced(gram)
    ahead, behind = ([reduced_layer(state + h * axis, len(gram)) for axis in np.eye(3)] for h in (step, -step))
    return float(np.trace(np.subtract(ahead, behind)) / (2.0 * step))


def reduced(gram: Floats) -> Floats:
    """Return the three numbers of a Gram matrix with a cluster and, last, an outlier."""
    return np.array([gram[0, 1], gram[0, -1], math.sqrt(gram[-1, -1])])


def reduced_layer(state: Floats, n: int) -> Floats:
    """Return the three numbers one layer on."""
    cosine, product, length = state
    mean = (1.0 + (n - 2) * cosine + product) / n  # product of a sample of the cluster with the mean
    outlier_mean = ((n - 1) * product + length**2) / n
    square = ((n - 1) * mean + outlier_mean) / n
    size = 1.0 - 2.0 * mean + square
    ratio = math.sqrt((length**2 - 2.0 * outlier_mean + square) / size)
    near = (cosine - 2.0 * mean + square) / size
    apart = (product - mean - outlier_mean + square) / (size * ratio)
    return np.array([relu_kernel(near), ratio * relu_kernel(apart), ratio])
