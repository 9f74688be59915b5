"""Does a batch return to a cluster and an outlier when it is disturbed? The outlier stays, but the cluster is no point.

The abstract announces a stability result for the configuration of one cluster and an odd data point. The theorem itself
is not tested here; stability is read as: small deviations shrink from layer to layer, and larger ones return.

A layer is ``H' = Normalise(W ReLU(H))`` with gaussian W; the normalisation recentres only (RC), or recentres and
rescales (RC + RS). Everything is looked at after the activation. Chains start from three kinds of states:

* the cluster in one point (`pyrank.theory.outlier_gram`), each sample with gaussian noise of ``size`` times its length;
* the state that attracts in infinite width (`pyrank.theory.escaped_gram`), but with a cluster whose 1 - cosine is
  larger by the factor 1 + ``size``; run beside the undisturbed state with the same weights, so that the difference of
  the two decays without the fluctuations that they share;
* mixtures of that state, of weight ``size``, with the symmetric one (`pyrank.theory.escaped_mixture`).

The rates are compared with those of infinite width, see `pyrank.experiments.chains.outlier_rates`. A chain has returned
if the sample that was the outlier has escaped at the last layer, as `pyrank.experiments.chains.escape` defines it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrank import plotting, theory
from pyrank.estimate.intervals import Interval
from pyrank.experiments.chains import outlier_rates as rates
from pyrank.experiments.chains.escape import NONE_SHARE, NORMALIZATIONS, Ends, relu_chain
from pyrank.experiments.chains.outlier_rates import Floats, Runs, cluster_spread, last_length
from pyrank.experiments.chains.outlier_starts import Start
from pyrank.experiments.chains.over_chains import mean_columns, means, share, share_columns, trace
from pyrank.experiments.claims import Claim, at_least, at_most, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import NACHUM
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.support.text import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = {"noise": "point cluster + noise", "wider": "wider cluster", "mixture": "mixed with symmetric"}
MOST = 0.9
"""Share of the chains in which what is stable stays."""
ASIDE = 1.08
"""Points of successive batches are drawn so far apart, as a factor, that they do not hide each other."""


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


def tasks(settings: Settings) -> list[Simulation]:
    """Return a simulation for each start; a wider cluster has the weights of the undisturbed one."""
    found = []
    for number, start in enumerate(settings.starts):
        alike = settings.starts.index(Start(start.batch, "wider", 0.0)) if start.kind == "wider" else number
        measured = [] if start.kind == "mixture" else [cluster_spread]
        measured += [last_length] if (start.kind, start.size) == ("noise", settings.noises[0]) else []
        found.append(
            Simulation(
                name=f"{start.kind},N={start.batch},size={start.size:g},{start.normalization}",
                chain=relu_chain(settings.width, start.batch, start.normalization),
                depth=settings.depth,
                options={"chains": settings.chains, "seed": settings.seed + alike, "measures": measured,
                         "observe": "activation", "every": settings.every, "trace": 2 * settings.depth,
                         "initial": start.features(settings.width, settings.chains, (settings.seed, number))},
                cost=start.batch * (1.0 if start.kind == "mixture" else 3.0),
            )
        )  # fmt: skip
    return found


COLUMNS = (
    Column("batch", "N"),
    Column("size", "size", "g", meaning="of the disturbance"),
    *share_columns("returned", "chains with the same outlier at the last layer"),
    *mean_columns("spread", "spread", "of the cluster at the last layer"),
    Column("", "escaped", lambda row: f"{theory.escaped_shape(row.batch).spread:.3f}",
           meaning="spread of the escaped state of infinite width"),
    *mean_columns("length", "length/(N-1)", "of the sample that was the outlier, at the last layer, over the others"),
    *rates.columns(),
    Column("kind"), Column("normalization"),
    Column("", "start", lambda row: f"{NORMALIZATIONS[row.normalization]}, {KINDS[row.kind]}"),
)  # fmt: skip


def rows(settings: Settings, runs: Runs) -> Iterable[Mapping[str, Any]]:
    """Return a line for each start."""
    for start, run in runs.items():
        ends, features = Ends.of(run.state), torch.relu(run.state.double())
        returned = int((ends.escaped & (ends.index == start.batch - 1)).sum())
        yield {
            "batch": start.batch, "kind": start.kind, "size": start.size, "normalization": start.normalization,
            **share("returned", returned, run.plan.chains),
            **means(spread=cluster_spread(features).numpy(), length=last_length(features).numpy()),
            **rates.multiplier(start, runs, settings.every),
        }  # fmt: skip


def claims(found: Found) -> list[Claim]:
    """Return the stability that is published, read for the largest batch; its rates, and where it ends."""
    noises = [row for row in found.rows if row.kind == "noise" and row.normalization == "recentre"]
    wider = [row for row in found.rows if row.kind == "wider" and row.size]
    large = max(wider, key=lambda row: int(row.batch))
    little, much = min(row.size for row in noises), max(row.size for row in noises)
    growing = [row for row in noises if row.size == little]
    stays = f"the outlier stays the outlier after noise of up to {much:g} times the length of each sample"
    reading = f"in a large batch, as none is named (N = {large.batch}),"
    return [
        published("RC + ReLU: one cluster and an odd data point are stable: what is disturbed returns",
                  NACHUM.at("abstract"), _returned([row for row in noises if row.batch == large.batch]), at_least(MOST),
                  reading=f"{reading} {stays}, in most chains"),
        published("RC + ReLU: one cluster and an odd data point are stable: small deviations shrink",
                  NACHUM.at("abstract"), rates.measured(large), at_most(1.0),
                  reading=f"{reading} the cluster, which is not a point, returns to its extent: multiplier per layer"),
        extension(f"{stays}, N = {span(row.batch for row in noises)}", NACHUM.at("abstract"), _returned(noises),
                  at_least(MOST)),
        extension(f"the outlier stays the outlier with rescaling, after noise of {little:g}",
                  "pyrank.theory.recentred_relu_multipliers",
                  _returned([row for row in found.rows if row.normalization == "batch"]), at_most(NONE_SHARE)),
        *rates.questions(growing, wider),
    ]  # fmt: skip


def _returned(some: Sequence[Row]) -> Interval:
    return Interval.share(sum(row.returned for row in some), sum(row.chains for row in some))


def _layers(settings: Settings) -> Floats:
    return np.arange(1.0, settings.depth + 1.0, settings.every)


def _draw(axes: Axes, found: Found, start: Start, measure: str, number: int, label: str | None) -> None:
    low, middle, high = np.quantile(trace(found.data[start], measure), (0.05, 0.5, 0.95), axis=0)
    plotting.band(axes, _layers(found.settings), middle, low, high, number, label)


def draw_spreads(axes: Axes, found: Found) -> None:
    """Draw how noise in the largest batch becomes the extent of its cluster."""
    batch = found.settings.batches[-1]
    for number, size in enumerate(found.settings.noises):
        _draw(axes, found, Start(batch, "noise", size), "cluster_spread", number, f"noise {size:g}")
    plotting.guide(axes, (1, found.settings.depth), [theory.escaped_shape(batch).spread] * 2)
    axes.set_ylabel(f"spread of the cluster, N = {batch}")


def draw_decays(axes: Axes, found: Found) -> None:
    """Draw how a cluster that is too wide returns to its extent."""
    shown = _layers(found.settings) <= 2 * rates.DECAY[1]
    layers = _layers(found.settings)[shown]
    for row in (row for row in found.rows if row.kind == "wider" and row.size):
        number = found.settings.batches.index(row.batch)
        mean = rates.deviation(Start(row.batch, row.kind, row.size), found.data).mean(axis=0)[shown]
        plotting.curve(axes, layers, mean, number)
        exact = mean[0] * row.multiplier_exact ** (layers - layers[0])
        plotting.guide(axes, layers, exact, "exact, infinite width")


def draw_lengths(axes: Axes, found: Found) -> None:
    """Draw what becomes of the outlier of the largest batch with and without rescaling."""
    batch, (least, *others) = found.settings.batches[-1], found.settings.noises
    _draw(axes, found, Start(batch, "noise", least), "last_length", 0, None)
    _draw(
        axes, found, Start(batch, "noise", least, "batch"), "last_length", 1 + len(others), f"noise {least:g}, RC + RS"
    )
    axes.set(ylabel=f"length of the outlier / (N - 1), N = {batch}", ylim=(0, None))


def draw_shares(axes: Axes, found: Found) -> None:
    """Draw from which mixtures the outlier comes back."""
    for number, batch in enumerate(found.settings.batches):
        some = [row for row in found.rows if (row.batch, row.kind) == (batch, "mixture")]
        part, low, high = np.transpose([(row.returned / row.chains, row.share_low, row.share_high) for row in some])
        sizes, error = [row.size * ASIDE**number for row in some], np.maximum([part - low, high - part], 0.0)
        plotting.points(axes, sizes, part, error, number, f"N = {batch}")
        axes.axvline(theory.critical_mixture(batch), color=plotting.colour(number), linestyle="-.", linewidth=1.2)


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        f"H' = Normalise(W ReLU(H)), gaussian W, d = {settings.width:,}, {settings.chains} chains, looked at after the "
        "activation. Above left: outlier and cluster in one point, with noise of some sizes (relative to each sample), "
        f"RC, N = {settings.batches[-1]}; median and 5 to 95 % of the chains; grey: escaped state of infinite width. "
        f"Above right: escaped state with a wider cluster (1 - cosine larger by {settings.wider:g} of itself), RC; "
        "mean distance of its spread from that of an undisturbed run with the same weights; colours as below right. "
        f"Below left: noise {settings.noises[0]:g}, RC and RC + RS. Below right: mixtures of the escaped and the "
        f"symmetric state, RC; share with the same outlier after {settings.depth} layers, 95 % intervals; "
        "lines: where infinite width changes sides."
    )


EXPERIMENT = Experiment(
    name="outlier-stability",
    question="Does a batch return to a cluster and an outlier when it is disturbed?",
    sources=(NACHUM.at("abstract"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=lambda settings, runs: dict(zip(settings.starts, runs, strict=True)),
    columns=COLUMNS,
    rows=rows,
    note="± half of the 95 % interval over chains.",
    claims=claims,
    sheet=Sheet(
        "A disturbed outlier: the cluster is not a point, but the outlier returns unless rows are rescaled",
        (Panel(draw_spreads, xlabel="layer", yscale="log"),
         Panel(draw_decays, xlabel="layer", yscale="log", ylabel="deviation of the spread"),
         Panel(draw_lengths, xlabel="layer"),
         Panel(draw_shares, xlabel="weight of the escaped state in the start, the rest symmetric", xscale="log",
               ylabel="share of chains that return")),
        columns=2, size=(10, 8.5),
    ),
    caption=caption,
    more=lambda found: {
        "critical mixtures": {str(batch): theory.critical_mixture(batch) for batch in found.settings.batches},
        "runs": [run.to_dict() for run in found.data.values()],
    },
)  # fmt: skip
