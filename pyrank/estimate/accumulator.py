"""What is kept of a run: constant memory for any number of samples.

Every value is recorded in layer order by the same operations, whatever the chunks in which it arrives, so chunking
cannot change a bit. How many samples n have been recorded is known to the caller and the same in all chains; which
slot means what follows from n alone. ``csrc/core/accumulator.h`` is the compiled twin of :meth:`Accumulator.push`.

Per measure and chain, with v = x - (first x):

* the first x, the sums of v and v^2, the smallest and the largest x;
* up to 128 batch sums of v, in batches of equal length, a power of two: when all are full, neighbours are merged;
* dyadic blocks (Flyvbjerg & Petersen, J. Chem. Phys. 91, 461, 1989): for every length 2^level the sum of the squared
  block sums, and the last block that still waits for its right neighbour;
* optionally a trace: every stride-th x, the stride doubling when the trace is full;
* for integer-valued measures the histogram of x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyrank.support.errors import invalid

BATCH_COUNT = 128
LEVEL_COUNT = 40

SHIFT, SUM, SUM_SQUARES, MIN, MAX, BATCHES = range(6)
PENDING = BATCHES + BATCH_COUNT
BLOCK_SQUARES = PENDING + LEVEL_COUNT
SLOTS = BLOCK_SQUARES + LEVEL_COUNT


def slot_length(n: int, slots: int) -> int:
    """Return the smallest power of two m such that ``slots`` slots of m samples hold ``n`` samples."""
    length = 1
    while n > slots * length:
        length *= 2
    return length


def _slots_double(n: int, slots: int, length: int) -> bool:
    """Tell whether sample ``n`` is the first that needs slots of this length."""
    return length > 1 and 2 * n == slots * length


@dataclass(frozen=True, eq=False)
class Accumulator:
    """The record of all measures and chains; the arrays are updated in place.

    Parameters
    ----------
    moments : ndarray of float64, shape (measures, SLOTS, chains)
        Sums, extremes, batches and blocks.
    histogram : ndarray of int64, shape (rank measures, bins, chains)
        How often each integer occurred, for the integer-valued measures in order of appearance.
    trace : ndarray of float64, shape (measures, capacity, chains)
        The thinned samples; capacity 0 keeps none.
    rank_index : ndarray of int32, shape (measures,)
        Place of a measure in ``histogram``, -1 if it is not integer-valued.
    """

    moments: NDArray[np.float64]
    histogram: NDArray[np.int64]
    trace: NDArray[np.float64]
    rank_index: NDArray[np.int32]

    @classmethod
    def empty(cls, rank_flags: Sequence[bool], chains: int, bins: int, trace: int) -> Accumulator:
        """Return an accumulator that has recorded nothing.

        Parameters
        ----------
        rank_flags : sequence of bool
            For each measure, whether it is integer-valued.
        chains : int
            Number of chains.
        bins : int
            The histograms count the integers 0 .. bins - 1.
        trace : int
            Samples that a trace can hold: even, 0 for no trace.
        """
        if chains < 1:
            raise invalid("chains", chains, "at least 1", "ask for one or more chains")
        if trace < 0 or trace % 2:
            raise invalid("trace", trace, "an even number of samples, or 0", "use 0 or an even number such as 4096")
        ranks = np.asarray(rank_flags, dtype=bool)
        return cls(
            moments=np.zeros((ranks.size, SLOTS, chains)),
            histogram=np.zeros((int(ranks.sum()), bins, chains), dtype=np.int64),
            trace=np.zeros((ranks.size, trace, chains)),
            rank_index=np.where(ranks, np.cumsum(ranks) - 1, -1).astype(np.int32),
        )

    @staticmethod
    def size(measures: int, ranks: int, chains: int, bins: int, trace: int) -> int:
        """Return the bytes that the arrays of :meth:`empty` take, ``ranks`` of the measures being integer-valued."""
        return 8 * chains * (measures * (SLOTS + trace) + ranks * bins) + 4 * measures

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Accumulator:
        """Return an accumulator with copies of what :meth:`arrays` gave."""
        return cls(
            moments=np.array(arrays["moments"], dtype=np.float64, order="C"),
            histogram=np.array(arrays["histogram"], dtype=np.int64, order="C"),
            trace=np.array(arrays["trace"], dtype=np.float64, order="C"),
            rank_index=np.array(arrays["rank_index"], dtype=np.int32, order="C"),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name, not copied; they and the number of samples are the whole state."""
        return {
            "moments": self.moments,
            "histogram": self.histogram,
            "trace": self.trace,
            "rank_index": self.rank_index,
        }

    def copy(self) -> Accumulator:
        """Return an independent copy."""
        return self.from_arrays(self.arrays())

    @property
    def measures(self) -> int:
        """Number of measures."""
        return int(self.moments.shape[0])

    @property
    def chains(self) -> int:
        """Number of chains."""
        return int(self.moments.shape[2])

    def push(self, values: NDArray[np.float64], n: int) -> None:
        """Record one sample of every measure and chain.

        Parameters
        ----------
        values : ndarray of float64, shape (measures, chains)
            The samples.
        n : int
            How many were recorded before; below 2^40.
        """
        moments = self.moments
        if n == 0:
            for slot in (SHIFT, MIN, MAX):
                moments[:, slot] = values
        with np.errstate(invalid="ignore", over="ignore"):
            v = values - moments[:, SHIFT]
            moments[:, SUM] += v
            moments[:, SUM_SQUARES] += v * v
            moments[:, MIN] = np.minimum(moments[:, MIN], values)
            moments[:, MAX] = np.maximum(moments[:, MAX], values)
            self._push_batch(v, n)
            self._push_blocks(v, n)
        if self.trace.shape[1]:
            self._push_trace(values, n)
        self._push_histogram(values)

    def _push_batch(self, v: NDArray[np.float64], n: int) -> None:
        batches = self.moments[:, BATCHES:PENDING]
        length = slot_length(n + 1, BATCH_COUNT)
        if _slots_double(n, BATCH_COUNT, length):
            batches[:, : BATCH_COUNT // 2] = batches[:, 0::2] + batches[:, 1::2]
            batches[:, BATCH_COUNT // 2 :] = 0
        batches[:, n // length] += v

    def _push_blocks(self, block: NDArray[np.float64], n: int) -> None:
        for level in range(LEVEL_COUNT):
            self.moments[:, BLOCK_SQUARES + level] += block * block
            waiting = self.moments[:, PENDING + level]
            if not n >> level & 1:
                waiting[:] = block
                return
            block = waiting + block

    def _push_trace(self, values: NDArray[np.float64], n: int) -> None:
        capacity = self.trace.shape[1]
        stride = slot_length(n + 1, capacity)
        if _slots_double(n, capacity, stride):
            self.trace[:, : capacity // 2] = self.trace[:, ::2].copy()
        if n % stride == 0:
            self.trace[:, n // stride] = values

    def _push_histogram(self, values: NDArray[np.float64]) -> None:
        ranks = values[self.rank_index >= 0]
        countable = (ranks >= 0) & (ranks < self.histogram.shape[1])  # not a NaN: that shows in the sums
        measure, chain = np.nonzero(countable)
        self.histogram[measure, ranks[countable].astype(np.int64), chain] += 1
