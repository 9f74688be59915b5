"""Whether chains have forgotten their start, asked in units of the error of the mean over all of them.

Split R-hat compares single chains, so it flags many short ones however well their mean is known. Here the first eighth
of the record is held against its last half (Geweke, in Bayesian Statistics 4, 169, 1992), in all chains together.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from pyrank.estimate.blocks import ENOUGH_BLOCKS, MonteCarloError
from pyrank.estimate.moments import Floats, scatter_of

EARLY, LATE = 8, 2  # the first eighth, and the last half
CONFIDENCE = 0.999  # of two sides, that there is a drift
LEAST_MOVED = 0.25  # share of the variance that independent parts of a chain would have


def start_shows(batch_means: Floats, error: MonteCarloError) -> bool:
    """Tell whether [chains, batches] drift, or have moved so little that a drift could not be seen.

    The error of the drift follows from ``error``, that of the mean over all batches, or, where whole chains are enough
    blocks, from the chains' own drifts.
    """
    chains, batches = batch_means.shape
    if batches < 2:
        return False
    early, late = max(batches // EARLY, 1), batches // LATE
    offsets = batch_means - batch_means[:, :1]
    drifts = offsets[:, -late:].mean(axis=1) - offsets[:, :early].mean(axis=1)
    independent = batches / early + batches / late  # variance of a drift over that of a chain's mean
    if chains < ENOUGH_BLOCKS:
        reach, dof, moved = error.stderr * math.sqrt(independent), error.dof, True
    else:
        own, among = scatter_of(drifts), scatter_of(batch_means.mean(axis=1))
        reach, dof = float(np.sqrt(own / (chains - 1) / chains)), chains - 1.0
        moved = not own < LEAST_MOVED * independent * among
    drift = abs(float(drifts.mean()))
    return not moved or drift > reach * float(special.stdtrit(dof, (1 + CONFIDENCE) / 2))
