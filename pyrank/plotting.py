"""Figures from data alone: nothing here simulates, and no global state of matplotlib is touched.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers; every series has its own marker too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
STROKES = ("-", "--", ":")
CAPTION_WIDTH = 132
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


def require() -> None:
    """Raise ImportError, saying what to install, if matplotlib is missing: to be called before long work."""
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise ImportError("figures need matplotlib, which is missing; pip install 'pyrank[plot]'") from error


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
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(10, 5.6))
    growth, ratio = figure.subplots(1, 2)
    ends = [min(min(s.x) for s in series), max(max(s.x) for s in series)]
    height = min(y / x**0.5 for s in series for x, y in zip(s.x, s.y, strict=True))
    guide = [height * 0.85 * x**0.5 for x in ends]
    growth.plot(ends, guide, "-.", color="0.45", label=r"guide: slope of $\sqrt{d}$")
    for number, s in enumerate(series):
        shift = (ends[1] / ends[0]) ** (OFFSET * (number - (len(series) - 1) / 2))
        _draw(growth, s, number, shift, power=0.0)
        _draw(ratio, s, number, shift, power=0.5)
    ratio.axhline(height * 0.85, linestyle="-.", color="0.45")
    growth.set_yscale("log", base=2)
    growth.yaxis.set_major_locator(LogLocator(base=2, subs=(1.0, 1.5)))
    growth.yaxis.set_major_formatter(_plain)
    for axes in (growth, ratio):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({x for s in series for x in s.x}))
        axes.xaxis.set_major_formatter(_plain)
        axes.minorticks_off()
        axes.set_xlabel(xlabel)
        axes.grid(visible=True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
    growth.set_ylabel(ylabel)
    ratio.set_ylabel(rf"{ylabel} / $\sqrt{{d}}$")
    growth.legend(frameon=False, loc="upper left")
    figure.suptitle(title, x=0.5, y=0.98, fontsize=12)
    text = "\n".join(textwrap.wrap(caption, CAPTION_WIDTH))
    lines = text.count("\n") + 1
    figure.text(0.02, 0.015, text, fontsize=9, color="0.25", va="bottom")
    figure.tight_layout(rect=(0, 0.035 * lines + 0.01, 1, 1))
    return figure


def rendered(figure: Figure, form: str) -> bytes:
    """Return a figure as ``"png"`` or ``"svg"``: the same bytes for the same figure."""
    from matplotlib import rc_context

    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    file = BytesIO()
    with rc_context({"svg.hashsalt": "pyrank"}):
        figure.savefig(file, format=form, dpi=160, metadata=metadata)
    return file.getvalue()


def _draw(axes: Axes, s: Series, number: int, shift: float, power: float) -> None:
    """Draw one series divided by x ** power, moved to x * shift."""
    colour = COLOURS[number % len(COLOURS)]
    low, high = min(s.x), max(s.x)
    curve = [low * (high / low) ** (step / 50) for step in range(51)]
    axes.plot(
        [shift * at for at in curve], [s.prefactor * at ** (s.exponent - power) for at in curve],
        STROKES[number % len(STROKES)], color=colour, linewidth=1.2, alpha=0.8,
    )  # fmt: skip
    axes.errorbar(
        [shift * at for at in s.x],
        [value / at**power for value, at in zip(s.y, s.x, strict=True)],
        [value / at**power for value, at in zip(s.error, s.x, strict=True)],
        fmt=MARKERS[number % len(MARKERS)], color=colour, markersize=5.5, markerfacecolor="white", markeredgewidth=1.4,
        capsize=3, label=s.label,
    )  # fmt: skip


def _plain(value: float, _position: int) -> str:
    return f"{value:g}"
