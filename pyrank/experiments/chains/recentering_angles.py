"""At which angles do the samples of a batch settle, with and without recentring? It depends on the size of the batch.

A layer is ``H' = Normalise(W F(H))`` with gaussian W and F = ReLU; the normalisation rescales only (RS), or recentres
and rescales (RC + RS). Angles are those between the samples of a batch, taken before the activation, at H, and after
it, at F(H); "before and after layer 30" compares F(H_29) with F(H_30). Published are about 60 degrees without
recentring and about 75 degrees with it, after the activation and at no stated N. In layers of infinite width both
angles are known exactly (`pyrank.theory.settled_angles`), and both depend on N.

The width is far above N, so that the angles are those of infinite width to a small part of a degree; W F is drawn by
the law "gram", which is exact and makes such widths cheap. Thirty layers are the published number, and enough: under RS
a deviation shrinks by 0.4 per layer, and gaussian inputs of this width start next to the fixed point of RC + RS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.claims import Claim, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import NACHUM
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.reference.geometry import pairwise_angles
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NORMALIZATIONS = {"rescale": "RS", "batch": "RC + RS"}
PUBLISHED = {"rescale": 60.0, "batch": 75.0}
"""Degrees after the activation."""
ABOUT = 2.5
"""Degrees that an angle may differ from "approximately 75 degrees", a number that ends in 0 or 5."""
EXACT = 0.5
"""Degrees within which a measured angle must be that of infinite width."""


@dataclass(frozen=True)
class Settings:
    """Batches of each size at one width; ``shown`` is the batch whose pairs are drawn one by one."""

    batches: tuple[int, ...]
    shown: int
    width: int
    chains: int
    depth: int = 30
    seed: int = 0


PRESETS = {
    "quick": Settings(batches=(4, 8, 10, 20, 64), shown=20, width=2048, chains=48),
    "paper": Settings(batches=(2, 3, 4, 6, 8, 10, 14, 20, 32, 64, 128, 256), shown=20, width=4096, chains=64),
}


def mean_before(H: Tensor) -> Tensor:
    """Return the mean angle between samples at H; (chains,)."""
    return _between_pairs(H).mean(dim=-1)


def mean_after(H: Tensor) -> Tensor:
    """Return the mean angle between samples at F(H); (chains,)."""
    return pairs_after(H).mean(dim=-1)


def pairs_after(H: Tensor) -> Tensor:
    """Return the angles between samples i < j at F(H); (chains, pairs)."""
    return _between_pairs(torch.relu(H))


def _between_pairs(H: Tensor) -> Tensor:
    first, second = torch.triu_indices(H.shape[-1], H.shape[-1], 1)
    return pairwise_angles(H)[..., first, second]


def tasks(settings: Settings) -> list[Simulation]:
    """Return two simulations for each batch, which record the last two layers."""
    found: list[Simulation] = []
    for batch in settings.batches:
        measures = [mean_before, mean_after, pairs_after] if batch == settings.shown else [mean_before, mean_after]
        found += [
            Simulation(
                name=f"{normalization},N={batch}",
                chain=Chain(settings.width, batch, weights="gram", activation="relu", normalization=normalization),
                depth=settings.depth,
                options={"chains": settings.chains, "seed": settings.seed + len(found) + kind,
                         "measures": [Measure.parse(measure) for measure in measures],
                         "burn_in": settings.depth - 2, "trace": 2},
                cost=batch * (batch + 50.0),
            )
            for kind, normalization in enumerate(NORMALIZATIONS)
        ]  # fmt: skip
    return found


def normalization_of(run: Run) -> str:
    """Return the name of a run's normalisation in `NORMALIZATIONS`."""
    return "batch" if run.plan.chain.normalization.recentre else "rescale"


