"""Figures: a list of panels becomes a sheet with title, labels, one legend and a caption."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyrank.plotting.paper import legend, plain_decades, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel:
    """One pair of axes.

    Parameters
    ----------
    draw
        Called with the axes and what was found.
    projection
        ``"3d"`` for axes in space.
    **look
        What `matplotlib.axes.Axes.set` takes: title, xlabel, ylabel, xscale, yscale, xlim, ...
    """

    def __init__(self, draw: Callable[[Axes, Any], None], projection: str | None = None, **look: Any) -> None:
        self.draw, self.projection, self.look = draw, projection, look


@dataclass(frozen=True)
class Sheet:
    """A figure.

    Attributes
    ----------
    title
        Above all panels.
    panels
        Row by row; or a function of what was found that returns them.
    columns
        How many panels stand side by side; all of them if not given.
    size
        Width and height in inches, without caption and legend.
    options
        As in `matplotlib.figure.Figure.subplots`: sharex, sharey, width_ratios, ...
    """

    title: str
    panels: Sequence[Panel] | Callable[[Any], Sequence[Panel]]
    columns: int | None = None
    size: tuple[float, float] = (10, 5)
    options: Mapping[str, Any] = field(default_factory=dict)

    def figure(self, found: Any, caption: str) -> Figure:
        """Draw it."""
        panels = self.panels(found) if callable(self.panels) else self.panels
        columns = self.columns or len(panels)
        figure, axes = sheet(
            title=self.title, caption=caption, rows=-(-len(panels) // columns), columns=columns, size=self.size,
            **self.options,
        )  # fmt: skip
        for each, panel in zip(axes, panels, strict=True):
            if panel.projection:
                place = each.get_subplotspec()
                assert place is not None
                each.remove()
                each = figure.add_subplot(place, projection=panel.projection)
            panel.draw(each, found)
            each.set(**panel.look)
            plain_decades(each)
        legend(figure)
        return figure
