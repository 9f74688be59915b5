"""The soft rank is at least a multiple of the participation ratio (Daneshmand et al. 2020, Lemma 1 and Theorem 2).

Eigenvalues of M below tau carry at most tau d of the trace d, the k others at least (1 - tau) d, and by Cauchy-Schwarz
((1 - tau) d)^2 <= k ||M||_F^2: so rank_tau >= (1 - tau)^2 r with r = d^2 / ||M||_F^2 (Lemma 1). Being linear in r, the
bound holds for means over layers as well, and Theorem 2 shows that for small gamma the mean of r along the linear chain
is at least of order sqrt(d). That theorem names no constant, so there is none here.

Counting what is below tau as well sharpens the lemma. The eigenvalues have mean 1 and variance v = d / r - 1, and the
one-sided Chebyshev inequality bounds the share of those below tau by v / (v + (1 - tau)^2).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pyrank.theory._arguments import Floats, numbers, participation_ratios, whole_numbers


def soft_rank_bound(participation_ratio: ArrayLike, tau: ArrayLike, width: ArrayLike | None = None) -> Floats:
    """Least number of eigenvalues >= tau that a matrix M with Tr M = d and this participation ratio can have.

    Parameters
    ----------
    participation_ratio
        r = Tr(M)^2 / ||M||_F^2, at least 1; or, without ``width``, the mean of r over layers, which bounds the mean
        soft rank.
    tau
        Threshold, from 0 to 1.
    width
        d, at least r. If given, the sharper bound ``d (1 - tau)^2 / ((1 - tau)^2 + d / r - 1)``, which two-valued
        spectra approach; it is convex in r, so means may be put in here, too.

    Returns
    -------
    float or ndarray
        ``(1 - tau)^2 r``, or the sharper bound; of the broadcast shape of the arguments.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    t = numbers("tau", tau, 0.0, 1.0, "above 1 there is no bound: M = I has no eigenvalue there")
    d = math.inf if width is None else whole_numbers("width", width, 1, "give the number of features d")
    r = participation_ratios(participation_ratio, d, "width")
    share = (1.0 - t) ** 2
    if width is None:
        bound: Floats = share * r
        return bound
    q = np.minimum(r / d, 1.0)
    below = 1.0 - q * (1.0 - share)
    sharper: Floats = share * q * d / np.where(below > 0.0, below, 1.0)  # below = 0: tau = 1, where nothing is known
    return sharper
