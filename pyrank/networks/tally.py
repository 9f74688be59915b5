"""What is kept of a layer: a few numbers, however long it is watched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyrank.networks.measures import NetworkMeasure
from pyrank.networks.moments import from_moments, mean_of, rounding, sum_of_products
from pyrank.support.ambient import unmoved


@dataclass(slots=True)
class Tally:
    """Mean, spread and range of a number that comes batch by batch (Welford), and its last value."""

    count: int = 0
    mean: float = math.nan
    squares: float = 0.0
    low: float = math.nan
    high: float = math.nan
    last: float = math.nan

    def push(self, value: float) -> None:
        """Add a value; NaN makes the mean NaN, but neither end of the range.

        It is `merge` of a tally with one value, without making one: every layer of every batch comes here.
        """
        if not self.count:
            self.mean = self.low = self.high = value
        else:
            step, total = value - self.mean, self.count + 1
            self.squares += step * step * self.count / total
            self.mean += step / total
            self.low = self.low if self.low <= value or math.isnan(value) else value
            self.high = self.high if self.high >= value or math.isnan(value) else value
        self.count, self.last = self.count + 1, value

    def merge(self, other: Tally) -> None:
        """Add what another one has seen (Chan, Golub, LeVeque 1983)."""
        if not other.count:
            return
        total = self.count + other.count
        step = other.mean - self.mean if self.count else 0.0
        self.squares += other.squares + step * step * self.count * other.count / total
        self.mean = self.mean + step * other.count / total if self.count else other.mean
        self.low = self.low if self.low <= other.low or math.isnan(other.low) else other.low
        self.high = self.high if self.high >= other.high or math.isnan(other.high) else other.high
        self.count, self.last = total, other.last

    @property
    def stderr(self) -> float:
        """Standard error of the mean over batches; NaN of a single one."""
        if self.count < 2:
            return math.nan
        return math.sqrt(self.squares / (self.count - 1) / self.count)


WIDEST_POOL = 8192
"""Features of a pooled matrix; its second moments take half a gigabyte then."""


@dataclass
class Pool:
    """H H^T summed over batches, about the mean over all of them if that is asked for; ``dtype`` is that of layers."""

    products: Tensor
    mean: Tensor
    samples: int
    dtype: torch.dtype

    @classmethod
    def of(cls, X: Tensor, centre: bool) -> Pool:
        """Return the sums of one matrix, (samples, features) or (items, places, features)."""
        mean = mean_of(X)
        products = sum_of_products(X, True, torch.float64, mean if centre else None)
        return cls(products, mean, X.numel() // X.shape[-1], X.dtype)

    def merge(self, other: Pool, centre: bool) -> None:
        """Add the sums of other batches."""
        total = self.samples + other.samples
        self.products += other.products
        step = other.mean - self.mean
        if centre:
            self.products += torch.outer(step, step) * (self.samples * other.samples / total)
        self.mean += step * (other.samples / total)
        self.samples = total

    @property
    def moments(self) -> Tensor:
        """M of all samples, (features, features)."""
        return self.products / self.samples

    @property
    def is_finite(self) -> bool:
        """Whether all that came is a number."""
        return bool(self.products.trace().isfinite())

    @property
    def is_rounding(self) -> bool:
        """Whether the samples differ by rounding alone."""
        return bool(self.moments.trace() < rounding(self.mean, self.dtype))


@dataclass(slots=True)
class Cell:
    """What is known of one call of one layer: a tally for each measure, or one pool, and the last batch.

    Attributes
    ----------
    shape
        Of the last batch: (samples, features), or (items, places, features).
    broken, rounded
        Batches with a measure that is no finite number; and without a pool those whose samples differ by rounding.
    when
        In which measured call of the network it was seen last.
    """

    tallies: list[Tally]
    batches: int = 0
    shape: tuple[int, ...] = ()
    broken: int = 0
    rounded: int = 0
    when: int = 0
    pool: Pool | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Features and samples of the last batch."""
        return (self.shape[-1], math.prod(self.shape[:-1])) if self.shape else (0, 0)

    def saw(self, shape: tuple[int, ...], when: int) -> None:
        """Count a batch."""
        self.batches += 1
        self.shape, self.when = shape, when

    def push(self, values: Sequence[float], is_rounding: bool) -> None:
        """Add the measures of one batch."""
        for tally, value in zip(self.tallies, values, strict=True):
            tally.push(value)
        self.broken += not all(map(math.isfinite, values))
        self.rounded += is_rounding

    @unmoved
    def add(self, X: Tensor, centre: bool) -> None:
        """Add one batch to the pool."""
        pool = Pool.of(X, centre)
        self.broken += not pool.is_finite
        self._pour(pool, centre)

    def _pour(self, pool: Pool, centre: bool) -> None:
        if self.pool is None:
            self.pool = replace(pool, products=pool.products.clone(), mean=pool.mean.clone())
        else:
            self.pool.merge(pool, centre)

    def measured(self, measures: tuple[NetworkMeasure, ...]) -> list[Tally]:
        """Return a tally for each measure; of a pool, with its one value."""
        if self.pool is None:
            return self.tallies
        spectrum = from_moments(self.pool.moments, measures)[0]
        values = [spectrum.value(what) for what in measures]
        return [Tally(1, value, 0.0, value, value, value) for value in values]

    def why_not_pooled(self, features: int) -> str:
        """Say why a batch with so many features cannot be added to the pool; nothing if it can."""
        if features > WIDEST_POOL:
            return f"{features} features, where a pool takes {WIDEST_POOL} at most (matrix='channels' has fewer)"
        if self.pool is not None and len(self.pool.mean) != features:
            return f"batches of {features} features beside others of {len(self.pool.mean)}, which make no pool"
        return ""

    def merge(self, other: Cell, centre: bool) -> None:
        """Add what another process has seen."""
        for tally, added in zip(self.tallies, other.tallies, strict=True):
            tally.merge(added)
        if other.pool is not None:
            self._pour(other.pool, centre)
        self.batches += other.batches
        self.broken += other.broken
        self.rounded += other.rounded
        self.shape = self.shape or other.shape
