"""From a figure to the bytes of a file."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from pyrank.support import optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMS = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""What a figure can be written as, and what is left out so that the same figure gives the same bytes."""


def require() -> None:
    """Raise ImportError, saying what to install, if matplotlib is missing: to be called before long work."""
    optional.load("matplotlib", "a figure")


def rendered(figure: Figure, form: str) -> bytes:
    """Return a figure in one of `FORMS`: the same bytes for the same figure, which is finished now."""
    from matplotlib import rc_context

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # a layout that is solved again starts from the last one, and moves a little
    file = BytesIO()
    with rc_context({"svg.hashsalt": "pyrank"}):
        figure.savefig(file, format=form, dpi="figure", metadata=FORMS[form])
    return file.getvalue()
