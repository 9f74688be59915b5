"""How sure a mean is, although successive layers are correlated: its Monte-Carlo error from blocks of samples.

The Monte-Carlo variance of the mean of n samples is V_n / n, where V_m is the variance of a block sum of m samples
divided by m. V_m grows (or shrinks) towards V_n like 1/m. It is measured on the longest blocks of which enough exist,
pooled over chains, and extrapolated from m/2 and m to n (zero-lugsail windows, Vats & Flegal, Biometrika 109, 735,
2022). Chains are independent, so with many of them a whole chain is a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special  # type: ignore[import-untyped]

from pyrank.estimate.accumulator import BLOCK_SQUARES, PENDING, SHIFT, SUM
from pyrank.estimate.moments import Floats, mean_of, scatter_of
from pyrank.support.errors import invalid

ENOUGH_BLOCKS = 64  # a standard error from 64 blocks is itself known to about 11 %
FEWEST_BLOCKS = 16  # below this an estimate counts as not converged
GROWTH_LIMIT = 3.0  # standard deviations by which V_m may exceed V_{m/2}
DISAGREEMENT = 0.999  # confidence at which chains are said to have different means


@dataclass(frozen=True)
class Blocks:
    """Blocks of one length in all chains."""

    length: int
    number: int  # in each chain
    means: Floats  # [chains], over the samples in the blocks
    spread: Floats  # [chains], length * sum over blocks of (block mean - chain mean)^2

    @property
    def total(self) -> int:
        """Return the number of blocks in all chains."""
        return self.means.size * self.number

    def variance(self) -> float:
        """Return V_length, about the mean over all chains."""
        if self.total < 2:
            return math.nan
        between = self.length * self.number * scatter_of(self.means)
        return float((self.spread.sum() + between) / (self.total - 1))


def dyadic_blocks(slots: Floats, count: int) -> Iterator[Blocks]:
    """Yield the completed blocks of 1, 2, 4, ... samples."""
    in_blocks = slots[SUM]
    for level in range(count.bit_length()):
        length, number = 1 << level, count >> level
        spread = np.maximum(slots[BLOCK_SQUARES + level] - in_blocks**2 / number, 0) / length
        yield Blocks(length, number, slots[SHIFT] + in_blocks / (number * length), spread)
        if number & 1:  # the last block of this length belongs to no completed longer one
            in_blocks = in_blocks - slots[PENDING + level]


def blocks_of_batches(batch_means: Floats, length: int) -> Iterator[Blocks]:
    """Yield the blocks of 1, 2, 4, ... batches."""
    while number := batch_means.shape[1]:
        yield Blocks(length, number, mean_of(batch_means), length * scatter_of(batch_means))
        paired = number - number % 2
        batch_means = (batch_means[:, 0:paired:2] + batch_means[:, 1:paired:2]) / 2
        length *= 2


@dataclass(frozen=True)
class MonteCarloError:
    """The standard error of a mean, its degrees of freedom, and whether it may be believed."""

    stderr: float
    dof: float
    settled: bool  # enough blocks, no growth with their length, chains that agree


def monte_carlo_error(dyadic: Iterable[Blocks], means: Floats, count: int) -> MonteCarloError:
    """Return the standard error of the mean of ``means``, each over ``count`` samples of a chain."""
    chains = means.size
    if chains * count < 2:
        return MonteCarloError(math.nan, math.nan, settled=False)
    whole = Blocks(count, 1, means, np.zeros_like(means))
    levels = [whole] if whole.total >= ENOUGH_BLOCKS else [*dyadic, whole]
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
        between = count * float(scatter_of(means)) / (chains - 1)
        if between > within * special.fdtri(chains - 1, within_dof, DISAGREEMENT):
            variance, dof, settled = max(variance, between), chains - 1.0, False
    return MonteCarloError(float(np.sqrt(variance / (chains * count))), dof, bool(settled))


def error_of_batches(batch_means: Floats, length: int) -> MonteCarloError:
    """Return the standard error of the mean over all batches, [chains, batches] of ``length`` samples."""
    return monte_carlo_error(
        blocks_of_batches(batch_means, length), mean_of(batch_means), batch_means.shape[1] * length
    )


def half_width(stderr: float, dof: float, level: float) -> float:
    """Return how far the two-sided t-interval of probability ``level`` reaches to either side."""
    if not 0 < level < 1:
        raise invalid("level", level, "a probability between 0 and 1", "use for example 0.95")
    return float(special.stdtrit(dof, (1 + level) / 2)) * stderr
