"""How a batch of N samples spreads in a linear BN chain of width d: the Marchenko-Pastur law of ratio N^2 / (4 d).

This is a derivation to leading order in large d at fixed N / sqrt(d), not a proof. Let Q = H^T H / d, with moments
p_k = Tr Q^k / N and p_1 = 1. Rows of W H are gaussian vectors of covariance d Q. To divide each by its size moves the
mean of Q by (2 / N) (p_2 Q - Q^2): strong directions are cut down. To draw d of them adds the noise of a Wishart
matrix, of variance Q (x) Q / d, which tears eigenvalues apart. In the invariant law the two cancel in every moment, ::

    p_{k+1} = p_2 p_k + a sum_{i=1}^{k-1} p_i p_{k-i},    a = N^2 / (4 d)

so that q times the density of the eigenvalues q is a semicircle around p_2 of radius 2 sqrt(a). If no eigenvalue is
zero, the density has mass 1 only for p_2 = 1 + a: that is the Marchenko-Pastur law of ratio a. Its lower edge is zero
for a = 1, where full rank ends. Larger batches keep 2 sqrt(d) directions: beside k others, a weak one grows at the rate
2 / r - k / d in a layer, which is positive up to there. A skip connection slows drift and noise down alike, 2 gamma^2 d
times if that is small, and leaves the law as it is. In float32, chains of width 16 to 256 lose full rank about two
samples earlier, at 2 sqrt(d) - 2: that 2 is what was measured, no part of the derivation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pyrank.theory._arguments import Floats, numbers, whole_numbers


def batch_spectrum_edge(width: ArrayLike, batch: ArrayLike) -> Floats:
    """Lower edge of the spectrum of H^T H / d, to leading order in large d.

    Parameters
    ----------
    width
        d, at least 1.
    batch
        N, any number from 1 on.

    Returns
    -------
    float or ndarray
        ``(1 - N / (2 sqrt d))^2``, or 0 for N > 2 sqrt(d); of the broadcast shape of the arguments.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    edge: Floats = np.maximum(0.0, 1.0 - _samples(batch) / full_rank_batch(width)) ** 2
    return edge


def batch_spectrum_ratio(width: ArrayLike, batch: ArrayLike) -> Floats:
    """Participation ratio r of a batch, to leading order in large d.

    Parameters
    ----------
    width
        d, at least 1.
    batch
        N, any number from 1 on.

    Returns
    -------
    float or ndarray
        ``N / (1 + N^2 / (4 d))``, or sqrt(d) for N > 2 sqrt(d); of the broadcast shape of the arguments.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    most = full_rank_batch(width)
    kept = np.minimum(_samples(batch), most)
    ratio: Floats = kept / (1.0 + (kept / most) ** 2)
    return ratio


def full_rank_batch(width: ArrayLike, tau: ArrayLike = 0.0) -> Floats:
    """Largest N for which a batch keeps the soft rank rank_tau = N, to leading order in large d.

    Eigenvalues of H H^T / N are d / N times those of H^T H / d, so the lower edge meets tau N / d there. With
    ``c = 1 + tau / sqrt(d)`` that is ``2 sqrt(d) (c - sqrt(c^2 - 1))``.

    Parameters
    ----------
    width
        d, at least 1.
    tau
        Threshold, from 0 to 1; 0 stands for the rank itself, which is full up to 2 sqrt(d).

    Returns
    -------
    float or ndarray
        N, not rounded; of the broadcast shape of the arguments.

    Raises
    ------
    ArgumentError
        If an argument is outside of what is said here.
    """
    root = np.sqrt(whole_numbers("width", width, 1, "give the number of features d"))
    c = 1.0 + numbers("tau", tau, 0.0, 1.0, "give the threshold of the soft rank") / root
    most: Floats = 2.0 * root / (c + np.sqrt(c**2 - 1.0))
    return most


def _samples(batch: ArrayLike) -> Floats:
    return numbers("batch", batch, 1.0, 1e150, "give the number of samples N")
