"""How a quantity grows with a size: points and fitted power laws, beside the square root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrank.plotting.marks import curve, guide, points
from pyrank.plotting.paper import legend, log_ticks, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OFFSET = 0.02
"""Series are drawn side by side, that part of the span of log x apart, so that equal values do not hide each other."""


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


def scaling(series: Sequence[Series], *, title: str, xlabel: str, ylabel: str, caption: str) -> Figure:
    """Draw how a quantity grows: on log-log axes beside sqrt(x), and again divided by sqrt(x).

    Parameters
    ----------
    series
        One line each.
    title, xlabel, ylabel
        Of the figure and of the left axes.
    caption
        Printed below the axes; should name the parameters.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator

    figure, (growth, ratio) = sheet(title=title, caption=caption, columns=2)
    ends = [min(min(s.x) for s in series), max(max(s.x) for s in series)]
    height = min(y / x**0.5 for s in series for x, y in zip(s.x, s.y, strict=True))
    for number, s in enumerate(series):
        shift = (ends[1] / ends[0]) ** (OFFSET * (number - (len(series) - 1) / 2))
        _draw(growth, s, number, shift, power=0.0)
        _draw(ratio, s, number, shift, power=0.5)
    guide(growth, ends, [height * 0.85 * x**0.5 for x in ends], r"guide: slope of $\sqrt{d}$")
    guide(ratio, ends, [height * 0.85] * 2)
    growth.set_yscale("log", base=2)
    growth.yaxis.set_major_locator(LogLocator(base=2, subs=(1.0, 1.5)))
    growth.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (growth, ratio):
        log_ticks(axes.xaxis, [x for s in series for x in s.x])
        axes.minorticks_off()
        axes.set_xlabel(xlabel)
    growth.set_ylabel(ylabel)
    ratio.set_ylabel(rf"{ylabel} / $\sqrt{{d}}$")
    legend(figure)
    return figure


def _draw(axes: Axes, s: Series, number: int, shift: float, power: float) -> None:
    """Draw one series divided by x ** power, moved to x * shift."""
    low, high = min(s.x), max(s.x)
    path = [low * (high / low) ** (step / 50) for step in range(51)]
    curve(axes, [shift * at for at in path], [s.prefactor * at ** (s.exponent - power) for at in path], number)
    points(
        axes,
        [shift * at for at in s.x],
        [value / at**power for value, at in zip(s.y, s.x, strict=True)],
        [value / at**power for value, at in zip(s.error, s.x, strict=True)],
        number,
        s.label,
    )
