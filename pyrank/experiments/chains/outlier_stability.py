"""Does a batch return to a cluster and an outlier when it is disturbed? The outlier stays, but the cluster is no point.

Ido Nachum, Marco Bondaschi, Michael Gastpar, Anatoly Khina: "Batch Normalization Decomposed", 2024, arXiv:2412.02843.
The abstract announces a stability result for the configuration of one cluster and an odd data point. The theorem itself
is not tested here; stability is read as: small deviations shrink from layer to layer, and larger ones return.

A layer is ``H' = Normalise(W ReLU(H))`` with gaussian W; the normalisation recentres only (RC), or recentres and
rescales (RC + RS). Everything is looked at after the activation. The spread of a cluster is the root of the mean
squared distance of its samples from their mean over their mean squared length. Chains start from three kinds of states:

* the cluster in one point (`pyrank.theory.outlier_gram`), each sample with gaussian noise of ``size`` times its length;
* the state that attracts in infinite width (`pyrank.theory.escaped_gram`), but with a cluster whose 1 - cosine is
  larger by the factor 1 + ``size``; run beside the undisturbed state with the same weights, so that the difference of
  the two decays without the fluctuations that they share;
* mixtures of that state, of weight ``size``, with the symmetric one, as Gram matrices.

The rates are compared with those of infinite width. Under RC, distances in a point cluster grow by
`pyrank.theory.cluster_multiplier`; deviations from the escaped state shrink by `pyrank.theory.escaped_multiplier`, a
numerical derivative of one layer. A chain has returned if the sample that was the outlier has escaped at the last
layer, by the definition of the experiment escaped-outlier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import mean_interval, share_interval
from pyrank.experiments import Claim, Result, at_least, at_most, close_to, publish
from pyrank.experiments.chains.escaped_outlier import NONE_SHARE, NORMALIZATIONS, Ends
from pyrank.experiments.chains.outlier_starts import Start, critical_mixture, exact_spread
from pyrank.experiments.running import Job, run_all
from pyrank.experiments.shares import share_claim
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure
from pyrank.support.text import plus_minus, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

NAME = "outlier-stability"
PAPER = "Nachum et al. 2024"
KINDS = {"noise": "point cluster + noise", "wider": "wider cluster", "mixture": "mixed with symmetric"}
GROWTH, DECAY = (1, 21), (5, 41)
"""Layers between which the two rates are measured: growth before the cluster is wide, decay after the first layers.
Both are recorded if every second or fourth layer is."""
SMALL = 0.01
"""Noise up to which the growth is that of infinitesimal distances, to the margin below."""
MARGIN = 0.01
"""What a measured multiplier may be off."""
MOST = 0.9
ASIDE = 1.08
"""Points of successive batches are drawn so far apart, as a factor, that they do not hide each other."""
SHARE = "share of the chains that have the same outlier at the last layer"


@dataclass(frozen=True)
class Settings:
    """All starts are run for each batch; the first of ``noises`` also with rescaling."""

    batches: tuple[int, ...]
    noises: tuple[float, ...]
    mixtures: tuple[float, ...]
    width: int
    chains: int
    depth: int
    every: int
    wider: float = 0.1
    seed: int = 0

    @property
    def starts(self) -> tuple[Start, ...]:
        """What is run, in order."""
        starts = []
        for batch in self.batches:
            starts += [Start(batch, "noise", size) for size in self.noises]
            starts += [Start(batch, "noise", self.noises[0], "batch")]
            starts += [Start(batch, "wider", size) for size in (0.0, self.wider)]
            starts += [Start(batch, "mixture", size) for size in self.mixtures]
        return tuple(starts)


PRESETS = {
    "quick": Settings(
        (8, 20), noises=(1e-3, 1e-2, 0.1, 1.0), mixtures=(0.3, 0.1, 0.03, 0.01, 0.003, 0.001), width=1024, chains=40,
        depth=200, every=4,
    ),
    "paper": Settings(
        (8, 20, 64), noises=(1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0),
        mixtures=(1.0, 0.3, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.001, 3e-4, 1e-4), width=2048, chains=100,
        depth=400, every=4,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A line of the table: one start.

    ``returned`` of ``chains`` chains; ``spread`` of the cluster and ``length`` of the outlier, in units of N - 1, at
    the last layer, means over chains with half widths of 95 % intervals; ``multiplier`` per layer of the spread
    (noise) or of its deviation (wider cluster), with that of infinite width; NaN where there is none.
    """

    batch: int
    kind: str
    size: float
    normalization: str
    chains: int
    returned: int
    share_low: float
    share_high: float
    spread: float
    spread_half_width: float
    length: float
    length_half_width: float
    multiplier: float
    multiplier_half_width: float
    multiplier_exact: float


