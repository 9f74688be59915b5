"""How a quantity grows with a size: points and fitted power laws beside a power to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyrank.plotting.marks import beside, curve, guide, points
from pyrank.plotting.paper import log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Series:
    """Measured points and the power law ``prefactor * x ** exponent`` through them.

    ``error`` holds half-widths of the intervals of ``y``.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float]
    prefactor: float
    exponent: float


def scaling(axes: Axes, series: Sequence[Series], *, over: float = 0.0) -> None:
    """Draw how quantities grow with x, divided by ``x ** over``.

    Parameters
    ----------
    axes
        Where; x becomes logarithmic, and y, too, if nothing is divided.
    series
        One line each.
    over
        The power to divide by: what grows like it is flat.
    """
    span = [x for s in series for x in s.x]
    for number, s in enumerate(series):
        x = np.array(s.x, dtype=float)
        path = np.geomspace(x.min(), x.max(), 51)
        at, along = (beside(each, span, number, len(series), log=True) for each in (x, path))
        curve(axes, along, s.prefactor * path ** (s.exponent - over), number)
        points(axes, at, np.array(s.y) / x**over, np.array(s.error) / x**over, number, s.label)
    log_ticks(axes.xaxis, span)
    if not over:
        log_ticks(axes.yaxis, _halvings([y for s in series for y in s.y]))
    axes.minorticks_off()


def power_guide(
    axes: Axes, series: Sequence[Series], power: float, *, prefactor: float, over: float = 0.0, label: str | None = None
) -> None:
    """Draw ``prefactor * x ** power``, divided by ``x ** over``, beside what `scaling` has drawn."""
    ends = np.array([min(min(s.x) for s in series), max(max(s.x) for s in series)], dtype=float)
    guide(axes, ends, prefactor * ends ** (power - over), label)


def _halvings(values: Sequence[float]) -> list[float]:
    """Return about eight steps by a factor of 2, or of 4, 16, ..., or with 1.5 between, around positive values."""
    low, high = np.floor(np.log2(min(values))), np.ceil(np.log2(max(values)))
    step = max(1, int(np.ceil((high - low) / 8)))
    powers = 2.0 ** np.arange(low, high + step, step)
    return sorted([*powers, *(1.5 * powers)] if high - low <= 4 else powers)
