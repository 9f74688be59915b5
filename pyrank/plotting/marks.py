"""How one series is drawn.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers; every series has its own marker too.
There is one more marker than colours, so that 42 series are all different.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

APART = 0.02
"""How far apart series are drawn whose values may be equal, as a part of the span of x."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STROKES = ("-", "--", ":")
GREY = "0.45"


def colour(number: int) -> str:
    """Return the colour of series ``number``."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """Return the marker of series ``number``."""
    return MARKERS[number % len(MARKERS)]


def beside(x: ArrayLike, span: ArrayLike, number: int, count: int, *, log: bool) -> NDArray[np.float64]:
    """Move the x of series ``number`` of ``count`` a little to its side, so that equal values do not hide each other.

    ``span`` holds the x of all series; ``log`` tells that the axis is logarithmic.
    """
    x, span = np.array(x, dtype=float), np.array(span, dtype=float)
    off = APART * (number - (count - 1) / 2)
    return np.asarray(x * (span.max() / span.min()) ** off if log else x + off * np.ptp(span))


def points(
    axes: Axes, x: ArrayLike, y: ArrayLike, error: ArrayLike | None, number: int, label: str | None = None
) -> None:
    """Draw points with error bars.

    Parameters
    ----------
    axes
        Where.
    x, y
        Shape (points,).
    error
        Half-widths of the intervals of y, shape (points,), or (2, points) for what lies below and above; None for
        points without.
    number
        Of the series.
    label
        For the legend.
    """
    axes.errorbar(
        x, y, error,
        fmt=marker(number), color=colour(number), markersize=5.5, markerfacecolor="white", markeredgewidth=1.4,
        capsize=3, label=label,
    )  # fmt: skip


def curve(axes: Axes, x: ArrayLike, y: ArrayLike, number: int, label: str | None = None) -> None:
    """Draw a thin line in the colour of a series: what was fitted to its points, or a single path."""
    axes.plot(x, y, STROKES[number % len(STROKES)], color=colour(number), linewidth=1.2, alpha=0.8, label=label)


def band(
    axes: Axes, x: ArrayLike, middle: ArrayLike, low: ArrayLike, high: ArrayLike, number: int, label: str | None = None
) -> None:
    """Draw a line, marked now and then, within the band from ``low`` to ``high``; all of shape (points,)."""
    axes.fill_between(x, low, high, color=colour(number), alpha=0.2, linewidth=0)
    axes.plot(
        x, middle, color=colour(number), linewidth=1.5, label=label,
        marker=marker(number), markevery=(0.01 * (number % 10), 0.1), markersize=5, markerfacecolor="white",
    )  # fmt: skip


def each(axes: Axes, x: ArrayLike, y: ArrayLike, number: int) -> None:
    """Draw what a mean is of, such as seeds: a faint line for each row of y, (series, points)."""
    axes.plot(x, np.transpose(y), color=colour(number), linewidth=0.7, alpha=0.45)


def guide(axes: Axes, x: ArrayLike, y: ArrayLike, label: str | None = None) -> None:
    """Draw a grey line to compare with: a closed form, a bound, a slope."""
    axes.plot(x, y, "-.", color=GREY, linewidth=1.4, label=label)