def cluster_spread(features: Tensor) -> Tensor:
    """Return the spread of all samples but the last; (chains,)."""
    cluster = features[..., :-1]
    distances = cluster - cluster.mean(dim=-1, keepdim=True)
    spread: Tensor = torch.linalg.matrix_norm(distances) / torch.linalg.matrix_norm(cluster)
    return spread


def last_length(features: Tensor) -> Tensor:
    """Return the length of the last sample over (N - 1) times the median of the others; (chains,)."""
    lengths = torch.linalg.vector_norm(features, dim=-2)
    units = lengths[..., -1] / lengths[..., :-1].quantile(0.5, dim=-1) / (features.shape[-1] - 1)
    return torch.as_tensor(units)


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    jobs = [_job(settings, number) for number in range(len(settings.starts))]
    runs = dict(zip(settings.starts, run_all(jobs, out, device=device, progress=progress), strict=True))
    rows = [_row(start, runs, settings) for start in settings.starts]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=_judge(rows),
        figure=_figure(rows, runs, settings, caption),
        caption=caption,
        data={
            "critical mixtures": {str(batch): critical_mixture(batch) for batch in settings.batches},
            "runs": [run.to_dict() for run in runs.values()],
        },
    )


def _job(settings: Settings, number: int) -> Job:
    start = settings.starts[number]
    undisturbed = settings.starts.index(Start(start.batch, "wider", 0.0))
    measures = [] if start.kind == "mixture" else [Measure.parse(cluster_spread)]
    if start.kind == "noise" and start.size == settings.noises[0]:
        measures.append(Measure.parse(last_length))
    return Job(
        name=f"{start.kind},N={start.batch},size={start.size:g},{start.normalization}",
        chain=Chain(settings.width, start.batch, weights="gram", activation="relu", normalization=start.normalization),
        depth=settings.depth,
        options={
            "chains": settings.chains,
            "seed": settings.seed + (undisturbed if start.kind == "wider" else number),
            "measures": measures,
            "observe": "activation",
            "initial": start.features(settings.width, settings.chains, (settings.seed, number)),
            "every": settings.every,
            "trace": 2 * settings.depth,
        },
        cost=start.batch * (1.0 if start.kind == "mixture" else 3.0),
    )


def _row(start: Start, runs: dict[Start, Run], settings: Settings) -> Row:
    run = runs[start]
    ends = Ends.of(run.state)
    returned = int((ends.escaped & (ends.index == start.batch - 1)).sum())
    features = torch.relu(run.state.double())
    multiplier = _multiplier(start, runs, settings)
    return Row(
        start.batch,
        start.kind,
        start.size,
        start.normalization,
        run.plan.chains,
        returned,
        *share_interval(returned, run.plan.chains),
        *_mean(cluster_spread(features).numpy()),
        *_mean(last_length(features).numpy()),
        *multiplier,
    )


def _mean(values: Floats) -> tuple[float, float]:
    mean, half_width = mean_interval(values)
    return float(mean), float(half_width)


def _multiplier(start: Start, runs: dict[Start, Run], settings: Settings) -> tuple[float, float, float]:
    """Return a multiplier per layer, its half width, and that of infinite width; NaN where none is to be measured."""
    if start.kind == "noise" and start.size <= SMALL and start.normalization == "recentre":
        growing = _trace(runs[start], "cluster_spread")
        return (*_rate(growing, settings.every, GROWTH), float(theory.cluster_multiplier(start.batch)))
    if start.kind == "wider" and start.size:
        return (*_rate(_deviation(start, runs), settings.every, DECAY), theory.escaped_multiplier(start.batch))
    return math.nan, math.nan, math.nan


def _deviation(start: Start, runs: dict[Start, Run]) -> Floats:
    """Return how far the spread of each chain is from that of the undisturbed one with the same weights."""
    wider, undisturbed = runs[start], runs[Start(start.batch, "wider", 0.0)]
    return np.abs(_trace(wider, "cluster_spread") - _trace(undisturbed, "cluster_spread"))


