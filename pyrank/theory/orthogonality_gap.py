"""Orthogonality gap and participation ratio say the same: V^2 = 1/r - 1/N.

With G = H^T H / ||H||_F^2, of trace 1, V^2 = ||G - I/N||_F^2 = ||G||_F^2 - 2/N + 1/N, and ||G||_F^2 = 1/r.
V is the orthogonality gap of H. Daneshmand, A. Joudaki & F. Bach, NeurIPS 2021; r that of Daneshmand et al. 2020.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyrank.support.errors import invalid
from pyrank.theory._arguments import Floats, numbers, participation_ratios, whole_numbers

_ROUNDING = 1e-5  # of gaps measured in float32


def _columns(samples: ArrayLike) -> Floats:
    return whole_numbers("samples", samples, 1, "give the number of columns N")


def orthogonality_gap(participation_ratio: ArrayLike, samples: ArrayLike) -> Floats:
    """V = ||H^T H / ||H||_F^2 - I / N||_F of a matrix of N columns, from its participation ratio.

    Parameters
    ----------
    participation_ratio
        r, from 1 to N; any shape.
    samples
        N, the number of columns, at least 1.

    Returns
    -------
    float or ndarray
        V, from 0 (orthogonal columns of equal length, r = N) to sqrt(1 - 1/N) (collinear, r = 1).

    Raises
    ------
    ArgumentError
        If r is not between 1 and N.
    """
    n = _columns(samples)
    r = participation_ratios(participation_ratio, n, "number of samples")
    gap: Floats = np.sqrt(np.maximum(1.0 / r - 1.0 / n, 0.0))
    return gap


def ratio_from_gap(gap: ArrayLike, samples: ArrayLike) -> Floats:
    """Participation ratio r = 1 / (V^2 + 1/N): the inverse of `orthogonality_gap`.

    Parameters
    ----------
    gap
        V, from 0 to sqrt(1 - 1/N).
    samples
        N, at least 1.

    Returns
    -------
    float or ndarray
        r, from 1 to N.

    Raises
    ------
    ArgumentError
        If the gap is outside of its range.
    """
    n = _columns(samples)
    v = numbers("gap", gap, 0.0, 1.0, "it is a norm, at most sqrt(1 - 1/N)")
    if np.any(v**2 > 1.0 - 1.0 / n + _ROUNDING):
        raise invalid("gap", gap, "at most sqrt(1 - 1/N)", "check the batch N")
    ratio: Floats = np.maximum(1.0 / (v**2 + 1.0 / n), 1.0)
    return ratio