def shown_pairs(found: Found) -> dict[str, list[list[float]]]:
    """Return the angles of all pairs of one batch at the last two layers, for each normalisation."""
    size = found.settings.shown
    return {
        normalization_of(run): np.transpose(
            [trace(run, f"pairs_after[{pair}]")[0, -2:] for pair in range(size * (size - 1) // 2)]
        ).tolist()
        for run in found.data
        if run.plan.chain.batch == size
    }


COLUMNS = (
    Column("batch", "batch N"),
    Column("before", "at H", error="before_half_width", meaning="angle before the activation, in degrees"),
    Column("before_half_width"),
    Column("before_exact", "exact", ".2f"),
    Column("after", "at F(H)", error="after_half_width", meaning="after it"),
    Column("after_half_width"),
    Column("after_exact", "exact", ".2f", meaning="in layers of infinite width"),
    Column("normalization", "normalisation", lambda row: NORMALIZATIONS[row.normalization]),
)


def rows(settings: Settings, runs: Sequence[Run]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each run: mean angles at the last layer."""
    for run in runs:
        exact = theory.settled_angles(run.plan.chain.batch, run.plan.chain.normalization.recentre)
        values: dict[str, Any] = {"normalization": normalization_of(run), "batch": run.plan.chain.batch}
        for where, angle in zip(("before", "after"), exact, strict=True):
            mean, half_width = mean_interval(trace(run, f"mean_{where}")[:, -1])
            values |= {where: float(mean), f"{where}_half_width": float(half_width), f"{where}_exact": float(angle)}
        yield values


def claims(found: Found) -> list[Claim]:
    """Return the published angles at the batch that is shown, and those at others, measured and exact."""
    groups = found.rows_by("normalization").values()
    shown = [_published(row) for some in groups for row in some if row.batch == found.settings.shown]
    return [*shown, *map(_other_batches, groups), *map(_infinite_width, groups)]


def _published(row: Row) -> Claim:
    angle = PUBLISHED[row.normalization]
    return published(
        f"{NORMALIZATIONS[row.normalization]} + ReLU: output angles are approximately {angle:g} degrees",
        NACHUM.at("Fig. 5"),
        Interval.around(row.after, row.after_half_width),
        close_to(angle, ABOUT),
        reading=f"mean angle after the activation of the last layer, rounded to 5 degrees; N is not stated, here "
        f"{row.batch}",
        note=f"in layers of infinite width {row.after_exact:.2f} degrees",
    )


def _other_batches(some: Sequence[Row]) -> Claim:
    angle = PUBLISHED[some[0].normalization]
    worst = max(some, key=lambda row: abs(row.after - angle) + float(row.after_half_width))
    limit = theory.settled_angles(np.inf, worst.normalization == "batch")[1]
    exact = ", ".join(f"{row.after_exact:.1f} at N = {row.batch}" for row in some)
    return extension(
        f"{NORMALIZATIONS[worst.normalization]} + ReLU: angle after the activation at any N, N = {_batches(some)}",
        NACHUM.at("Fig. 5, at other N"),
        Interval.around(worst.after, worst.after_half_width),
        close_to(angle, ABOUT),
        note=f"furthest off at N = {worst.batch}; exact: {exact}, and {limit:.1f} for N = infinity",
    )


def _infinite_width(some: Sequence[Row]) -> Claim:
    worst = max(some, key=lambda row: abs(row.after - row.after_exact) + float(row.after_half_width))
    return extension(
        f"{NORMALIZATIONS[worst.normalization]} + ReLU: angle after the activation less that of infinite width, "
        f"N = {_batches(some)}",
        "pyrank.theory.settled_angles",
        Interval.around(worst.after - worst.after_exact, worst.after_half_width),
        close_to(0.0, EXACT),
        note=f"degrees, the largest difference, at N = {worst.batch}: measured {worst.after:.2f}, exact "
        f"{worst.after_exact:.2f}",
    )


def _batches(some: Sequence[Row]) -> str:
    return ", ".join(str(row.batch) for row in some)


def draw_pairs(axes: Axes, found: Found) -> None:
    """Draw every pair of one batch, before and after the last layer, and crosses at the published angles."""
    pairs, depth = shown_pairs(found), found.settings.depth
    for number, normalization in enumerate(NORMALIZATIONS):
        axes.plot(*pairs[normalization], plotting.marker(number), color=plotting.colour(number), markersize=3)
    angles = list(PUBLISHED.values())
    axes.plot(angles, angles, "+", color="black", markersize=16, zorder=5, label="published")
    plotting.guide(axes, [54, 80], [54, 80], "unchanged")
    axes.set(xlabel=f"angle after layer {depth - 1} (degrees)", ylabel=f"angle after layer {depth} (degrees)")


def draw_sizes(axes: Axes, found: Found) -> None:
    """Draw the mean angle against N beside the exact one, and what counts as published."""
    for number, (normalization, some) in enumerate(found.rows_by("normalization").items()):
        sizes = np.unique(np.geomspace(2, 2 * max(row.batch for row in some), 60).astype(int))
        plotting.curve(axes, sizes, theory.settled_angles(sizes, normalization == "batch")[1], number)
        plotting.points(axes, [row.batch for row in some], [row.after for row in some],
                        [row.after_half_width for row in some], number,
                        f"{NORMALIZATIONS[normalization]} + ReLU")  # fmt: skip
    for angle in PUBLISHED.values():
        axes.axhspan(angle - ABOUT, angle + ABOUT, color="0.85", zorder=0)
    plotting.log_ticks(axes.xaxis, found.settings.batches)


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        "Angles between the samples of a batch after the activation, H' = Normalise(W ReLU(H)), gaussian W, width d = "
        f"{settings.width:,}, {settings.depth} layers. Left: every pair of one batch of N = {settings.shown}, before "
        f"and after layer {settings.depth}; crosses: 60 and 75 degrees. Right: mean over pairs and {settings.chains} "
        "chains against N, with 95 % intervals (most below the size of the markers); lines: exact for infinite width; "
        f"grey: within {ABOUT:g} degrees of 60 and 75."
    )


EXPERIMENT = Experiment(
    name="recentering-angles",
    question="At which angles do the samples of a batch settle, with and without recentring?",
    sources=(NACHUM.at("Fig. 5"),),
    presets=PRESETS,
    tasks=tasks,
    columns=COLUMNS,
    rows=rows,
    note="Means over the pairs of a batch; ± half of the 95 % interval over chains.",
    claims=claims,
    sheet=Sheet(
        "Angles between samples settle where the size of the batch puts them",
        (
            Panel(draw_pairs, aspect="equal"),
            Panel(draw_sizes, xlabel="batch N (samples)", ylabel="mean angle (degrees)"),
        ),
    ),
    caption=caption,
    more=lambda found: {"pairs": shown_pairs(found), "runs": [run.to_dict() for run in found.data]},
)