def _trace(run: Run, measure: str) -> Floats:
    trace = run[measure].trace
    assert trace is not None
    return trace


def _rate(trace: Floats, every: int, window: tuple[int, int]) -> tuple[float, float]:
    """Return the factor per layer between two layers, geometric mean over chains, and its half width."""
    first, last = (min(-(-(layer - 1) // every), trace.shape[1] - 1) for layer in window)
    exponent, half_width = mean_interval(np.log(trace[:, last] / trace[:, first]) / (every * (last - first)))
    return math.exp(exponent), math.exp(exponent) * float(half_width)


def _judge(rows: Sequence[Row]) -> tuple[Claim, ...]:
    claims = []
    noises = [row for row in rows if row.kind == "noise" and row.normalization == "recentre"]
    least = min(row.size for row in noises)
    for row in (row for row in noises if row.size == least):
        low, high = row.multiplier - row.multiplier_half_width, row.multiplier + row.multiplier_half_width
        where = f"N = {row.batch}, noise {row.size:g}"
        claims += [
            Claim(
                statement=f"RC + ReLU: distances within the cluster shrink, multiplier per layer at most 1, {where}",
                source=f"{PAPER}, abstract: stability, read for a cluster in one point",
                value=row.multiplier,
                error=row.multiplier_half_width,
                verdict=at_most(low, high, 1.0),
                note="the cluster in one point is unstable; the multiplier tends to 1 like 1 + 1 / N",
            ),
            _equal(row, f"RC + ReLU: these distances grow by N / sqrt(1 + (N - 1)^2) = {row.multiplier_exact:.4f} per "
                   f"layer, {where}", "closed form, pyrank.theory.cluster_multiplier"),
        ]  # fmt: skip
    claims += [
        _equal(row, f"RC + ReLU: deviations from the escaped state shrink by {row.multiplier_exact:.4f} per layer, "
               f"N = {row.batch}", "infinite width, pyrank.theory.escaped_multiplier")
        for row in rows
        if row.kind == "wider" and row.size
    ]  # fmt: skip
    claims += [
        share_claim(
            f"RC + ReLU: the outlier stays the outlier after noise up to {noises[-1].size:g}, N = {batch}",
            f"{PAPER}, abstract", _returned([row for row in noises if row.batch == batch]), at_least, MOST, SHARE,
        )
        for batch in dict.fromkeys(row.batch for row in rows)
    ]  # fmt: skip
    claims.append(
        share_claim(
            f"RC + RS + ReLU: the outlier is lost after noise of {least:g}", "symmetric fixed point, pyrank.theory",
            _returned([row for row in rows if row.normalization == "batch"]), at_most, NONE_SHARE, SHARE,
        )
    )  # fmt: skip
    return tuple(claims)


def _returned(rows: Sequence[Row]) -> tuple[int, int]:
    return sum(row.returned for row in rows), sum(row.chains for row in rows)


def _equal(row: Row, statement: str, source: str) -> Claim:
    low, high = row.multiplier - row.multiplier_half_width, row.multiplier + row.multiplier_half_width
    verdict = close_to(low, high, row.multiplier_exact, MARGIN)
    return Claim(statement, source, row.multiplier, row.multiplier_half_width, verdict,
                 f"counts as equal: within {MARGIN:g}")  # fmt: skip


def _table(rows: Sequence[Row]) -> str:
    lines = [
        (f"{row.batch}", f"{row.size:g}", f"{row.returned}/{row.chains}", f"{row.share_low:.3f}-{row.share_high:.3f}",
         plus_minus(row.spread, row.spread_half_width), f"{exact_spread(row.batch):.3f}",
         plus_minus(row.length, row.length_half_width),
         "-" if math.isnan(row.multiplier) else plus_minus(row.multiplier, row.multiplier_half_width),
         "-" if math.isnan(row.multiplier) else f"{row.multiplier_exact:.4f}",
         f"{NORMALIZATIONS[row.normalization]}, {KINDS[row.kind]}")
        for row in rows
    ]  # fmt: skip
    head = ("N", "size", "returned", "share, 95 %", "spread", "escaped", "length/(N-1)", "multiplier", "exact", "start")
    return "\n".join([
        text_table(head, lines),
        "Spread of the cluster, length of the sample that was the outlier: at the last layer, means over chains, ±",
        "half of the 95 % interval; escaped: spread of the escaped state of infinite width. Multiplier per layer: of",
        f"the spread, from layer {GROWTH[0]} to {GROWTH[1]}, or of its deviation from an undisturbed run, from layer "
        f"{DECAY[0]} to {DECAY[1]}.",
    ])  # fmt: skip


def _figure(rows: Sequence[Row], runs: dict[Start, Run], settings: Settings, caption: str) -> Figure:
    figure, (spreads, decays, lengths, shares) = plotting.sheet(
        title="A disturbed outlier: the cluster is not a point, but the outlier returns unless rows are rescaled",
        caption=caption, rows=2, columns=2, size=(10, 8.5),
    )  # fmt: skip
    batch, layers = settings.batches[-1], np.arange(1.0, settings.depth + 1.0, settings.every)
    for number, size in enumerate(settings.noises):
        _draw(spreads, layers, _trace(runs[Start(batch, "noise", size)], "cluster_spread"), number, f"noise {size:g}")
    plotting.guide(spreads, layers[[0, -1]], [exact_spread(batch)] * 2)
    spreads.set_yscale("log")
    spreads.set_ylabel(f"spread of the cluster, N = {batch}")
    for row in (row for row in rows if row.kind == "wider" and row.size):
        number = settings.batches.index(row.batch)
        mean = _deviation(Start(row.batch, row.kind, row.size), runs).mean(axis=0)
        shown = layers <= 2 * DECAY[1]
        plotting.curve(decays, layers[shown], mean[shown], number)
        plotting.guide(decays, layers[shown], mean[0] * row.multiplier_exact ** (layers[shown] - layers[0]),
                       "exact, infinite width")  # fmt: skip
    decays.set_yscale("log")
    decays.set_ylabel("deviation of the spread")
    for number, normalization in ((0, "recentre"), (len(settings.noises), "batch")):
        trace = _trace(runs[Start(batch, "noise", settings.noises[0], normalization)], "last_length")
        _draw(lengths, layers, trace, number, f"noise {settings.noises[0]:g}, RC + RS" if number else None)
    lengths.set_ylabel(f"length of the outlier / (N - 1), N = {batch}")
    lengths.set_ylim(0, None)
    for axes in (spreads, decays, lengths):
        axes.set_xlabel("layer")
    for number, each in enumerate(settings.batches):
        some = [row for row in rows if (row.batch, row.kind) == (each, "mixture")]
        share = np.array([row.returned / row.chains for row in some])
        error = [share - [row.share_low for row in some], [row.share_high for row in some] - share]
        plotting.points(
            shares, [row.size * ASIDE**number for row in some], share, np.maximum(error, 0.0), number, f"N = {each}"
        )
        shares.axvline(critical_mixture(each), color=plotting.colour(number), linestyle="-.", linewidth=1.2)
    shares.set_xscale("log")
    shares.set_xlabel("weight of the escaped state in the start, the rest symmetric")
    shares.set_ylabel("share of chains that return")
    plotting.legend(figure)
    return figure


def _draw(axes: Axes, layers: Floats, trace: Floats, number: int, label: str | None) -> None:
    low, middle, high = np.quantile(trace, (0.05, 0.5, 0.95), axis=0)
    plotting.band(axes, layers, middle, low, high, number, label)


def _caption(settings: Settings) -> str:
    batch = settings.batches[-1]
    return (
        f"After {PAPER}. H' = Normalise(W ReLU(H)), gaussian W, d = {settings.width:,}, {settings.chains} chains, "
        f"looked at after the activation. Above left: outlier and cluster in one point, with noise of some sizes "
        f"(relative to each sample), RC, N = {batch}; median and 5 to 95 % of the chains; grey: escaped state of "
        f"infinite width. Above right: escaped state with a wider cluster (1 - cosine larger by {settings.wider:g} of "
        f"itself), RC; mean distance of its spread from that of an undisturbed run with the same weights. Below left: "
        f"noise {settings.noises[0]:g} with RC and with RC + RS, N = {batch}. Below right: mixtures of the escaped and "
        f"the symmetric state, RC; share with the same outlier after {settings.depth} layers, 95 % intervals; lines: "
        f"where infinite width changes sides (points are drawn side by side). Seeds {settings.seed} to "
        f"{settings.seed + len(settings.starts) - 1}."
    )
