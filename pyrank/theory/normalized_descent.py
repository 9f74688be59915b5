"""Least squares with and without normalisation: how fast descent with a constant step ends (Cai, Li and Shen 2019).

Minimise E (y - x.v)^2 / 2 with E x x^T = H, E x y = g and the solution u = H^-1 g. Plain descent on v multiplies its
error by I - step H. With normalisation, v = scale w / sqrt(w^T H w). At a solution w = c u the matrix of second
derivatives in w is H* / c^2 with

    H* = H - g g^T / (u^T H u).

The only direction without curvature is u itself, along which the length of w changes, on which nothing depends. Second
derivatives in w and the scale are zero there, and the one in the scale is 1. So errors of the direction are multiplied
by I - (step / c^2) H*, and the error of the scale by 1 - step. With H = L L^T, H* = L (I - q q^T) L^T for the unit
vector q along L^-1 g, so its d - 1 other eigenvalues are the squared singular values of L on the complement of q. By
interlacing they lie between those of H: the pseudo-condition number is at most the condition number, and 1 for d = 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyrank.support.errors import invalid
from pyrank.theory._arguments import Floats, numbers, positive_definite_matrices

_STEP = "give the step of descent"


def pseudo_condition_number(H: ArrayLike, g: ArrayLike) -> Floats:
    """Ratio of the largest to the smallest eigenvalue of H* = H - g g^T / (u^T H u) other than zero, u = H^-1 g.

    Parameters
    ----------
    H
        E x x^T, symmetric and positive definite, (..., d, d) with d >= 2.
    g
        E x y, (..., d), not zero.

    Returns
    -------
    float or ndarray
        From 1 to the condition number of H, of shape (...): what the condition number is for plain descent, this is
        for the normalised one (Cai, Li and Shen, ICML 2019).

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    curvatures = normalized_curvatures(H, g)
    if curvatures.shape[-1] == 0:
        raise invalid("H", (1, 1), "d >= 2 features", "with one feature there is no direction to find")
    ratio: Floats = curvatures[..., -1] / curvatures[..., 0]
    return ratio


def normalized_curvatures(H: ArrayLike, g: ArrayLike) -> Floats:
    """Eigenvalues of H* = H - g g^T / (u^T H u) other than the zero of u = H^-1 g itself.

    Parameters
    ----------
    H
        E x x^T, symmetric and positive definite, (..., d, d).
    g
        E x y, (..., d), not zero.

    Returns
    -------
    ndarray
        The d - 1 positive ones, ascending, of shape (..., d - 1).

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    H, g = _problem(H, g)
    L = np.linalg.cholesky(H)
    q = np.linalg.solve(L, g[..., None])
    complement = np.linalg.qr(q, mode="complete").Q[..., 1:]
    squared: Floats = np.linalg.svd(L @ complement, compute_uv=False)[..., ::-1] ** 2
    return squared


def descent_rate(H: ArrayLike, learning_rate: ArrayLike) -> Floats:
    """Factor by which plain descent shrinks the error of its weights per step, in the end.

    Parameters
    ----------
    H
        E x x^T, symmetric and positive definite, (..., d, d).
    learning_rate
        The constant step, positive, of shape (...) or one for all.

    Returns
    -------
    float or ndarray
        ``max |1 - learning_rate lambda|`` over the eigenvalues of H, of the broadcast shape (...): above 1, where
        descent diverges, for rates above 2 / lambda_max, and least for 2 / (lambda_max + lambda_min)
        (`best_descent_rate`).

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    eigenvalues = np.linalg.eigvalsh(positive_definite_matrices("H", H))
    step = numbers("learning_rate", learning_rate, 0.0, 1e150, _STEP)
    rate: Floats = np.abs(1.0 - step[..., None] * eigenvalues).max(axis=-1)
    return rate


def normalized_descent_rate(
    H: ArrayLike, g: ArrayLike, learning_rate: ArrayLike, length: ArrayLike, scale_rate: ArrayLike | None = None
) -> Floats:
    """Factor by which normalised descent shrinks the error of its prediction per step, in the end.

    Parameters
    ----------
    H
        E x x^T, symmetric and positive definite, (..., d, d).
    g
        E x y, (..., d), not zero.
    learning_rate
        The constant step of w, positive, of shape (...) or one for all.
    length
        ``|w|`` in the end. A step never shortens w, because its gradient is at right angles to it; so large steps
        stretch w until they fit, which is why they do not diverge.
    scale_rate
        The constant step of the scale: that of w if not given.

    Returns
    -------
    float or ndarray
        The larger of ``|1 - scale_rate|`` and ``max |1 - learning_rate (|u| / length)^2 lambda|`` over the eigenvalues
        of H* other than zero (`normalized_curvatures`), of the broadcast shape (...).

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    curvatures = normalized_curvatures(H, g)
    u = np.linalg.solve(np.asarray(H, dtype=np.float64), np.asarray(g, dtype=np.float64)[..., None])[..., 0]
    step = numbers("learning_rate", learning_rate, 0.0, 1e150, _STEP)
    of_scale = step if scale_rate is None else numbers("scale_rate", scale_rate, 0.0, 1e150, _STEP)
    size = numbers("length", length, 1e-150, 1e150, "give the length of w in the end")
    effective = step * (np.linalg.norm(u, axis=-1) / size) ** 2
    direction = np.abs(1.0 - effective[..., None] * curvatures).max(axis=-1, initial=0.0)
    rate: Floats = np.maximum(direction, np.abs(1.0 - of_scale))
    return rate


def best_descent_rate(condition_number: ArrayLike) -> Floats:
    """Least factor per step that a constant step can have: (kappa - 1) / (kappa + 1).

    Parameters
    ----------
    condition_number
        kappa >= 1: that of H for plain descent, the pseudo-condition number for the normalised one.

    Returns
    -------
    float or ndarray
        The rate for the step 2 / (lambda_max + lambda_min), of the shape of the argument.

    Raises
    ------
    ArgumentError
        If the argument is outside of what is said here.
    """
    kappa = numbers("condition_number", condition_number, 1.0, 1e300, "it is lambda_max / lambda_min, at least 1")
    rate: Floats = (kappa - 1.0) / (kappa + 1.0)
    return rate


def _problem(H: ArrayLike, g: ArrayLike) -> tuple[Floats, Floats]:
    """Return matrices (..., d, d) and vectors (..., d) that fit, or raise."""
    matrices = positive_definite_matrices("H", H)
    vectors = numbers("g", g, -1e150, 1e150, "give E x y")
    d = matrices.shape[-1]
    if vectors.ndim == 0 or vectors.shape[-1] != d or vectors.shape[:-1] != matrices.shape[:-2]:
        raise invalid("g", vectors.shape, f"shape {matrices.shape[:-1]}, that of a row of H", "give E x y")
    if not np.all(np.any(vectors, axis=-1)):
        raise invalid("g", 0, "a vector other than zero", "if x and y are not correlated, there is nothing to find")
    return matrices, vectors
