"""Whether the halves of all chains agree."""

from __future__ import annotations

import math

import numpy as np

from pyrank.estimate.accumulator import BATCH_COUNT, BATCHES, PENDING, SHIFT, SUM, SUM_SQUARES, slot_length
from pyrank.estimate.moments import Floats, scatter_of

RHAT_LIMIT = 1.01  # Vehtari et al. 2021


def split_rhat(slots: Floats, count: int) -> float:
    """Return split R-hat from the batch sums of the first and the second half of each chain.

    The variance within is what remains of the sum of squares about the mean of each half and of the few samples
    after the second half.
    """
    length = slot_length(count, BATCH_COUNT)
    half = count // length // 2
    size = half * length
    if size < 2:
        return math.nan
    batches = slots[BATCHES:PENDING]
    sums = np.stack([batches[:half].sum(axis=0), batches[half : 2 * half].sum(axis=0)])
    explained = (sums**2).sum(axis=0) / size
    rest = count - 2 * size
    if rest:
        explained = explained + (slots[SUM] - sums.sum(axis=0)) ** 2 / rest
    within = np.maximum(slots[SUM_SQUARES] - explained, 0).mean() / (count - 2 - (rest > 0))
    between = scatter_of((slots[SHIFT] + sums / size).ravel()) / (sums.size - 1)
    return float(np.sqrt((size - 1) / size + between / within))
