"""What independent chains recorded, and shares and means over them with 95 % intervals, in rows and columns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate.intervals import mean_interval, share_interval
from pyrank.experiments.tables import Column


def trace(run: Any, measure: str) -> NDArray[np.float64]:
    """Return what a run recorded of a measure, (chains, samples)."""
    values = run[measure].trace
    assert values is not None, "the simulation kept no trace"
    return np.asarray(values)


def share(name: str, count: int, chains: int) -> dict[str, float]:
    """Return how many of the chains it was, and the interval of their share."""
    low, high = share_interval(count, chains)
    return {name: count, "chains": chains, "share_low": low, "share_high": high}


def share_columns(name: str, meaning: str) -> Iterable[Column]:
    """Yield the columns of a `share`."""
    yield Column(name, name, lambda row: f"{getattr(row, name)}/{row.chains}", meaning=meaning)
    yield Column("", "share, 95 %", lambda row: f"{row.share_low:.3f}-{row.share_high:.3f}")
    yield from map(Column, ("chains", "share_low", "share_high"))


def means(**values: NDArray[np.float64]) -> dict[str, float]:
    """Return each mean under its name, and under ``name_half_width`` its error; NaN over fewer than two chains."""
    found: dict[str, float] = {}
    for name, each in values.items():
        mean, half_width = mean_interval(each) if len(each) > 1 else (math.nan, math.nan)
        found |= {name: float(mean), f"{name}_half_width": float(half_width)}
    return found


def mean_columns(name: str, heading: str, meaning: str) -> Iterable[Column]:
    """Yield the columns of one of the `means`."""
    yield Column(name, heading, error=f"{name}_half_width", meaning=meaning)
    yield Column(f"{name}_half_width")
