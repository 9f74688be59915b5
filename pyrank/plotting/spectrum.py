"""Numbers in order, such as growth rates, with error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrank.plotting.marks import points
from pyrank.plotting.paper import sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def spectrum(
    values: NDArray[np.float64], error: NDArray[np.float64], *, title: str, ylabel: str, caption: str
) -> Figure:
    """Draw the k-th of some values against k.

    Parameters
    ----------
    values, error
        Shape (k,): the values, and the half-widths of their intervals. What is not finite is left out, and the
        caption says so.
    title, ylabel, caption
        Of the figure and its axes.
    """
    from matplotlib.ticker import MaxNLocator

    finite = np.isfinite(values)
    if not finite.all():
        caption += f" {np.sum(~finite)} of {len(values)} are not finite and not drawn."
    figure, (axes,) = sheet(title=title, caption=caption, size=(7, 4))
    points(axes, np.flatnonzero(finite) + 1, values[finite], error[finite], 0)
    axes.set_xlim(0.5, len(values) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("k")
    axes.set_ylabel(ylabel)
    return figure
