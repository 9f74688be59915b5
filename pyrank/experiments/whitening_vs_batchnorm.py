"""What does whitening add to the rank that batch normalisation keeps, and what does it cost? All of it, and the most.

Batch normalisation gives ``M = H H^T / N`` a diagonal of ones; whitening, ``H' = (Z Z^T / N)^(-1/2) Z``, gives all of
M = I (Lei Huang, Dawei Yang, Bo Lang, Jia Deng: "Decorrelated batch normalization", CVPR 2018, arXiv:1804.08450). How
far batch normalisation comes by itself is the question of Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann,
Aurelien Lucchi: "Batch normalization provably avoids ranks collapse for randomly initialised deep networks", NeurIPS
2020, arXiv:2003.01652.

Linear and ReLU chains ``H' = Normalise(W F(H))`` with gaussian W, and N = 2 d samples, so that M can be the identity
with recentring, too. Compared are the participation ratio r, the soft rank, and the isometry gap of the features,
log(mean lambda) - mean(log lambda) over the eigenvalues of M, which is infinite where M is singular as far as rounding
can tell; and the time of a layer on one thread, the fastest of a few repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrank import plotting
from pyrank.chain import Chain
from pyrank.experiments import Claim, Result, at_least, at_most, close_to, publish
from pyrank.experiments.decades import joined, log_spaced, recorded_depths, run_stretches, stretch_jobs
from pyrank.experiments.fitting import PowerLaw, power_law
from pyrank.experiments.intervals import mean_interval
from pyrank.experiments.output import plus_minus, text_table
from pyrank.measures import Measure
from pyrank.reference.spectral import isometry_gap
from pyrank.run import Run
from pyrank.simulation import simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "whitening-vs-batchnorm"
PAPER = "Daneshmand et al. 2020"
LABELS = {"rescale": "BN (rescale)", "batch": "BN (recentre, rescale)", "whiten": "whitening"}
ACTIVATIONS = ("linear", "relu")
TIMED = 16  # chains together: a full register of them


def feature_isometry_gap(H: Tensor) -> Tensor:
    """Return the isometry gap of the rows of each state (chains, d, N)."""
    return isometry_gap(H.mT)


MEASURES = {
    "r": Measure("participation_ratio"),
    "rank": Measure("soft_rank", 0.5),
    "gap": Measure("feature_isometry_gap", function=feature_isometry_gap),
}


@dataclass(frozen=True)
class Settings:
    """Widths, depth and number of chains; the last width is shown against depth; ``timed`` layers give the time."""

    widths: tuple[int, ...]
    depth: int
    chains: int
    timed: int
    seed: int = 0

    @property
    def cases(self) -> list[tuple[int, str, str]]:
        """Width, activation and normalisation of each chain."""
        return list(product(self.widths, ACTIVATIONS, LABELS))


PRESETS = {
    "quick": Settings(widths=(8, 16, 32, 64), depth=400, chains=8, timed=20),
    "paper": Settings(widths=(8, 16, 32, 64, 128, 256), depth=10_000, chains=10, timed=200),
}


@dataclass(frozen=True, eq=False)
class Case:
    """One chain: values (chains, depths) by measure, and microseconds per layer and chain."""

    width: int
    activation: str
    normalization: str
    depths: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    degenerate: int
    microseconds: float

    def late(self, measure: str) -> NDArray[np.float64]:
        """Return the mean of each chain over the last decade of depths."""
        values = self.values[measure][:, self.depths > self.depths[-1] / 10]
        return np.asarray(values.mean(axis=1))


@dataclass(frozen=True)
class Row:
    """A line of the table: means over the last decade of depths; errors are half-widths of 95 % intervals."""

    width: int
    activation: str
    normalization: str
    r: float
    r_error: float
    rank: float
    rank_error: float
    gap: float
    finite_gaps: float
    degenerate: int
    microseconds: float


def reproduce(settings: Settings, out: Path, *, progress: bool | None = None) -> Result:
    """Simulate, time, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    chains = [_chain(*case) for case in settings.cases]
    options = {"chains": settings.chains, "seed": settings.seed, "measures": tuple(MEASURES.values())}
    jobs = [
        stretch_jobs(f"d={width},{activation},{normalization}", chain, settings.depth, options)
        for (width, activation, normalization), chain in zip(settings.cases, chains, strict=True)
    ]
    runs = run_stretches(jobs, out, progress=progress)
    times = _microseconds(chains, settings)
    cases = [_case(case, some, time) for case, some, time in zip(settings.cases, runs, times, strict=True)]
    rows = [_row(case) for case in cases]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows, settings),
        claims=judge(cases),
        figure=_figure(cases, caption),
        caption=caption,
    )


