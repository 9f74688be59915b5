"""At which angles do the samples of a batch settle, with and without recentring? It depends on the size of the batch.

Ido Nachum, Marco Bondaschi, Michael Gastpar, Anatoly Khina: "Batch Normalization Decomposed", 2024, arXiv:2412.02843.
Figure 5.

A layer is ``H' = Normalise(W F(H))`` with gaussian W and F = ReLU; the normalisation rescales only (RS), or recentres
and rescales (RC + RS). Angles are those between the samples of a batch, taken before the activation, at H, and after
it, at F(H); "before and after layer 30" compares F(H_29) with F(H_30). Claimed are about 60 degrees without recentring
and about 75 degrees with it, after the activation. In layers of infinite width both angles are known exactly, from
`pyrank.theory`, and both depend on N: the claims are held against the measured angles at several N.

The width is far above N, so that the angles are those of infinite width to a small part of a degree; W F is drawn by
the law "gram", which is exact and makes such widths cheap. Thirty layers are the published number, and enough: under RS
a deviation shrinks by 0.4 per layer, and gaussian inputs of this width start next to the fixed point of RC + RS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, close_to, publish
from pyrank.experiments.running import Job, run_all
from pyrank.reference.geometry import pairwise_angles
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure
from pyrank.support.text import plus_minus, span, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "recentering-angles"
PAPER = "Nachum et al. 2024"
NORMALIZATIONS = {"rescale": "RS", "batch": "RC + RS"}
PUBLISHED = {"rescale": 60.0, "batch": 75.0}
"""Degrees after the activation."""
EXACT = 0.5
"""Degrees within which a measured angle must be that of infinite width."""
ABOUT = 1.0
"""Degrees that "about 75 degrees" may be off."""


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


@dataclass(frozen=True)
class Row:
    """A line of the table: mean angles in degrees over pairs and chains, with half widths of 95 % intervals."""

    normalization: str
    batch: int
    before: float
    before_half_width: float
    before_exact: float
    after: float
    after_half_width: float
    after_exact: float


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    runs = run_all(_jobs(settings), out, device=device, progress=progress)
    rows = [_row(run) for run in runs]
    pairs = {_normalization(run): _pairs(run) for run in runs if run.plan.chain.batch == settings.shown}
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=_judge(rows),
        figure=_figure(rows, pairs, settings, caption),
        caption=caption,
        data={"pairs": pairs, "runs": [run.to_dict() for run in runs]},
    )


def mean_before(H: Tensor) -> Tensor:
    """Return the mean angle between samples at H; (chains,)."""
    return _between_pairs(H).mean(dim=-1)


def mean_after(H: Tensor) -> Tensor:
    """Return the mean angle between samples at F(H); (chains,)."""
    return _between_pairs(torch.relu(H)).mean(dim=-1)


def pairs_after(H: Tensor) -> Tensor:
    """Return the angles between samples i < j at F(H); (chains, pairs)."""
    return _between_pairs(torch.relu(H))


def _between_pairs(H: Tensor) -> Tensor:
    first, second = torch.triu_indices(H.shape[-1], H.shape[-1], 1)
    return pairwise_angles(H)[..., first, second]


def _jobs(settings: Settings) -> list[Job]:
    jobs = []
    for number, batch in enumerate(settings.batches):
        for kind, normalization in enumerate(NORMALIZATIONS):
            measures: list[Measure] = [Measure.parse(mean_before), Measure.parse(mean_after)]
            if batch == settings.shown:
                measures.append(Measure.parse(pairs_after))
            jobs.append(
                Job(
                    name=f"{normalization},N={batch}",
                    chain=Chain(settings.width, batch, weights="gram", activation="relu", normalization=normalization),
                    depth=settings.depth,
                    options={
                        "chains": settings.chains,
                        "seed": settings.seed + 2 * number + kind,
                        "measures": measures,
                        "burn_in": settings.depth - 2,
                        "trace": 2,
                    },
                    cost=batch * (batch + 50.0),
                )
            )
    return jobs


def _normalization(run: Run) -> str:
    return "batch" if run.plan.chain.normalization.recentre else "rescale"


def _last(run: Run, measure: str) -> tuple[float, float]:
    """Return the mean over chains at the last layer and its half width."""
    trace = run[measure].trace
    assert trace is not None
    mean, half_width = mean_interval(trace[:, -1])
    return float(mean), float(half_width)


def _row(run: Run) -> Row:
    normalization, batch = _normalization(run), run.plan.chain.batch
    before, after = _last(run, "mean_before"), _last(run, "mean_after")
    return Row(normalization, batch, *before, _exact_before(normalization, batch), *after,
               _exact_after(normalization, batch))  # fmt: skip


def _exact_after(normalization: str, batch: float) -> float:
    """Angle at F(H) in layers of infinite width."""
    cosine = theory.recentred_relu_cosine if normalization == "batch" else theory.rescaled_relu_cosine
    return float(theory.angle_degrees(cosine(batch)))


def _exact_before(normalization: str, batch: float) -> float:
    """Angle at H in layers of infinite width."""
    if normalization == "batch":
        return float(theory.angle_degrees(-1.0 / (batch - 1.0)))
    return float(theory.angle_degrees(theory.rescaled_cosine(theory.rescaled_relu_cosine(batch), batch)))


def _pairs(run: Run) -> list[list[float]]:
    """Return the angles of all pairs of the first chain, at the last two layers."""
    count = run.plan.chain.batch * (run.plan.chain.batch - 1) // 2
    traces = [run[f"pairs_after[{pair}]"].trace for pair in range(count)]
    return [[float(trace[0, layer]) for trace in traces if trace is not None] for layer in (-2, -1)]


def _judge(rows: Sequence[Row]) -> tuple[Claim, ...]:
    claims = []
    for normalization, name in NORMALIZATIONS.items():
        some = [row for row in rows if row.normalization == normalization]
        worst = max(some, key=lambda row: abs(row.after - row.after_exact) + row.after_half_width)
        off = worst.after - worst.after_exact
        claims.append(
            Claim(
                statement=f"{name} + ReLU: angles after the activation are those of infinite width to {EXACT:g} "
                f"degrees at N = {', '.join(str(row.batch) for row in some)}",
                source="closed form, pyrank.theory",
                value=off,
                error=worst.after_half_width,
                verdict=close_to(off - worst.after_half_width, off + worst.after_half_width, 0.0, EXACT),
                note=f"largest difference, in degrees, with its interval; at N = {worst.batch}: measured "
                f"{worst.after:.2f}, exact {worst.after_exact:.2f}",
            )
        )
        claims += [_published(row, name) for row in some]
    return tuple(claims)


def _published(row: Row, name: str) -> Claim:
    angle = PUBLISHED[row.normalization]
    return Claim(
        statement=f"{name} + ReLU: samples settle at about {angle:g} degrees, N = {row.batch}",
        source=f"{PAPER}, Fig. 5",
        value=row.after,
        error=row.after_half_width,
        verdict=close_to(row.after - row.after_half_width, row.after + row.after_half_width, angle, ABOUT),
        note=f"exact for N = {row.batch}: {row.after_exact:.2f} degrees; within {ABOUT:g} degree of {angle:g} for "
        f"N = {_valid_batches(row.normalization)} only",
    )


def _valid_batches(normalization: str) -> str:
    """Write the range of N at which the exact angle rounds to the published one."""
    good = [n for n in range(2, 200) if abs(_exact_after(normalization, n) - PUBLISHED[normalization]) <= ABOUT]
    return span(good)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        (f"{row.batch}", plus_minus(row.before, row.before_half_width), f"{row.before_exact:.2f}",
         plus_minus(row.after, row.after_half_width), f"{row.after_exact:.2f}", NORMALIZATIONS[row.normalization])
        for row in rows
    ]  # fmt: skip
    limits = ", ".join(
        f"{name} {_exact_after(normalization, float('inf')):.2f}" for normalization, name in NORMALIZATIONS.items()
    )
    return "\n".join([
        text_table(("batch N", "at H", "exact", "at F(H)", "exact", "normalisation"), lines),
        "Mean angles between samples in degrees, at the last layer; ± half of the 95 % interval over chains; exact: in",
        f"layers of infinite width. Exact at F(H) for N = infinity: {limits}.",
    ])  # fmt: skip


def _figure(rows: Sequence[Row], pairs: dict[str, list[list[float]]], settings: Settings, caption: str) -> Figure:
    figure, (scatter, sizes) = plotting.sheet(
        title="Angles between samples settle where the size of the batch puts them", caption=caption, columns=2
    )
    for number, (normalization, name) in enumerate(NORMALIZATIONS.items()):
        if normalization in pairs:
            before, after = pairs[normalization]
            scatter.plot(before, after, plotting.marker(number), color=plotting.colour(number), markersize=3)
        some = [row for row in rows if row.normalization == normalization]
        batches = np.unique(np.geomspace(2, 2 * max(row.batch for row in some), 60).astype(int))
        plotting.curve(sizes, batches, [_exact_after(normalization, int(n)) for n in batches], number)
        plotting.points(sizes, [row.batch for row in some], [row.after for row in some],
                        [row.after_half_width for row in some], number, f"{name} + ReLU")  # fmt: skip
    for angle in PUBLISHED.values():
        sizes.axhspan(angle - ABOUT, angle + ABOUT, color="0.85", zorder=0)
        scatter.plot(angle, angle, "+", color="black", markersize=16, zorder=5)
    plotting.guide(scatter, [54, 80], [54, 80], "unchanged")
    scatter.set_aspect("equal")
    scatter.set_xlabel(f"angle after layer {settings.depth - 1} (degrees)")
    scatter.set_ylabel(f"angle after layer {settings.depth} (degrees)")
    plotting.log_ticks(sizes.xaxis, settings.batches)
    sizes.set_xlabel("batch N (samples)")
    sizes.set_ylabel("mean angle (degrees)")
    plotting.legend(figure)
    return figure


def _caption(settings: Settings) -> str:
    return (
        f"After {PAPER}, Fig. 5. Angles between the samples of a batch after the activation, "
        f"H' = Normalise(W ReLU(H)), gaussian W, width d = {settings.width:,}, {settings.depth} layers. Left: every "
        f"pair of one batch of N = {settings.shown}, before and after layer {settings.depth}; crosses: 60 and 75 "
        f"degrees. Right: mean over pairs and {settings.chains} chains against N, with 95 % intervals (most below the "
        f"size of the markers); lines: exact for infinite width; grey: within {ABOUT:g} degree of 60 and 75. Seeds "
        f"{settings.seed} to {settings.seed + 2 * len(settings.batches) - 1}."
    )
