"""What does whitening add to the rank that batch normalisation keeps, and what does it cost? All of it, and the most.

Batch normalisation gives ``M = H H^T / N`` a diagonal of ones; whitening, ``H' = (Z Z^T / N)^(-1/2) Z``, gives all of
M = I (Lei Huang, Dawei Yang, Bo Lang, Jia Deng: "Decorrelated batch normalization", CVPR 2018, arXiv:1804.08450). How
far batch normalisation comes by itself is the question of Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann,
Aurelien Lucchi: "Batch normalization provably avoids ranks collapse for randomly initialised deep networks", NeurIPS
2020, arXiv:2003.01652: in linear chains that are rescaled, r and the soft rank stay at order sqrt(d) or more (Theorem
2). Whitening gives r = d, as long as no direction is lost.

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
from pyrank.engine.run import Run
from pyrank.engine.simulation import simulate
from pyrank.estimate.fitting import PowerLaw, power_law
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, at_least, at_most, publish
from pyrank.experiments.chains.decades import joined, log_spaced, recorded_depths, run_stretches, stretch_jobs
from pyrank.reference.spectral import isometry_gap
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure
from pyrank.support.text import plus_minus, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "whitening-vs-batchnorm"
PAPER = "Daneshmand et al. 2020"
LABELS = {"rescale": "BN (rescale)", "batch": "BN (recentre, rescale)", "whiten": "whitening"}
ACTIVATIONS = ("linear", "relu")
LOSSES = {"linear": "rounding", "relu": "ReLU, which makes a negative row zero, or to rounding"}
"""Why a whitened chain may miss directions; they seldom return."""
ROUNDING = 1e-3
"""What counts as equal in a rank of float32 states."""
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


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, time, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    chains = [_chain(*case) for case in settings.cases]
    options = {"chains": settings.chains, "seed": settings.seed, "measures": tuple(MEASURES.values())}
    jobs = [
        stretch_jobs(f"d={width},{activation},{normalization}", chain, settings.depth, options)
        for (width, activation, normalization), chain in zip(settings.cases, chains, strict=True)
    ]
    runs = run_stretches(jobs, out, device=device, progress=progress)
    times = _microseconds(chains, settings)
    cases = [_case(case, some, time) for case, some, time in zip(settings.cases, runs, times, strict=True)]
    rows = [_row(case) for case in cases]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows, growths(cases), settings),
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


@dataclass(frozen=True)
class Growth:
    """How the late r and rank_0.5 under batch normalisation grow with the width.

    Widths at which a chain died are left out: ``dead``. A fit is None if fewer than three widths remain.
    """

    activation: str
    normalization: str
    fits: dict[str, PowerLaw | None]
    dead: tuple[int, ...]


def growths(cases: Sequence[Case]) -> list[Growth]:
    """Return the growth of rank with each activation and kind of batch normalisation."""
    found = []
    for activation, norm in product(ACTIVATIONS, ("rescale", "batch")):
        some = _kind(cases, activation, norm)
        alive = [case for case in some if np.isfinite(case.late("r")).all()]
        fits = {measure: _fit(alive, measure) for measure in ("r", "rank")}
        found.append(Growth(activation, norm, fits, tuple(case.width for case in some if case not in alive)))
    return found


def _kind(cases: Sequence[Case], activation: str, normalization: str) -> list[Case]:
    return [case for case in cases if (case.activation, case.normalization) == (activation, normalization)]


def _fit(cases: Sequence[Case], measure: str) -> PowerLaw | None:
    if len(cases) < 3:
        return None
    late = [case.late(measure) for case in cases]
    errors = [values.std(ddof=1) / math.sqrt(len(values)) for values in late]
    return power_law([case.width for case in cases], [values.mean() for values in late], errors)


def judge(cases: Sequence[Case]) -> list[Claim]:
    """Return whether batch normalisation keeps what the theorem says, and whether whitening makes M = I."""
    proven = next(g for g in growths(cases) if (g.activation, g.normalization) == ("linear", "rescale"))
    claims = [_grows(measure, proven.fits[measure]) for measure in ("r", "rank")]
    return claims + [_isotropic(activation, _kind(cases, activation, "whiten")) for activation in ACTIVATIONS]


def _grows(measure: str, fit: PowerLaw | None) -> Claim:
    exponent, half_width = (fit.exponent, fit.half_width) if fit else (math.nan, math.nan)
    name, source = {"r": ("r", f"{PAPER}, proof of Theorem 2"), "rank": ("rank_0.5", f"{PAPER}, Theorem 2")}[measure]
    return Claim(
        statement=f"{LABELS['rescale']} keeps {name} at order sqrt(d) or more: linear",
        source=source,
        value=exponent,
        error=half_width,
        verdict=at_least(exponent - half_width, exponent + half_width, 0.5),
        note=f"exponent of {name} as a power of d, with N = 2 d",
    )


def _isotropic(activation: str, cases: Sequence[Case]) -> Claim:
    alive = [case.values["rank"] > 0 for case in cases]  # r is undefined where nothing is left
    off = [
        float(np.abs(case.values["r"] - case.values["rank"])[some].max(initial=0.0))
        for case, some in zip(cases, alive, strict=True)
    ]
    full = [f"{(case.values['rank'] == case.width).mean():.2%} at d = {case.width}" for case in cases]
    return Claim(
        statement=f"whitening makes M = I on the directions there are, so that r is their number: {activation}",
        source="M = (Z Z^T / N)^(-1/2) (Z Z^T / N) (Z Z^T / N)^(-1/2)",
        value=max(off),
        error=None,
        verdict=at_most(max(off), max(off), ROUNDING),
        note=f"largest |r - rank_0.5| of all recorded states; all d directions are there in {', '.join(full)} of them, "
        f"the others were lost to {LOSSES[activation]}",
    )


def _table(rows: Sequence[Row], grown: Sequence[Growth], settings: Settings) -> str:
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
        "",
        text_table(("F", "exponent of r", "of rank_0.5", "widths left out", "normalization"), [
            (growth.activation, *map(_exponent, growth.fits.values()), ", ".join(map(str, growth.dead)) or "-",
             growth.normalization)
            for growth in grown
        ]),
        "Exponents of d: weighted least squares in log-log; ± half of the 95 % interval. Whitening has exponent",
        "1, since r = d. Left out: widths at which a chain died, all its entries zero.",
        *(_cost(rows, activation) for activation in ACTIVATIONS),
    ])  # fmt: skip


def _cost(rows: Sequence[Row], activation: str) -> str:
    time = {row.normalization: row.microseconds for row in rows if row.activation == activation}  # of the last width
    ratio = time["whiten"] / time["rescale"]
    return f"A whitened layer takes {ratio:.3g} times as long as a rescaled one at d = {rows[-1].width}, {activation}."


def _exponent(fit: PowerLaw | None) -> str:
    return plus_minus(fit.exponent, fit.half_width) if fit else "-"


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
        "with 95 % intervals (Student); in linear chains the two kinds of BN lie on each other. Middle: isometry gap "
        "of the features, from the smallest to the largest of all chains around the middle one, as long as no "
        "state is singular to rounding. Bottom: time of a layer of one chain on one thread, without measures, the "
        f"fastest of three runs of {settings.timed} layers. Seed {settings.seed}."
    )
