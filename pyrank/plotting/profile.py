"""Numbers by layer of a network, in the order in which it has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyrank.plotting.marks import band
from pyrank.plotting.paper import sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LABELS = 24
"""Layers whose names fit below an axis; of more, each so many-th is written."""


@dataclass(frozen=True)
class Profile:
    """One number of each layer, and the range in which it was found; all of shape (layers,)."""

    name: str
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def profile(layers: Sequence[str], profiles: Sequence[Profile], *, title: str, caption: str) -> Figure:
    """Draw a row for each number, over the names of the layers.

    Parameters
    ----------
    layers
        Their names, from the input to the output.
    profiles
        At least one.
    title, caption
        As of a `sheet`.
    """
    size = (9, 1.2 + 2.4 * len(profiles))
    figure, axes = sheet(title=title, caption=caption, rows=len(profiles), size=size, sharex=True)
    places = range(len(layers))
    for number, (each, shown) in enumerate(zip(axes, profiles, strict=True)):
        band(each, places, shown.value, shown.low, shown.high, number)
        each.set_ylabel(shown.name)
        each.set_ylim(bottom=0)
    written = places[:: -(-len(layers) // MOST_LABELS)]
    axes[-1].set_xticks(written, labels=[layers[place] for place in written], rotation=90, fontsize=8)
    axes[-1].set_xlabel("layer")
    return figure
