"""The panels of lp-normalizations: a colour for each order, full lines and filled marks for what is centred."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank import plotting
from pyrank.experiments.optimization.normalizations import NORMALIZATIONS, ORDERS, WITHOUT
from pyrank.experiments.optimization.trainings import CLASSES
from pyrank.plotting import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pyrank.experiments.declaration import Found

CEILING = 2.0
"""Losses above so many times that of guessing, and of trainings that diverged, are drawn there."""


def _look(name: str) -> dict[str, Any]:
    """Return how a normalisation is drawn."""
    centring, order = name.split()
    number, centred = list(ORDERS).index(order), centring == "centred"
    colour = plotting.colour(number)
    return {"color": colour, "linestyle": "-" if centred else "--", "marker": plotting.marker(number), "label": name,
            "markerfacecolor": colour if centred else "white", "markersize": 4.5, "linewidth": 1.3}  # fmt: skip


def draw_distances(axes: Axes, found: Found) -> None:
    """Draw the distance from the start by epoch."""
    for name in NORMALIZATIONS:
        distance = found.data.values(name, "distance").mean(axis=0)
        axes.plot(np.arange(len(distance)), distance, markevery=max(len(distance) // 5, 1), **_look(name))


def draw_eigenvalues(axes: Axes, found: Found) -> None:
    """Draw the largest eigenvalues in their order."""
    for name in NORMALIZATIONS:
        values = found.data.values(name, "eigenvalues").mean(axis=0)
        axes.plot(1 + np.arange(len(values)), values, **_look(name))
    axes.set_xticks(range(1, found.settings.k + 1))


def draw_accuracies(axes: Axes, found: Found) -> None:
    """Draw accuracy against sharpness."""
    for row in found.rows:
        look = _look(row.name) | {"linestyle": "none", "markersize": 6.0}
        axes.errorbar(row.top, 100 * row.accuracy, 100 * row.accuracy_error, row.top_error, capsize=2, **look)


def draw_rates(axes: Axes, found: Found) -> None:
    """Draw what short trainings reach at each rate."""
    guessing = math.log(CLASSES)
    for name, losses in found.data.losses.items():
        mean = np.minimum(losses.mean(axis=0), CEILING * guessing)
        look = _look(name) if name != WITHOUT else {"color": "black", "marker": "x", "linewidth": 2.0, "label": "none"}
        axes.plot(found.settings.rates, mean, **look)
    plotting.guide(axes, found.settings.rates[:: len(found.settings.rates) - 1], [guessing / 2] * 2)


PANELS = (
    Panel(draw_distances, xlabel="epoch", ylabel="distance from the start"),
    Panel(draw_eigenvalues, xlabel="number", ylabel="eigenvalue of the Hessian", yscale="log"),
    Panel(draw_accuracies, xlabel="largest eigenvalue", ylabel="best accuracy (%)"),
    Panel(draw_rates, xlabel="learning rate", ylabel="training loss", xscale="log"),
)
