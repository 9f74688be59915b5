"""The figure of the experiment equivalent-network: norms by step as in the note, and what is behind them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank import plotting
from pyrank.experiments.declaration import Found
from pyrank.experiments.optimization.full_batch import KINDS, Record
from pyrank.experiments.optimization.full_batch_claims import NORMS, factor
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CEILING = 1e12
"""Norms and losses above are not drawn."""
SYMBOLS = dict(zip(NORMS, (r"$\|Y_l\|$", r"$\|\partial L / \partial Y_l\|$", r"$\|W_l\|$"), strict=True))
SHOWN = {"equivalent": "without BN", "BN": "BN"}
"""The two networks of the note, in its order."""


def _shade(part: float) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis_r"](0.1 + 0.9 * part)


def draw_norms(axes: Axes, found: Found, kind: str, what: str) -> None:
    """Draw a norm of all layers by step."""
    record: Record = found.data.records[kind][0]
    norms = getattr(record, what)
    for layer, values in enumerate(norms.T):
        part = layer / max(1, len(norms.T) - 1)
        end = {0: "first layer", len(norms.T) - 1: "last layer"}.get(layer)
        axes.plot(values, color=_shade(part), linewidth=1.2, label=end, marker=".", markersize=3)
    axes.set(yscale="log", xlabel="step", ylabel=SYMBOLS[what], title=f"{SHOWN[kind]}: {what}")
    axes.locator_params(axis="x", integer=True)
    seen = norms[np.isfinite(norms) & (norms > 0)]
    low, high = seen.min(), seen.max()
    axes.set_ylim(low / 2, min(2 * high, CEILING))


def draw_losses(axes: Axes, found: Found, gentle: bool) -> None:
    """Draw the losses of all seeds, at the rate of the note or at a small one."""
    for number, (kind, records) in enumerate((found.data.gentle if gentle else found.data.records).items()):
        for index, record in enumerate(records):
            plotting.curve(axes, np.arange(len(record.loss)), record.loss, number, None if index else KINDS[kind])
    rate = found.settings.gentle if gentle else found.settings.rate
    limits = (None, 10.0) if gentle else (0.1, 1e4)
    axes.set(yscale="log", ylim=limits, xlabel="step", ylabel="loss", title=f"rate {rate:g}")


def draw_layers(axes: Axes, found: Found) -> None:
    """Draw the outputs of the network without normalisation by layer, a line a step."""
    norms = found.data.records["equivalent"][0].activations
    steps = np.flatnonzero(np.isfinite(norms).all(axis=1))
    for step in steps[:6]:
        axes.plot(1 + np.arange(norms.shape[1]), norms[step], color=_shade(step / 6), linewidth=1.2, marker="o",
                  markersize=3)  # fmt: skip
        axes.annotate(f"{step}", (norms.shape[1], min(norms[step, -1], CEILING)), fontsize=8, xytext=(4, -3),
                      textcoords="offset points")  # fmt: skip
    axes.set(yscale="log", ylim=(None, CEILING), xlabel="layer", ylabel=SYMBOLS["activations"],
             title="without BN, after so many steps")  # fmt: skip


def draw_rates(axes: Axes, found: Found) -> None:
    """Draw the largest stable rates by depth."""
    for number, (kind, name) in enumerate(KINDS.items()):
        means = [factor(found.data.rates[kind, depth]) for depth in found.settings.depths]
        error = [[m.value - m.low for m in means], [m.high - m.value for m in means]]
        depths = [depth * 1.02 ** (number - 1) for depth in found.settings.depths]
        plotting.points(axes, depths, [m.value for m in means], np.maximum(error, 0.0), number, f"{name}: rate")
    plotting.log_ticks(axes.xaxis, found.settings.depths)
    plotting.guide(
        axes, (min(found.settings.depths), max(found.settings.depths)), [found.settings.rate] * 2, "the note"
    )
    axes.set(yscale="log", xlabel="hidden layers", ylabel="largest rate that does not diverge")


SHEET = Sheet(
    "The same function with and without batch normalisation, and descent at rate 1",
    [*(Panel(partial(draw_norms, kind="equivalent", what=what)) for what in NORMS),
     Panel(draw_layers), Panel(partial(draw_losses, gentle=False)),
     *(Panel(partial(draw_norms, kind="BN", what=what)) for what in NORMS),
     Panel(draw_rates), Panel(partial(draw_losses, gentle=True))],
    columns=5, size=(19, 7.5),
)  # fmt: skip
