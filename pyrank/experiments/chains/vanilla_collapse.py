"""How fast does an unnormalised linear chain collapse to rank one? As fast as its first two Lyapunov exponents differ.

The chain is ``H' = H + gamma W H``, or ``W H`` without skip connection (gamma = inf), with gaussian or uniform W of
variance 1, as many samples as features, in double precision. Lemma 3 says that H / ||H|| tends to a matrix of rank
one. Here that is the ratio of the second to the first singular value, and theory says that its logarithm falls by
lambda_1 - lambda_2 a layer, which `pyrank.theory.residual_gap` gives for gaussian W. No closed form is known for
uniform W; it is held against the gaussian one, which it falls short of by some per cent unless the skip connection is
strong or the width large.

The gap is about 1 / (2 d) for gamma >= 1 and gamma^2 for small gamma, so depth is counted in units of 1 / gap. In these
units all chains look alike: the logarithm drifts by -1 and gains a variance of 2, its first steps are over after about
four, and rounding keeps the ratio from falling below some 1e-16, which touches the mean after about twenty. The rate is
measured between ``first`` and ``last``, from one end to the other in each chain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.estimate.passages import falls_below
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.claims import Claim, at_most, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLLAPSED, GONE = 1e-3, 1e-6  # ratios: of a chain that counts as collapsed, and what a limit of 0 may still show
QUICKLY = 1_000  # layers, of the deepest networks that are trained
MARGIN = 0.05  # part of the predicted rate by which a measured one may differ


@dataclass(frozen=True)
class Setting:
    """``chains`` chains, followed for ``units`` / gap layers, with a snapshot in each unit."""

    weights: str
    gamma: float
    chains: int
    units: int


@dataclass(frozen=True)
class Settings:
    """All chains, of one width; setting number i has the seed ``seed + i``."""

    grid: tuple[Setting, ...]
    width: int
    first: float = 4.0
    last: float = 16.0
    seed: int = 0


def _fast(law: str, chains: int) -> list[Setting]:
    return [Setting(law, gamma, chains, units=36) for gamma in (math.inf, 1.0, 0.3, 0.1)]


PRESETS = {
    # At gamma = 0.01 a unit is 10^4 layers: there few chains, and not to where rounding is all that is seen.
    "quick": Settings((*_fast("gaussian", 1536), Setting("gaussian", 0.01, 768, 18), *_fast("uniform", 1536)), width=8),
    "paper": Settings(
        tuple(s for law in ("gaussian", "uniform") for s in (*_fast(law, 4096), Setting(law, 0.01, 1024, 18))), width=32
    ),
}


def tasks(settings: Settings) -> list[Simulation]:
    """Return a simulation for each setting, with a snapshot after every 1 / gap layers."""
    found = []
    for number, setting in enumerate(settings.grid):
        stride = max(1, round(1 / float(theory.residual_gap(settings.width, setting.gamma))))
        depth = 1 + stride * setting.units
        found.append(
            Simulation(
                name=f"{setting.weights},gamma={setting.gamma:g}",
                chain=Chain(settings.width, gamma=setting.gamma, weights=setting.weights, normalization="none",
                            dtype="float64"),
                depth=depth,
                options={"chains": setting.chains, "seed": settings.seed + number, "measures": ["singular_values(2)"],
                         "snapshot_every": stride, "trace": setting.units + 2 + setting.units % 2},
                cost=setting.chains * depth,
            )
        )  # fmt: skip
    return found


def ratios(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return depths (snapshots,), and the second over the first singular value there, (chains, snapshots)."""
    first, second = (trace(run, f"singular_values(2)[{i}]") for i in (0, 1))
    return 1 + run.plan.snapshot_every * np.arange(first.shape[1]), second / first


