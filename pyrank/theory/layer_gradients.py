"""Gradients of one layer with and without normalisation (Morwani 2020, section 3.1).

Let G be the gradient of a loss with respect to the output of a layer, features x samples like its input Y. Without
normalisation the output is W Y + b, and the gradients with respect to W and Y are G Y^T and W^T G: both grow with what
they are multiplied by, so that activations, gradients and weights drive each other up, layer after layer.

With it, a row z = c / s of the normalised pre-activation has mean 0 and size s = (mean |c|^p)^(1/p), so a change of c
moves s by phi(z).dc / n, phi(z) = |z|^(p - 1) sign z. Hence the gradient with respect to a row of W Y + b is

    (gamma / s) (I - 1 1^T / n) (I - phi(z) z^T / n) G_row,

for p = 2 the note's (gamma / s) (I - 1 1^T / n - z z^T / n) G_row, where it leaves out the n under z z^T. Then it is no
longer than gamma / s times G_row, and s grows with W: what W multiplies, s divides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.support.errors import invalid
from pyrank.theory._arguments import Floats, numbers

_ORDERS = (1, 2, 3, math.inf)


class LayerGradients(NamedTuple):
    """Gradients of a loss with respect to what goes into a layer.

    Attributes
    ----------
    weights
        With respect to W, (m, d).
    inputs
        With respect to Y, (d, n).
    """

    weights: NDArray[np.float64]
    inputs: NDArray[np.float64]


def linear_gradients(weights: ArrayLike, inputs: ArrayLike, upstream: ArrayLike) -> LayerGradients:
    """Gradients of a loss through W Y + b: G Y^T and W^T G.

    Parameters
    ----------
    weights
        W, (m, d).
    inputs
        Y, (d, n), a column a sample.
    upstream
        G, the gradient with respect to the output, (m, n).

    Returns
    -------
    LayerGradients
        With respect to W and Y.

    Raises
    ------
    ArgumentError
        If an argument has another shape.
    """
    W, Y, G = _layer(weights, inputs, upstream)
    return LayerGradients(G @ Y.T, W.T @ G)


def normalized_gradients(
    weights: ArrayLike,
    inputs: ArrayLike,
    upstream: ArrayLike,
    scale: ArrayLike = 1.0,
    recentre: bool = True,
    order: float = 2,
) -> LayerGradients:
    """Gradients of a loss through gamma (W Y + b - mu) / s + beta, statistics of the batch included.

    Parameters
    ----------
    weights
        W, (m, d).
    inputs
        Y, (d, n), a column a sample.
    upstream
        G, the gradient with respect to the output, (m, n).
    scale
        gamma, one number or (m,).
    recentre
        Whether the mean mu over the batch is subtracted; otherwise there is no b either.
    order
        p of the size ``s = (mean |.|^p)^(1/p)``: 1, 2, 3 or infinity.

    Returns
    -------
    LayerGradients
        With respect to W and Y. A row of zeros, which no size can divide, passes none.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    W, Y, G = _layer(weights, inputs, upstream)
    gamma = numbers("scale", scale, -1e150, 1e150, "give gamma, one number or one a row of W")
    if gamma.shape not in ((), W.shape[:1]):
        raise invalid("scale", gamma.shape, f"one number or {len(W)}, one a row of W", "check its length")
    if order not in _ORDERS:
        raise invalid("order", order, "1, 2, 3 or math.inf", "check p")
    rows = W @ Y
    if recentre:
        rows = rows - rows.mean(axis=1, keepdims=True)
    size, slope = _size(rows, order)
    z = np.divide(rows, size, out=np.zeros_like(rows), where=size > 0.0)
    passed = G - slope * (z * G).mean(axis=1, keepdims=True)
    if recentre:
        passed = passed - passed.mean(axis=1, keepdims=True)
    passed = np.divide(gamma.reshape(-1, 1) * passed, size, out=np.zeros_like(rows), where=size > 0.0)
    return LayerGradients(passed @ Y.T, W.T @ passed)


def _size(rows: Floats, order: float) -> tuple[Floats, Floats]:
    """Return the size s of each row, (m, 1), and n times its derivatives with respect to the row's entries."""
    absolute = np.abs(rows)
    if math.isinf(order):
        size = absolute.max(axis=1, keepdims=True)
        largest = absolute == size
        slope = np.sign(rows) * largest * (rows.shape[1] / largest.sum(axis=1, keepdims=True))  # ties share it
        return size, slope
    size = np.mean(absolute**order, axis=1, keepdims=True) ** (1.0 / order)
    z = np.divide(absolute, size, out=np.zeros_like(rows), where=size > 0.0)
    return size, np.sign(rows) * z ** (order - 1.0)


def _layer(weights: ArrayLike, inputs: ArrayLike, upstream: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return W (m, d), Y (d, n) and G (m, n) as float64, or raise."""
    named = {"weights": weights, "inputs": inputs, "upstream": upstream}
    W, Y, G = (numbers(name, value, -1e150, 1e150, "give a matrix") for name, value in named.items())
    for name, matrix in zip(named, (W, Y, G), strict=True):
        if matrix.ndim != 2 or not matrix.size:
            raise invalid(name, matrix.shape, "a matrix", "features are rows, samples columns")
    if Y.shape[0] != W.shape[1]:
        raise invalid("inputs", Y.shape, f"{W.shape[1]} rows, one a column of W", "a column is a sample")
    if G.shape != (W.shape[0], Y.shape[1]):
        raise invalid("upstream", G.shape, f"{(W.shape[0], Y.shape[1])}, that of W Y", "a column is a sample")
    return W, Y, G