def _chain(width: int, activation: str, normalization: str) -> Chain:
    return Chain(width, 2 * width, activation=activation, normalization=normalization)


def _microseconds(chains: Sequence[Chain], settings: Settings, repetitions: int = 3) -> NDArray[np.float64]:
    """Return the time of a layer of one chain, without measures: the fastest of repetitions that take turns."""
    options: dict[str, Any] = {"chains": TIMED, "measures": [], "threads": 1, "progress": False}
    seconds = [[simulate(chain, settings.timed, **options).seconds for chain in chains] for _ in range(repetitions)]
    fastest: NDArray[np.float64] = np.min(seconds, axis=0)
    return 1e6 * fastest / (TIMED * settings.timed)


def _case(case: tuple[int, str, str], runs: Sequence[Run], microseconds: float) -> Case:
    values = {name: joined(runs, measure) for name, measure in MEASURES.items()}
    degenerate = int(runs[-1].events["degenerate_rows"].sum())
    return Case(*case, recorded_depths(runs[-1].depth), values, degenerate, float(microseconds))


def _row(case: Case) -> Row:
    (r, r_error), (rank, rank_error) = (mean_interval(case.late(measure)) for measure in ("r", "rank"))
    return Row(
        width=case.width, activation=case.activation, normalization=case.normalization,
        r=float(r), r_error=float(r_error), rank=float(rank), rank_error=float(rank_error),
        gap=float(case.late("gap").mean()), finite_gaps=float(np.isfinite(case.values["gap"]).mean()),
        degenerate=case.degenerate, microseconds=case.microseconds,
    )  # fmt: skip


def _fit(cases: Sequence[Case]) -> PowerLaw:
    late = [case.late("r") for case in cases]
    errors = [values.std(ddof=1) / math.sqrt(len(values)) for values in late]
    return power_law([case.width for case in cases], [values.mean() for values in late], errors)


def judge(cases: Sequence[Case]) -> list[Claim]:
    """Return what whitening reaches, how far behind batch normalisation is, and at what price."""
    claims = []
    for activation in ACTIVATIONS:
        by_norm = {
            norm: [case for case in cases if (case.activation, case.normalization) == (activation, norm)]
            for norm in LABELS
        }
        claims.append(_reached(activation, by_norm["whiten"]))
        claims += [_growth(activation, norm, by_norm[norm]) for norm in ("rescale", "batch")]
        claims.append(_price(activation, by_norm["rescale"][-1], by_norm["whiten"][-1]))
    return claims


def _reached(activation: str, cases: Sequence[Case]) -> Claim:
    least = min(float(np.nan_to_num(case.values["r"]).min()) / case.width for case in cases)
    lost = {case.width: case.degenerate for case in cases if case.degenerate}
    where = ", ".join(f"{count:,} at d = {width}" for width, count in lost.items())
    below = f"; directions below the cut-off, over all layers: {where}: one lost to rounding seldom returns"
    return Claim(
        statement=f"whitening keeps r = d at every layer: {activation}",
        source="M = I",
        value=least,
        error=None,
        verdict=close_to(least, least, 1.0, 1e-3),
        note="smallest r / d of all recorded states, a state of zeros counting as 0" + (below if lost else ""),
    )


def _growth(activation: str, normalization: str, cases: Sequence[Case]) -> Claim:
    alive, last = [case for case in cases if np.isfinite(case.late("r")).all()], cases[-1]
    dead = [case.width for case in cases if case not in alive]
    exponent = half_width = math.nan  # fewer than three points make no line
    if len(alive) >= 3:
        fit = _fit(alive)
        exponent, half_width = fit.exponent, fit.half_width
    note = f"exponent of r as a power of d; r / d = {last.late('r').mean() / last.width:.3f} at d = {last.width}"
    return Claim(
        statement=f"{LABELS[normalization]} keeps a share of the directions, r of order d: {activation}",
        source=f"{PAPER} prove the order sqrt(d) for linear chains",
        value=exponent,
        error=half_width,
        verdict=at_least(exponent - half_width, exponent + half_width, 1.0),
        note=note + (f"; left out, since a chain died there: d = {', '.join(map(str, dead))}" if dead else ""),
    )


