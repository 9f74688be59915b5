"""The panels of noise-robustness: accuracy against the number of points, and the gain by BN over the open constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrank import plotting
from pyrank.experiments.optimization.noisy_points import FEW, KINDS, Points
from pyrank.plotting import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pyrank.experiments.declaration import Found


def draw_curves(axes: Axes, found: Found) -> None:
    """Draw the best accuracy against the number of points."""
    for number, kind in enumerate(KINDS):
        curve = [row for row in found.rows if row.kind == kind][: len(found.settings.each)]
        each, accuracy = [row.each * 1.04 ** (number - 1) for row in curve], [row.accuracy for row in curve]
        plotting.points(axes, each, accuracy, [row.error for row in curve], number, kind)
        plotting.curve(axes, each, accuracy, number)
    plotting.log_ticks(axes.xaxis, found.settings.each)


def draw_map(axes: Axes, found: Found) -> None:
    """Draw the gain of BN, not reshuffled, at each of the constants: at best rates, and at the same one."""
    shown = [Points(FEW), *found.settings.others]
    for number, rate in enumerate((None, *found.data.rates)):
        gains = [found.data.gain([points], KINDS[1], rate) for points in shown]
        places = np.arange(len(shown)) + 0.16 * (number - len(found.data.rates) / 2)
        label = "each at its best rate" if rate is None else f"all at rate {rate:g}"
        axes.errorbar([g.value for g in gains], places, xerr=[g.error for g in gains], fmt=plotting.marker(number + 3),
                      color="black" if rate is None else plotting.colour(number + 2), markersize=5, capsize=2,
                      markerfacecolor="white", label=label)  # fmt: skip
    axes.axvline(0.0, color="0.45", linewidth=1.0)
    axes.set_yticks(range(len(shown)), [points.constants for points in shown])
    axes.invert_yaxis()


PANELS = (
    Panel(draw_curves, xlabel="training points of each class", ylabel="best accuracy"),
    Panel(draw_map, xlabel="gain in best accuracy by BN, not reshuffled"),
)
