"""What every formula asks of its arguments: numbers within a range, or whole numbers from some value on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.support.errors import invalid

Floats = NDArray[np.float64]


def _first(array: Floats, good: NDArray[np.bool_], value: object) -> object:
    """Return what an error shows: the value, or the first bad one of many."""
    return float(array[~good][0]) if array.ndim else value


def numbers(argument: str, value: ArrayLike, low: float, high: float, remedy: str) -> Floats:
    """Return ``value`` as float64, all within [low, high] (NaN is outside of every range), or raise."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.asarray(math.nan)
    good = (array >= low) & (array <= high)
    if not np.all(good):
        raise invalid(argument, _first(array, good, value), f"numbers from {low:g} to {high:g}", remedy)
    return array


def whole_numbers(argument: str, value: ArrayLike, low: int, remedy: str, infinite: bool = False) -> Floats:
    """Return whole numbers >= ``low`` as float64, or raise; infinity is one of them if ``infinite``."""
    high = math.inf if infinite else 2.0**53
    array = numbers(argument, value, low, high, remedy)
    good = array == np.floor(array)
    if not np.all(good):
        raise invalid(argument, _first(array, good, value), f"whole numbers >= {low}", remedy)
    return array


def whole_number(argument: str, value: object, low: int, remedy: str) -> int:
    """Return one whole number >= ``low`` as an int, or raise."""
    array = whole_numbers(argument, value, low, remedy)  # type: ignore[arg-type]
    if array.ndim:
        raise invalid(argument, value, "a single whole number", remedy)
    return int(array)


def number_of_features(width: object) -> int:
    """Return a width d >= 1 as an int, or raise."""
    return whole_number("width", width, 1, "give the number of features d")


def cosines(cosine: ArrayLike) -> Floats:
    """Return cosines as float64, or raise; what rounding carried past -1 or 1 is brought back."""
    rounding = 1e-9
    array = numbers("cosine", cosine, -1.0 - rounding, 1.0 + rounding, "give the cosine of an angle, not the angle")
    return np.clip(array, -1.0, 1.0)


def participation_ratios(ratio: ArrayLike, most: Floats | float, meaning: str) -> Floats:
    """Return participation ratios from 1 to ``most`` as float64, or raise."""
    rounding = 1e-5  # that of ratios measured in float32
    array = numbers("participation_ratio", ratio, 1.0 - rounding, 1e300, "it lies between 1 and the rank")
    if np.any(array > most * (1.0 + rounding)):
        raise invalid("participation_ratio", ratio, f"at most the {meaning}", "check which is which")
    return array


def gram_matrices(argument: str, value: ArrayLike) -> Floats:
    """Return symmetric matrices (..., N, N) of inner products as float64, or raise."""
    remedy = "pass F.T @ F of a hidden matrix F (d, N)"
    array = numbers(argument, value, -1e150, 1e150, remedy)  # squares are taken
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or not array.size:
        raise invalid(argument, array.shape, "matrices of shape (..., N, N)", remedy)
    if np.abs(array - np.swapaxes(array, -1, -2)).max() > 1e-9 * np.abs(array).max():
        raise invalid(argument, array.shape, "symmetric matrices", remedy)
    squares = np.diagonal(array, axis1=-2, axis2=-1)
    if squares.min() < 0 or np.any(array**2 > (1.0 + 1e-6) * squares[..., :, None] * squares[..., None, :]):
        raise invalid(argument, array.shape, "squared norms on the diagonal and no entry above what they allow", remedy)
    return array


def positive_definite_matrices(argument: str, value: ArrayLike) -> Floats:
    """Return symmetric positive definite matrices (..., d, d) as float64, or raise."""
    remedy = "pass E x x^T of features that are not collinear"
    array = numbers(argument, value, -1e150, 1e150, remedy)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or not array.size:
        raise invalid(argument, array.shape, "matrices of shape (..., d, d)", remedy)
    if np.abs(array - np.swapaxes(array, -1, -2)).max() > 1e-9 * np.abs(array).max():
        raise invalid(argument, array.shape, "symmetric matrices", remedy)
    smallest = np.linalg.eigvalsh(array)[..., 0].min()
    if smallest <= 0.0:
        raise invalid(argument, f"a matrix with the eigenvalue {smallest:.3g}", "positive definite matrices", remedy)
    return array
