"""What came of trainings with several normalisations, as numbers that can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyrank.estimate.intervals import Interval
from pyrank.experiments.optimization.comparisons import Comparison
from pyrank.experiments.optimization.normalizations import NORMALIZATIONS, WITHOUT, Ending, largest_rate
from pyrank.experiments.optimization.trainings import Floats


@dataclass(frozen=True)
class Data:
    """What came of the trainings by normalisation, and the losses (seeds, rates) of the short ones."""

    endings: Mapping[str, Sequence[Ending]]
    losses: Mapping[str, Floats]
    rates: tuple[float, ...]

    @classmethod
    def of(cls, results: Sequence[Ending], seeds: int, rates: tuple[float, ...], rate_seeds: int) -> Data:
        """Sort the results: by normalisation and seed, and then, with none, by normalisation, rate and seed."""
        rest = iter(results)
        endings = {name: [next(rest) for _ in range(seeds)] for name in NORMALIZATIONS}
        losses = {}
        for name in (*NORMALIZATIONS, WITHOUT):
            short = [[next(rest).loss for _ in range(rate_seeds)] for _ in rates]
            losses[name] = np.array(short, dtype=float).T
        return cls(endings, losses, rates)

    def values(self, name: str, what: str) -> Floats:
        """Return an attribute of all seeds, (seeds, ...)."""
        return np.array([getattr(ending, what) for ending in self.endings[name]])

    def compared(self, names: Iterable[str], what: str) -> Comparison:
        """Compare the best accuracy, the distance at the end or the mean of the eigenvalues, these by logarithms."""
        return Comparison.of({name: self.number(name, what) for name in names})

    def number(self, name: str, what: str) -> Floats:
        """Return one number for each seed: see `compared`."""
        values = self.values(name, what)
        if what == "accuracy":
            return values
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(values[:, -1] if what == "distance" else values.mean(axis=1))

    def largest_rates(self, name: str) -> Floats:
        """Return the largest rate of the grid at which it learns, for each seed."""
        return np.array([largest_rate(self.rates, losses) for losses in self.losses[name]])

    @property
    def weakest(self) -> str:
        """The normalisation whose largest rate, of the seed with the smallest one, is smallest."""
        return min(NORMALIZATIONS, key=lambda name: float(self.largest_rates(name).min()))

    @property
    def rate_gain(self) -> Interval:
        """The largest rate of the `weakest`, in all seeds, over that without normalisation in any; what the grid knows.

        A largest rate lies between its point of the grid and the next, or below the first.
        """
        ends = [*self.rates, math.inf]
        (low, high), (plain_low, plain_high) = (
            (rate, ends[ends.index(rate) + 1]) if rate else (0.0, ends[0])
            for rate in (self.largest_rates(self.weakest).min(), self.largest_rates(WITHOUT).max())
        )
        value = low / plain_low if plain_low else math.nan
        return Interval(value, low / plain_high, high / plain_low if plain_low else math.inf, "by the grid")

    @property
    def centring(self) -> Floats:
        """Best accuracy of centred less uncentred, mean over the orders, for each seed."""
        by_kind = {which: [self.number(name, "accuracy") for name in NORMALIZATIONS if name.split()[0] == which]
                   for which in ("centred", "uncentred")}  # fmt: skip
        return np.asarray(np.mean(by_kind["centred"], axis=0) - np.mean(by_kind["uncentred"], axis=0))

    def to_dict(self) -> dict[str, Any]:
        """Return everything, as a JSON file holds it."""
        endings = {name: [asdict(ending) for ending in some] for name, some in self.endings.items()}
        return {"endings": endings, "losses": self.losses}