COLUMNS = (
    Column("gamma", "gamma", "g"),
    Column("chains", "chains"),
    Column("layers", "layers"),
    Column("gap", "gap", ".4g", meaning="lambda_1 - lambda_2 of gaussian weights, nats per layer"),
    Column("rate", "rate", error="half_width", meaning="at which ln(s2 / s1) falls, nats per layer"),
    Column("half_width"),
    Column("", "rate / gap", lambda row: plus_minus(row.rate / row.gap, row.half_width / row.gap)),
    Column("deviation", "sigmas", "+.1f", meaning="rate - gap in standard errors"),
    Column("collapse", f"to {COLLAPSED:g}", ",.0f", meaning="layers until the median of s2 / s1 falls below"),
    Column("final", "at the end", ".1e", meaning="median after the last layer; rounding ends its fall at some 1e-16"),
    Column("weights", "weights"),
)


def rows(settings: Settings, runs: Sequence[Run]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each setting."""
    for run in runs:
        chain, (depth, ratio) = run.plan.chain, ratios(run)
        gap = float(theory.residual_gap(chain.width, chain.gamma))
        begin, end = np.searchsorted(depth * gap, (settings.first, settings.last))
        slopes = np.log(ratio[:, end] / ratio[:, begin]) / (depth[end] - depth[begin])
        rate, half_width = mean_interval(-slopes)
        median = np.median(ratio, axis=0)
        yield {
            "gamma": chain.gamma,
            "chains": run.plan.chains,
            "layers": run.depth,
            "gap": gap,
            "rate": float(rate),
            "half_width": float(half_width),
            "deviation": float((rate - gap) / (slopes.std(ddof=1) / math.sqrt(run.plan.chains))),
            "collapse": falls_below(depth, median, COLLAPSED),
            "final": float(median[-1]),
            "weights": chain.weights.law,
        }


def claims(found: Found) -> list[Claim]:
    """Return the collapse in its published forms, and how fast it is."""
    skip = {law: [row for row in found.rows if row.weights == law and row.gamma < 1] for law in ("gaussian", "uniform")}
    plain = [row for row in found.rows if math.isinf(row.gamma)]
    slow = max(found.rows, key=lambda row: float(row.collapse))
    limit = "H / ||H|| converges to a matrix of rank one"
    return [
        _collapse(f"gaussian weights, gamma in (0, 1): {limit}", "Lemma 3", skip["gaussian"]),
        _collapse(f"uniform weights, gamma in (0, 1): {limit}", "Lemma 3, note 8", skip["uniform"]),
        _collapse(f"no skip connection: {limit}", "§3.2", plain),
        published(
            "the rank in unnormalised networks collapses quickly with depth",
            DANESHMAND.at("abstract"),
            Interval.exact(max(row.collapse for row in plain)),
            at_most(QUICKLY),
            reading=f"without skip connection: layers until the median of s2 / s1 is below {COLLAPSED:g}",
            note="with a weak skip connection it takes long, see below",
        ),
        *map(_rate, found.rows),
        extension(
            "the rank collapses quickly at every gamma",
            DANESHMAND.at("abstract"),
            Interval.exact(slow.collapse),
            at_most(QUICKLY),
            note=f"layers at gamma = {slow.gamma:g}; about 6 / gap, and the gap is gamma^2 for small gamma",
        ),
    ]


def _collapse(statement: str, place: str, some: Sequence[Row]) -> Claim:
    last = max(some, key=lambda row: float(row.final))
    return published(
        statement,
        DANESHMAND.at(place),
        Interval.exact(last.final),
        at_most(GONE),
        reading="s2 / s1, median over chains after the last layer",
        note=f"the largest of gamma = {', '.join(f'{row.gamma:g}' for row in some)}: at gamma = {last.gamma:g} after "
        f"{last.layers:,} layers; no rate is claimed",
    )


def _rate(row: Row) -> Claim:
    """Judge the rate: published for products of gaussian matrices alone, and exact for gaussian weights."""
    measured = Interval.around(row.rate / row.gap, row.half_width / row.gap)
    note = f"measured rate over lambda_1 - lambda_2; {row.deviation:+.1f} standard errors from 1"
    where = f"{row.weights} weights, gamma = {row.gamma:g}"
    if row.weights == "gaussian" and math.isinf(row.gamma):
        statement = f"ln(s2 / s1) falls at an exponential rate, that of the Lyapunov exponents: {where}"
        return published(statement, DANESHMAND.at("§3.2, note 7"), measured, close_to(1.0, MARGIN), note=note)
    other = "" if row.weights == "gaussian" else " of gaussian weights of the same variance"
    statement = f"ln(s2 / s1) falls by lambda_1 - lambda_2{other} a layer: {where}"
    source = "Newman 1986" if math.isinf(row.gamma) else "pyrank.theory.residual_gap"
    return extension(statement, source, measured, close_to(1.0, MARGIN), note=note)


def draw_fall(axes: Axes, found: Found) -> None:
    """Draw the ratio against depth for gaussian weights, beside the predicted law."""
    gaussian = [pair for pair in zip(found.data, found.rows, strict=True) if pair[1].weights == "gaussian"]
    for number, (run, row) in enumerate(gaussian):
        depth, ratio = ratios(run)
        low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75), axis=0)
        plotting.band(axes, depth, middle, low, high, number, rf"$\gamma$ = {plotting.symbol(row.gamma)}")
        line = np.geomspace(0.05, min(36.0, row.gap * row.layers), 100) / row.gap
        plotting.guide(axes, line, np.exp(-row.gap * line), "exp(-gap depth)" if number == 0 else None)


def draw_rates(axes: Axes, found: Found) -> None:
    """Draw the measured rates over the predicted ones."""
    gammas = sorted({row.gamma for row in found.rows})
    drawn = sum(row.weights == "gaussian" for row in found.rows)
    for number, (law, some) in enumerate(found.rows_by("weights").items()):
        at = [gammas.index(row.gamma) + 0.16 * (number - 0.5) for row in some]
        plotting.points(axes, at, [row.rate / row.gap for row in some], [row.half_width / row.gap for row in some],
                        drawn + number, f"rate, {law} weights")  # fmt: skip
    plotting.guide(axes, (-0.5, len(gammas) - 0.5), (1.0, 1.0))
    axes.set_xticks(range(len(gammas)), labels=[plotting.symbol(gamma) for gamma in gammas])


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        f"H' = H + gamma W H (gamma = inf: W H) from a gaussian H of {settings.width} features and {settings.width} "
        "samples, W of mean 0 and variance 1, double precision. Left: ratio of the second to the first singular value "
        f"of H; line: median of {span(s.chains for s in settings.grid)} chains, band: their middle half; grey: the "
        "law predicted, from 1; rounding ends the fall at 1e-16. Right: rate at which ln(s2 / s1) falls between "
        f"{settings.first:g} / gap and {settings.last:g} / gap layers, over gap = lambda_1 - lambda_2; 95 % intervals."
    )


EXPERIMENT = Experiment(
    name="vanilla-collapse",
    question="How fast does an unnormalised linear chain collapse to rank one?",
    sources=(DANESHMAND.at("Lemma 3"),),
    presets=PRESETS,
    tasks=tasks,
    columns=COLUMNS,
    rows=rows,
    note="± half of the 95 % interval over chains.",
    claims=claims,
    sheet=Sheet(
        "Unnormalised linear chains collapse to rank one, at the rate of their Lyapunov gap",
        (
            Panel(draw_fall, title="gaussian weights", xlabel="depth (layers)", ylabel=r"$s_2 / s_1$",
                  xscale="log", yscale="log", ylim=(1e-18, 3.0)),
            Panel(draw_rates, title="rate", xlabel=r"$\gamma$", ylabel="measured rate / gap of gaussian weights"),
        ),
        size=(10, 4.6),
        options={"width_ratios": (3, 2)},
    ),
    caption=caption,
)  # fmt: skip
