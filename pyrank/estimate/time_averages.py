"""How fast averages over the layers of a chain settle: their errors against the number of layers in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.estimate.intervals import mean_interval

Floats = NDArray[np.float64]


def squared_errors(values: ArrayLike, lengths: ArrayLike) -> Floats:
    """Average over stretches, side by side, of each length; return how far off these averages are.

    Parameters
    ----------
    values
        Shape (chains, layers), all from one law.
    lengths
        Layers in a stretch, shape (lengths,), none above ``layers``; what is left over at the end is not used.

    Returns
    -------
    ndarray, shape (chains, lengths)
        Mean over the stretches of a chain of the squared difference from the mean of all values.
    """
    values = np.asarray(values, dtype=float)
    centre = values.mean()
    columns = []
    for length in np.asarray(lengths):
        whole = values[:, : values.shape[1] // length * length]
        averages = whole.reshape(len(values), -1, length).mean(axis=2)
        columns.append(((averages - centre) ** 2).mean(axis=1))
    return np.stack(columns, axis=1)


def root_mean_square(squares: Floats) -> tuple[Floats, Floats]:
    """Return the root of the mean over chains of `squared_errors`, (lengths,), and half of its 95 % interval."""
    square, half_width = mean_interval(squares)
    error = np.sqrt(square)
    return error, half_width / (2 * error)


def error_slope(squares: Floats, lengths: ArrayLike, groups: int) -> tuple[float, float]:
    """Fit the slope of log error against log length: -1/2 for stretches far longer than the memory of a chain.

    Errors at different lengths are those of the same chains, and not independent; groups of chains are.

    Parameters
    ----------
    squares
        `squared_errors` of each chain, (chains, lengths).
    lengths
        Shape (lengths,).
    groups
        Into how many groups the chains are split; in each a line is fitted by least squares.

    Returns
    -------
    slope, half_width
        Mean over groups, and half of its 95 % interval (Student).
    """
    errors = np.sqrt([group.mean(axis=0) for group in np.array_split(squares, groups)])
    slopes = np.polyfit(np.log(lengths), np.log(errors).T, 1)[0]
    mean, half_width = mean_interval(slopes)
    return float(mean), float(half_width)
