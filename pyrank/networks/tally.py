"""What is kept of a layer: a few numbers, however long it is watched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyrank.networks.moments import sum_of_products


@dataclass
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


@dataclass
class Pool:
    """H H^T summed over batches, about the mean over all of them if that is asked for."""

    products: Tensor
    mean: Tensor
    samples: int

    @classmethod
    def of(cls, X: Tensor, centre: bool) -> Pool:
        """Return the sums of one matrix, (samples, features) or (items, places, features)."""
        mean = X.mean(tuple(range(X.ndim - 1)), dtype=torch.float64)
        return cls(sum_of_products(X, True, torch.float64, centre), mean, X.numel() // X.shape[-1])

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


@dataclass
class Cell:
    """What is known of one call of one layer: a tally for each measure, or one pool, and sizes of the last batch."""

    tallies: list[Tally]
    batches: int = 0
    features: int = 0
    samples: int = 0
    broken: int = 0
    pool: Pool | None = None

    def saw(self, features: int, samples: int) -> None:
        """Count a batch."""
        self.batches += 1
        self.features, self.samples = features, samples

    def push(self, values: Sequence[float]) -> None:
        """Add the measures of one batch."""
        for tally, value in zip(self.tallies, values, strict=True):
            tally.push(value)
        self.broken += any(value != value for value in values)

    def add(self, pool: Pool, centre: bool) -> None:
        """Add the sums of one batch, or of what another process has seen."""
        if self.pool is None:
            self.pool = replace(pool, products=pool.products.clone(), mean=pool.mean.clone())
        else:
            self.pool.merge(pool, centre)

    def merge(self, other: Cell, centre: bool) -> None:
        """Add what another process has seen."""
        for tally, added in zip(self.tallies, other.tallies, strict=True):
            tally.merge(added)
        if other.pool is not None:
            self.add(other.pool, centre)
        self.batches += other.batches
        self.broken += other.broken
        self.features, self.samples = self.features or other.features, self.samples or other.samples
