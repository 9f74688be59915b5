"""What all figures share: a title, axes with a light grid, a legend and a caption, each with room of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

DOTS_PER_INCH = 160
"""Figures are written, and text is measured, at this resolution: hinting makes widths depend on it."""

MARGIN = 0.15
"""Inches left free at the edges of a figure, and between its strips."""

TITLE_SIZE, CAPTION_SIZE, LEGEND_SIZE = 12, 9, 9.5


def sheet(
    *,
    title: str,
    caption: str,
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = (10, 5),
    **options: Any,
) -> tuple[Figure, tuple[Axes, ...]]:
    """Return an empty figure and its axes, row by row: ``figure, (left, right) = sheet(..., columns=2)``.

    Labels, titles of axes, colour bars and what is outside of the axes find their room when the figure is written.

    Parameters
    ----------
    title
        One line above all axes, or several if it is long.
    caption
        Printed below; should name the parameters and units. Mathematics between dollars is kept together.
    rows, columns
        How many axes.
    size
        Width, and height without caption and `legend`, in inches.
    **options
        As in `matplotlib.figure.Figure.subplots`: sharex, sharey, width_ratios, ...
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from pyrank.plotting.notebook import ShownFigure

    layout = ConstrainedLayoutEngine(w_pad=MARGIN / 2, h_pad=MARGIN / 2, wspace=0.03, hspace=0.03)
    figure = ShownFigure(figsize=size, dpi=DOTS_PER_INCH, layout=layout)
    figure.suptitle(_wrapped(figure, title, TITLE_SIZE), fontsize=TITLE_SIZE)
    text = figure.text(
        MARGIN, MARGIN, _wrapped(figure, caption, CAPTION_SIZE),
        transform=figure.dpi_scale_trans, fontsize=CAPTION_SIZE, color="0.25", va="bottom",
    )  # fmt: skip
    _raise_floor(figure, _extent(figure, text)[1] + 2 * MARGIN)
    axes = tuple(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for each in axes:
        each.grid(visible=True, color="0.9", linewidth=0.8)
        each.set_axisbelow(True)
    return figure, axes


def legend(figure: Figure) -> None:
    """Write one legend for all axes between them and the caption: to be called once, when everything is drawn."""
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    width = figure.get_size_inches()[0] - 2 * MARGIN
    floor = _floor(figure)
    for lines in range(1, len(entries) + 1):
        strip = figure.legend(
            list(entries.values()), list(entries), ncols=math.ceil(len(entries) / lines), fontsize=LEGEND_SIZE,
            frameon=False, borderpad=0, borderaxespad=0,
            loc="lower center", bbox_to_anchor=(MARGIN + width / 2, floor), bbox_transform=figure.dpi_scale_trans,
        )  # fmt: skip
        needed, height = _extent(figure, strip)
        if needed <= width or lines == len(entries):
            _raise_floor(figure, height + MARGIN)
            return
        strip.remove()


def log_ticks(axis: XAxis | YAxis, at: Sequence[float]) -> None:
    """Make ``axes.xaxis`` or ``axes.yaxis`` logarithmic, with plain numbers at the given places, such as widths."""
    places = sorted(set(at))
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log", base=2)
    axis.set_ticks(places, labels=[f"{value:g}" for value in places])
    axis.set_ticks([], minor=True)


def plain_decades(axes: Axes) -> None:
    """Write plain numbers, also between the powers of ten, on logarithmic axes of hardly more than one decade."""
    from matplotlib.ticker import LogFormatter

    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        if isinstance(axis.get_major_formatter(), LogFormatter) and low >= 1e-3 and high <= min(1e4, 100 * low):
            axis.set_major_formatter(LogFormatter())
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))


def symbol(value: float) -> str:
    """Write a parameter for a label: ``0.01``, or the sign of infinity."""
    return r"$\infty$" if math.isinf(value) else f"{value:g}"


def _wrapped(figure: Figure, text: str, size: float) -> str:
    """Break text of a font size in points into lines that fit into a figure; formulas are not broken."""
    from matplotlib.cbook import is_math_text
    from matplotlib.font_manager import FontProperties

    font, renderer = FontProperties(size=size), _renderer(figure)
    lines, line = [], ""
    for word in re.findall(r"(?:\$[^$]*\$|\S)+", text):
        longer = f"{line} {word}".lstrip()
        width = renderer.get_text_width_height_descent(longer, font, is_math_text(longer))[0] / figure.dpi
        if line and width > figure.get_size_inches()[0] - 2 * MARGIN:
            lines.append(line)
            line = word
        else:
            line = longer
    return "\n".join([*lines, line])


def _extent(figure: Figure, artist: Any) -> tuple[float, float]:
    """Return width and height of an artist in inches."""
    box = artist.get_window_extent(_renderer(figure))
    return box.width / figure.dpi, box.height / figure.dpi


def _renderer(figure: Figure) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    return canvas.get_renderer()


def _floor(figure: Figure) -> float:
    """Return the height in inches above which axes may stand."""
    layout: Any = figure.get_layout_engine()
    return float(layout.get()["rect"][1] * figure.get_size_inches()[1])


def _raise_floor(figure: Figure, inches: float) -> None:
    """Make the figure higher, and keep its axes out of what was added below."""
    floor = _floor(figure) + inches
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + inches)
    bottom = floor / (height + inches)
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, bottom, 1, 1 - bottom))