def _price(activation: str, plain: Case, whitened: Case) -> Claim:
    ratio = whitened.microseconds / plain.microseconds
    return Claim(
        statement=f"a whitened layer takes no longer than a rescaled one: {activation}, d = {plain.width}",
        source="timed here, one thread, float32 states",
        value=ratio,
        error=None,
        verdict=at_most(ratio, ratio, 1.0),
        note=f"quotient of times: {whitened.microseconds:.4g} and {plain.microseconds:.4g} microseconds per layer and "
        "chain",
    )


def _table(rows: Sequence[Row], settings: Settings) -> str:
    head = ("width d", "F", "normalization", "r", "r / d", "rank_0.5", "isometry gap", "finite gaps", "zero lines",
            "us per layer")  # fmt: skip
    lines = [
        (str(row.width), row.activation, row.normalization, _cell(row.r, row.r_error), f"{row.r / row.width:.3f}",
         _cell(row.rank, row.rank_error), f"{row.gap:.3g}", f"{row.finite_gaps:.0%}", str(row.degenerate),
         f"{row.microseconds:.4g}")
        for row in rows
    ]  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        f"Means over layers {settings.depth // 10:,} to {settings.depth:,} of {settings.chains} chains; ± half of the "
        "95 % interval over chains (Student), left out below 1e-4.",
        "isometry gap: of the features, in nats; inf if any state is singular; finite gaps: share of all states.",
        "zero lines: rows or directions that the normalisation found to be zero; us: microseconds, one thread.",
    ])  # fmt: skip


def _cell(value: float, error: float) -> str:
    return f"{value:.4g}" if error < 1e-4 else plus_minus(value, error)


def _figure(cases: Sequence[Case], caption: str) -> Figure:
    figure, axes = plotting.sheet(
        title="Batch normalisation and whitening: rank, isometry and cost",
        caption=caption,
        rows=3,
        columns=2,
        size=(10, 10),
        sharey="row",
    )
    for column, activation in enumerate(ACTIVATIONS):
        some = [case for case in cases if case.activation == activation]
        share, gap, cost = axes[column::2]
        share.set_title(activation, fontsize=11)
        for number, norm in enumerate(LABELS):
            _draw([case for case in some if case.normalization == norm], number, share, gap, cost)
        widths = [case.width for case in some]
        plotting.guide(share, sorted(set(widths)), [width**-0.5 for width in sorted(set(widths))], r"$1/\sqrt{d}$")
        for axis in (share, cost):
            plotting.log_ticks(axis.xaxis, widths)
            axis.set_yscale("log")
            axis.set_xlabel("width d")
        gap.set(xscale="log", xlabel=f"depth (layers), d = {max(widths)}")
        if not column:
            share.set_ylabel("r / d")
            gap.set_ylabel("isometry gap (nats)")
            cost.set_ylabel("microseconds per layer")
    plotting.legend(figure)
    return figure


def _draw(cases: Sequence[Case], number: int, share: Axes, gap: Axes, cost: Axes) -> None:
    widths, last = [case.width for case in cases], cases[-1]
    means = [mean_interval(case.late("r") / case.width) for case in cases]
    label = LABELS[last.normalization]
    plotting.points(share, widths, [mean for mean, _ in means], [error for _, error in means], number, label)
    some = log_spaced(last.depths)
    low, middle, high = np.sort(last.values["gap"][:, some], axis=0)[[0, len(last.values["gap"]) // 2, -1]]
    seen = np.isfinite(high)
    plotting.band(gap, last.depths[some][seen], middle[seen], low[seen], high[seen], number)
    plotting.points(cost, widths, [case.microseconds for case in cases], None, number)


def _caption(settings: Settings) -> str:
    return (
        "H' = Normalise(W F(H)), gaussian W, N = 2 d samples, no skip connection, float32. Top: participation ratio r "
        f"over the width, mean over layers {settings.depth // 10:,} to {settings.depth:,} of {settings.chains} chains, "
        "with 95 % intervals (Student). Middle: isometry gap of the features, from the smallest to the largest of all "
        "chains around the middle one, as long as no state is singular to rounding. Bottom: time of a layer of one "
        f"chain on one thread, without measures, the fastest of three runs of {settings.timed} layers. Seed "
        f"{settings.seed}."
    )
