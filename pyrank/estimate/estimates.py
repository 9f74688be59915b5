"""What is said of one measure: its mean with an error bar, and what may be wrong with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate.accumulator import (
    BATCH_COUNT,
    BATCHES,
    MAX,
    MIN,
    SHIFT,
    SUM,
    SUM_SQUARES,
    Accumulator,
    slot_length,
)
from pyrank.estimate.blocks import MonteCarloError, dyadic_blocks, error_of_batches, half_width, monte_carlo_error
from pyrank.estimate.drift import start_shows
from pyrank.estimate.moments import Floats, mean_of, quiet, scatter_of
from pyrank.estimate.rhat import RHAT_LIMIT, split_rhat
from pyrank.support import optional
from pyrank.support.errors import as_integer, invalid
from pyrank.support.text import plus_minus


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    """One measure, averaged over the recorded layers and the chains; shown as ``7.0412 ± 0.0021``.

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
        "not converged": too few samples, a block variance that still grows with the block length, chains that
        disagree, or whose start shows in the mean over all of them; for a single chain, R-hat above 1.01.
        "degenerate": every chain is constant, or a sample was not finite.
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
    histogram: NDArray[np.int64] | None
    trace: Floats | None
    trace_stride: int
    batch_means: Floats
    batch_length: int

    def __repr__(self) -> str:
        doubt = f" ({', '.join(self.flags)})" if self.flags else ""
        return plus_minus(self.mean, self.stderr) + doubt

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided t-interval that covers the true mean with probability ``level``."""
        reach = half_width(self.stderr, self.dof, level)
        return self.mean - reach, self.mean + reach

    @quiet
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
        means = mean_of(kept)
        error = error_of_batches(kept, self.batch_length)
        return replace(
            self,
            mean=float(mean_of(means)),
            stderr=error.stderr,
            dof=error.dof,
            std=math.nan,
            ess=math.nan,
            rhat=math.nan,
            min=math.nan,
            max=math.nan,
            count=count,
            flags=_flags(_converged(error, kept), means, kept.min(axis=1), kept.max(axis=1), kept.shape[1]),
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


@quiet
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
    batch_means = (slots[SHIFT] + slots[BATCHES : BATCHES + count // length] / length).T.copy()
    means = slots[SHIFT] + slots[SUM] / count if count else np.full(slots.shape[1], math.nan)
    error = monte_carlo_error(dyadic_blocks(slots, count), means, count)
    variance = _variance(slots, means, count)
    rhat = split_rhat(slots, count)
    ess = float(np.divide(variance, error.stderr**2))
    mean = float(mean_of(means))
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
        flags=_flags(_converged(error, batch_means, rhat), means, slots[MIN], slots[MAX], count),
        histogram=None if rank < 0 else accumulator.histogram[rank][:, chains].T.copy(),
        trace=trace[: -(-count // stride)].T.copy() if capacity else None,
        trace_stride=stride,
        batch_means=batch_means,
        batch_length=length,
    )


def _converged(error: MonteCarloError, batch_means: Floats, rhat: float = math.nan) -> bool:
    chains = batch_means.shape[0]
    return error.settled and not (rhat > RHAT_LIMIT if chains == 1 else start_shows(batch_means, error))


def _flags(converged: bool, means: Floats, lows: Floats, highs: Floats, count: int) -> tuple[str, ...]:
    """Return the flags; ``means``, ``lows`` and ``highs`` are those of ``count`` values in each chain."""
    if count > 1:
        constant = bool((lows == highs).all())
    else:
        constant = count == 1 and lows.size > 1 and bool(lows.min() == highs.max())
    degenerate = constant or (count > 0 and not np.isfinite(means).all())
    return ("not converged",) * (not converged) + ("degenerate",) * degenerate


def _variance(slots: Floats, means: Floats, count: int) -> float:
    """Return the variance of all samples about the mean over all chains."""
    if means.size * count < 2:
        return math.nan
    within = np.maximum(slots[SUM_SQUARES] - slots[SUM] ** 2 / count, 0).sum()
    return float((within + count * scatter_of(means)) / (means.size * count - 1))
