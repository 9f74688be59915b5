"""Error bars from an accumulator: how sure a mean is, although successive layers are correlated.

The Monte-Carlo variance of the mean of n samples is V_n / n, where V_m is the variance of a block sum of m samples
divided by m. V_m grows (or shrinks) towards V_n like 1/m. It is measured on the longest blocks of which enough exist,
pooled over chains, and extrapolated from m/2 and m to n (zero-lugsail windows, Vats & Flegal, Biometrika 109, 735,
2022). Chains are independent, so with many of them a whole chain is a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]

from pyrank.estimate.accumulator import (
    BATCH_COUNT,
    BATCHES,
    BLOCK_SQUARES,
    MAX,
    MIN,
    PENDING,
    SHIFT,
    SUM,
    SUM_SQUARES,
    Accumulator,
    slot_length,
)
from pyrank.support import optional
from pyrank.support.errors import as_integer, invalid

Floats = NDArray[np.float64]

ENOUGH_BLOCKS = 64  # a standard error from 64 blocks is itself known to about 11 %
FEWEST_BLOCKS = 16  # below this an estimate counts as not converged
RHAT_LIMIT = 1.01  # Vehtari et al. 2021
GROWTH_LIMIT = 3.0  # standard deviations by which V_m may exceed V_{m/2}
DISAGREEMENT = 0.999  # confidence at which chains are said to have different means

_quiet = np.errstate(invalid="ignore", over="ignore", divide="ignore")  # what is not finite is flagged


@dataclass(frozen=True, eq=False)
class Estimate:
    """One measure, averaged over the recorded layers and the chains.

    Attributes
    ----------
    mean : float
        Mean over recorded samples and chains.
    stderr : float
        Monte-Carlo standard error of ``mean``: block variances, pooled over chains, extrapolated in the block length
        (zero-lugsail, Vats & Flegal 2022), never below the plain block value. Where the chain means scatter more than
        the blocks allow (F test, 99.9 %), at least the standard error of the mean of the chain means.
    dof : float
        Degrees of freedom of ``stderr``.
    std : float
        Standard deviation of the samples about ``mean`` (n - 1 in the denominator).
    ess : float
        Effective number of independent samples in all chains, ``std**2 / stderr**2``; anti-correlated samples count
        for more than one each.
    rhat : float
        Split R-hat (Gelman et al., Bayesian Data Analysis, 3rd ed., 2013, section 11.4), without rank normalisation.
    min, max : float
        Smallest and largest sample; NaN if any sample is.
    count, chains : int
        Samples per chain; number of chains.
    flags : tuple of str
        "not converged": too few samples, R-hat above 1.01, chains that disagree, or a block variance that still grows
        with the block length. "degenerate": every chain is constant, or a sample was not finite.
    histogram : ndarray of int64, shape (chains, bins), or None
        How often each integer 0, 1, ... occurred; None for measures that are not integer-valued.
    trace : ndarray, shape (chains, samples), or None
        Every ``trace_stride``-th sample from the first one on; None if no trace was kept.
    trace_stride : int
        Recorded samples from one entry of ``trace`` to the next.
    batch_means : ndarray, shape (chains, batches)
        Means of successive batches of ``batch_length`` samples.
    batch_length : int
        Samples in a batch, a power of two.
    """

    mean: float
    stderr: float
    dof: float
    std: float
    ess: float
    rhat: float
    min: float
    max: float
    count: int
    chains: int
    flags: tuple[str, ...]
    histogram: NDArray[np.int64] | None = field(repr=False)
    trace: Floats | None = field(repr=False)
    trace_stride: int = field(repr=False)
    batch_means: Floats = field(repr=False)
    batch_length: int = field(repr=False)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided t-interval that covers the true mean with probability ``level``."""
        if not 0 < level < 1:
            raise invalid("level", level, "a probability between 0 and 1", "use for example 0.95")
        half_width = float(special.stdtrit(self.dof, (1 + level) / 2)) * self.stderr
        return self.mean - half_width, self.mean + half_width

    @_quiet
    def after(self, samples: int) -> Estimate:
        """Return the estimate without the first ``samples`` samples: burn-in chosen after the run.

        Only the completed batches that start later are used. What batches do not tell is NaN or None: ``std``,
        ``ess``, ``rhat``, ``min``, ``max`` and ``histogram``.

        Raises
        ------
        ArgumentError
            If no completed batch is left.
        """
        samples = as_integer("samples", samples, 0, 2**62, "give a number of recorded samples")
        first = -(-samples // self.batch_length)
        batches = self.batch_means.shape[1]
        if not 0 <= first < batches:
            most = (batches - 1) * self.batch_length
            wanted = f"from 0 to {most} samples" if batches else "a record that is not empty"
            raise invalid("samples", samples, wanted, "drop less, or simulate more layers")
        kept = self.batch_means[:, first:]
        count = kept.shape[1] * self.batch_length
        means = _mean(kept)
        error = _monte_carlo_error(_blocks_of_batches(kept, self.batch_length), means, count)
        return replace(
            self,
            mean=float(_mean(means)),
            stderr=error.stderr,
            dof=error.dof,
            std=math.nan,
            ess=math.nan,
            rhat=math.nan,
            min=math.nan,
            max=math.nan,
            count=count,
            flags=_flags(error.settled, means, kept.min(axis=1), kept.max(axis=1), kept.shape[1]),
            histogram=None,
            trace=None if self.trace is None else self.trace[:, -(-first * self.batch_length // self.trace_stride) :],
            batch_means=kept,
        )

    def diagnostics(self) -> dict[str, float]:
        """Return what ``arviz_stats`` says about the trace: ``ess_bulk``, ``ess_tail``, ``rhat`` and ``mcse``.

        They refer to the thinned samples of the trace, in all chains together. R-hat (rank-normalised, Vehtari et
        al., Bayesian Analysis 16, 667, 2021) needs two chains, and all need four samples; otherwise they are NaN.

        Raises
        ------
        ArgumentError
            If no trace was kept.
        ImportError
            If arviz-stats is missing.
        """
        if self.trace is None:
            raise invalid("trace", 0, "a recorded trace", "simulate with for example trace=4096")
        array_stats = optional.load("arviz_stats.base", "diagnostics").array_stats
        axes = {"chain_axis": 0, "draw_axis": 1}
        return {
            "ess_bulk": float(array_stats.ess(self.trace, method="bulk", **axes)),
            "ess_tail": float(array_stats.ess(self.trace, method="tail", prob=(0.05, 0.95), **axes)),
            "rhat": float(array_stats.rhat(self.trace, method="rank", **axes)),
            "mcse": float(array_stats.mcse(self.trace, method="mean", **axes)),
        }


@_quiet
def estimate(accumulator: Accumulator, measure: int, count: int, chains: slice = slice(None)) -> Estimate:
    """Return the estimate of one measure.

    Parameters
    ----------
    accumulator : Accumulator
        The record.
    measure : int
        Number of the measure.
    count : int
        Samples recorded per chain.
    chains : slice, optional
        The chains to use; all by default.
    """
    slots = accumulator.moments[measure][:, chains]
    trace = accumulator.trace[measure][:, chains]
    rank = accumulator.rank_index[measure]
    capacity = trace.shape[0]
    stride = slot_length(count, capacity) if capacity else 1
    length = slot_length(count, BATCH_COUNT)
    batch_sums = slots[BATCHES : BATCHES + count // length]
    means = slots[SHIFT] + slots[SUM] / count if count else np.full(slots.shape[1], math.nan)
    error = _monte_carlo_error(_dyadic_blocks(slots, count), means, count)
    variance = _variance(slots, means, count)
    rhat = _split_rhat(slots, count)
    ess = float(np.divide(variance, error.stderr**2))
    mean = float(_mean(means))
    return Estimate(
        mean=mean,
        stderr=error.stderr,
        dof=error.dof,
        std=math.sqrt(variance),
        ess=ess,
        rhat=rhat,
        min=float(slots[MIN].min()) if count else math.nan,
        max=float(slots[MAX].max()) if count else math.nan,
        count=count,
        chains=means.size,
        flags=_flags(error.settled and not rhat > RHAT_LIMIT, means, slots[MIN], slots[MAX], count),
        histogram=None if rank < 0 else accumulator.histogram[rank][:, chains].T.copy(),
        trace=trace[: -(-count // stride)].T.copy() if capacity else None,
        trace_stride=stride,
        batch_means=(slots[SHIFT] + batch_sums / length).T.copy(),
        batch_length=length,
    )


def _flags(converged: bool, means: Floats, lows: Floats, highs: Floats, count: int) -> tuple[str, ...]:
    """Return the flags; ``means``, ``lows`` and ``highs`` are those of ``count`` values in each chain."""
    if count > 1:
        constant = bool((lows == highs).all())
    else:
        constant = count == 1 and lows.size > 1 and bool(lows.min() == highs.max())
    degenerate = constant or (count > 0 and not np.isfinite(means).all())
    return ("not converged",) * (not converged) + ("degenerate",) * degenerate


def _mean(values: Floats) -> Floats:
    """Return the mean over the last axis, exact where all values are equal."""
    first = values[..., 0]
    return np.asarray(first + (values - first[..., None]).mean(axis=-1))


def _scatter(values: Floats) -> Floats:
    """Return the sum of squares about the mean over the last axis, exactly 0 where all values are equal."""
    offsets = values - values[..., :1]
    return np.asarray(((offsets - offsets.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))


def _variance(slots: Floats, means: Floats, count: int) -> float:
    """Return the variance of all samples about the mean over all chains."""
    if means.size * count < 2:
        return math.nan
    within = np.maximum(slots[SUM_SQUARES] - slots[SUM] ** 2 / count, 0).sum()
    return float((within + count * _scatter(means)) / (means.size * count - 1))


@dataclass(frozen=True)
class _Blocks:
    """Blocks of one length in all chains."""

    length: int
    number: int  # in each chain
    means: Floats  # [chains], over the samples in the blocks
    spread: Floats  # [chains], length * sum over blocks of (block mean - chain mean)^2

    @property
    def total(self) -> int:
        return self.means.size * self.number

    def variance(self) -> float:
        """Return V_length, about the mean over all chains."""
        if self.total < 2:
            return math.nan
        between = self.length * self.number * _scatter(self.means)
        return float((self.spread.sum() + between) / (self.total - 1))


def _dyadic_blocks(slots: Floats, count: int) -> Iterator[_Blocks]:
    """Yield the completed blocks of 1, 2, 4, ... samples."""
    in_blocks = slots[SUM]
    for level in range(count.bit_length()):
        length, number = 1 << level, count >> level
        spread = np.maximum(slots[BLOCK_SQUARES + level] - in_blocks**2 / number, 0) / length
        yield _Blocks(length, number, slots[SHIFT] + in_blocks / (number * length), spread)
        if number & 1:  # the last block of this length belongs to no completed longer one
            in_blocks = in_blocks - slots[PENDING + level]


def _blocks_of_batches(batch_means: Floats, length: int) -> Iterator[_Blocks]:
    """Yield the blocks of 1, 2, 4, ... batches."""
    while number := batch_means.shape[1]:
        yield _Blocks(length, number, _mean(batch_means), length * _scatter(batch_means))
        paired = number - number % 2
        batch_means = (batch_means[:, 0:paired:2] + batch_means[:, 1:paired:2]) / 2
        length *= 2


@dataclass(frozen=True)
class _Error:
    stderr: float
    dof: float
    settled: bool  # enough blocks, no growth with their length, chains that agree


def _monte_carlo_error(dyadic: Iterable[_Blocks], means: Floats, count: int) -> _Error:
    """Return the standard error of the mean of ``means``, each over ``count`` samples of a chain."""
    chains = means.size
    if chains * count < 2:
        return _Error(math.nan, math.nan, settled=False)
    levels = [*dyadic, _Blocks(count, 1, means, np.zeros_like(means))]
    level = max((i for i, blocks in enumerate(levels) if blocks.total >= ENOUGH_BLOCKS), default=0)
    blocks = levels[level]
    variance = blocks.variance()
    dof = blocks.total - 1.0
    # Blocks of one sample cannot show a correlation.
    settled = blocks.total >= FEWEST_BLOCKS and (blocks.length > 1 or count == 1)

    if level and blocks.number > 1:
        half = levels[level - 1].variance()
        step = 1 - blocks.length / count
        settled = settled and variance - half <= GROWTH_LIMIT * half / math.sqrt(blocks.total)
        variance += step * np.maximum(variance - half, 0)
        # For white noise V_{m/2} and V_m - V_{m/2} are uncorrelated, both of relative variance 1 / total; a cut normal
        # variable has the variance in the second term.
        dof *= 2 / (1 + ((1 + step) ** 2 + 1) / 2 - step**2 / (2 * math.pi))

    if chains > 1 and blocks.number > 1:
        within_dof = chains * (blocks.number - 1)
        within = float(blocks.spread.sum()) / within_dof
        between = count * float(_scatter(means)) / (chains - 1)
        if between > within * special.fdtri(chains - 1, within_dof, DISAGREEMENT):
            variance, dof, settled = max(variance, between), chains - 1.0, False
    return _Error(float(np.sqrt(variance / (chains * count))), dof, bool(settled))


def _split_rhat(slots: Floats, count: int) -> float:
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
    between = _scatter((slots[SHIFT] + sums / size).ravel()) / (sums.size - 1)
    return float(np.sqrt((size - 1) / size + between / within))
