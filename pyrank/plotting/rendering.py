"""From a figure to the bytes of a file."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from pyrank.support import optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require() -> None:
    """Raise ImportError, saying what to install, if matplotlib is missing: to be called before long work."""
    optional.load("matplotlib", "a figure")


def rendered(figure: Figure, form: str) -> bytes:
    """Return a figure as ``"png"`` or ``"svg"``: the same bytes for the same figure, which is finished now."""
    from matplotlib import rc_context

    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # a layout that is solved again starts from the last one, and moves a little
    file = BytesIO()
    with rc_context({"svg.hashsalt": "pyrank"}):
        figure.savefig(file, format=form, dpi="figure", metadata=metadata)
    return file.getvalue()
