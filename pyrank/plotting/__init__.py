"""Figures from data alone: nothing here simulates, and no global state of matplotlib is touched.

A figure is a `sheet` with a title above its axes and a caption below them, on which `band`, `points`, `curve` and
`guide` draw, closed by one `legend`. A series is known by its number: 0, 1, ... gives it a colour, a marker and a
stroke. Anything else is drawn with matplotlib's own methods of the axes.

What a run returns is drawn by `records` and `spectrum`, which are imported from their own files: they need numpy, and
the command line does not wait for it.
"""

from pyrank.plotting.marks import band, colour, curve, each, guide, marker, points
from pyrank.plotting.panels import Panel, Sheet
from pyrank.plotting.paper import legend, log_ticks, sheet, symbol
from pyrank.plotting.power_laws import Series, power_guide, scaling
from pyrank.plotting.rendering import FORMS, rendered, require

__all__ = [
    "FORMS",
    "Panel",
    "Series",
    "Sheet",
    "band",
    "colour",
    "curve",
    "each",
    "guide",
    "legend",
    "log_ticks",
    "marker",
    "points",
    "power_guide",
    "rendered",
    "require",
    "scaling",
    "sheet",
    "symbol",
]
