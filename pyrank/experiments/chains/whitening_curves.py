"""What whitening-vs-batchnorm measures on its chains, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrank import plotting
from pyrank.engine.simulation import simulate
from pyrank.experiments.declaration import Found
from pyrank.experiments.tables import Row
from pyrank.plotting import Panel
from pyrank.reference.spectral import isometry_gap
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACTIVATIONS = ("linear", "relu")
NORMALIZATIONS = {"rescale": "BN (rescale)", "batch": "BN (recentre, rescale)", "whiten": "whitening"}
TIMED = 16
"""Chains that are timed together: a full register of them."""


def feature_isometry_gap(H: Tensor) -> Tensor:
    """Return the isometry gap of the rows of each state (chains, d, N)."""
    return isometry_gap(H.mT)


MEASURES = {
    "r": Measure("participation_ratio"),
    "rank": Measure("soft_rank", 0.5),
    "gap": Measure("feature_isometry_gap", function=feature_isometry_gap),
}


def microseconds(chains: Sequence[Chain], layers: int, repetitions: int = 3) -> NDArray[np.float64]:
    """Return the time of a layer of one chain, without measures: the fastest of repetitions that take turns."""
    options: dict[str, Any] = {"chains": TIMED, "measures": [], "threads": 1, "progress": False}
    seconds = [[simulate(chain, layers, **options).seconds for chain in chains] for _ in range(repetitions)]
    fastest: NDArray[np.float64] = np.min(seconds, axis=0)
    return 1e6 * fastest / (TIMED * layers)


def panels() -> list[Panel]:
    """Return rank, isometry gap and cost, each for linear chains and for ReLU."""
    rows = (
        (draw_share, "r / d", {"yscale": "log", "xlabel": "width d"}),
        (draw_gap, "isometry gap (nats)", {"xscale": "log", "xlabel": "depth (layers), largest width"}),
        (draw_cost, "microseconds per layer", {"yscale": "log", "xlabel": "width d"}),
    )
    return [
        Panel(partial(draw, activation=activation), **look, ylabel="" if number else label,
              title=activation if draw is draw_share else "")
        for draw, label, look in rows
        for number, activation in enumerate(ACTIVATIONS)
    ]  # fmt: skip


def draw_share(axes: Axes, found: Found, activation: str) -> None:
    """Draw r / d over the width."""
    for number, (label, widths, some) in enumerate(_series(axes, found, activation)):
        shares, errors = [row.r / row.width for row in some], [row.r_error / row.width for row in some]
        plotting.points(axes, widths, shares, errors, number, label)
    ends = [min(found.settings.widths), max(found.settings.widths)]
    plotting.guide(axes, ends, [width**-0.5 for width in ends], r"$1/\sqrt{d}$")


def draw_cost(axes: Axes, found: Found, activation: str) -> None:
    """Draw the time of a layer over the width."""
    for number, (_, widths, some) in enumerate(_series(axes, found, activation)):
        plotting.points(axes, widths, [row.microseconds for row in some], None, number)


def _series(axes: Axes, found: Found, activation: str) -> list[tuple[str, list[float], list[Row]]]:
    """Return for each normalisation its label, its widths, drawn side by side, and its rows."""
    rows = found.rows_by("activation", "normalization")
    plotting.log_ticks(axes.xaxis, [row.width for row in found.rows])
    return [
        (label, [row.width * 1.05 ** (number - 1) for row in rows[activation, name]], rows[activation, name])
        for number, (name, label) in enumerate(NORMALIZATIONS.items())
    ]


def draw_gap(axes: Axes, found: Found, activation: str) -> None:
    """Draw the isometry gap at the largest width against depth: all chains around the middle one, while finite."""
    for number, normalization in enumerate(NORMALIZATIONS):
        course, _ = found.data[max(found.settings.widths), activation, normalization]
        some = course.log_spaced()
        gaps = np.sort(course.values["gap"][:, some], axis=0)
        some, gaps = some[np.isfinite(gaps[-1])], gaps[:, np.isfinite(gaps[-1])]
        plotting.band(axes, course.depths[some], gaps[len(gaps) // 2], gaps[0], gaps[-1], number)
