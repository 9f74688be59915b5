"""How fast does an unnormalised linear chain collapse to rank one? As fast as its first two Lyapunov exponents differ.

Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: "Batch normalization provably avoids ranks
collapse for randomly initialised deep networks", NeurIPS 2020, arXiv:2003.01652. Lemma 3.

The chain is ``H' = H + gamma W H``, or ``W H`` without skip connection (gamma = inf), with gaussian or uniform W of
variance 1, as many samples as features, in double precision. The lemma says that H / ||H|| tends to a matrix of rank
one. Here that is the ratio of the second to the first singular value, and theory says that its logarithm falls by
lambda_1 - lambda_2 a layer: Newman's exponents for gaussian W without skip connection, and with it
`pyrank.theory.residual_gap`. No closed form is known for uniform W; it is held against the gaussian one, which it falls
short of by some per cent unless the skip connection is strong or the width large.

The gap is about 1 / (2 d) for gamma >= 1 and gamma^2 for small gamma, so depth is counted in units of 1 / gap. In these
units all chains look alike: the logarithm drifts by -1 and gains a variance of 2, its first steps are over after about
four, and rounding keeps the ratio from falling below some 1e-16, which touches the mean after about twenty. The rate is
measured between ``first`` and ``last``, from one end to the other in each chain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, at_most, close_to, publish
from pyrank.experiments.running import Job, run_all
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, span, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "vanilla-collapse"
PAPER = "Daneshmand et al. 2020"
COLLAPSED, GONE = 1e-3, 1e-6
"""The ratio at which a chain counts as collapsed, and that below which the ratio has to be at the end."""
QUICKLY = 1_000
"""Layers that are few in a claim which names none: the depth of the deepest networks that are trained."""
MARGIN = 0.05
"""Part of the predicted rate by which a measured one may differ."""


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


GAMMAS = (math.inf, 1.0, 0.3, 0.1)
PRESETS = {
    # At gamma = 0.01 a unit is 10^4 layers: there few chains, and not to where rounding is all that is seen.
    "quick": Settings(
        (
            *(Setting("gaussian", gamma, chains=1536, units=36) for gamma in GAMMAS),
            Setting("gaussian", 0.01, chains=768, units=18),
            *(Setting("uniform", gamma, chains=1536, units=36) for gamma in GAMMAS),
        ),
        width=8,
    ),
    "paper": Settings(
        tuple(
            setting
            for law in ("gaussian", "uniform")
            for setting in (
                *(Setting(law, gamma, chains=4096, units=36) for gamma in GAMMAS),
                Setting(law, 0.01, chains=1024, units=18),
            )
        ),
        width=32,
    ),
}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    ``gap`` and ``rate`` are in nats per layer, ``half_width`` is that of the 95 % interval of the rate, ``deviation``
    is rate - gap in standard errors; ``final`` is the median ratio after the last layer, and ``collapse`` the number of
    layers after which the median passes `COLLAPSED`.
    """

    weights: str
    gamma: float
    chains: int
    layers: int
    gap: float
    rate: float
    half_width: float
    deviation: float
    collapse: float
    final: float


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, measure the rates, judge, and write data, table and figure: see `pyrank.experiments.reproduce`."""
    jobs = [_job(settings, number) for number in range(len(settings.grid))]
    runs = run_all(jobs, out, device=device, progress=progress)
    rows = [_row(run, settings) for run in runs]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=_judge(rows),
        figure=_figure(runs, rows, caption),
        caption=caption,
    )


def predicted_gap(width: int, gamma: float) -> float:
    """Return lambda_1 - lambda_2 for gaussian weights of variance 1."""
    if math.isinf(gamma):
        first, second = theory.ginibre_lyapunov_exponents(width)[:2]
        return float(first - second)
    return float(theory.residual_gap(width, gamma))


def _job(settings: Settings, number: int) -> Job:
    setting = settings.grid[number]
    stride = max(1, round(1 / predicted_gap(settings.width, setting.gamma)))
    depth = 1 + stride * setting.units
    return Job(
        name=f"{setting.weights},gamma={setting.gamma:g}",
        chain=Chain(
            settings.width,
            gamma=setting.gamma,
            weights=setting.weights,
            normalization="none",
            dtype="float64",
        ),
        depth=depth,
        options={
            "chains": setting.chains,
            "seed": settings.seed + number,
            "measures": ["singular_values(2)"],
            "snapshot_every": stride,
            "trace": setting.units + 2 + setting.units % 2,
        },
        cost=setting.chains * depth,
    )


def _ratios(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return depths (snapshots,), and the second over the first singular value there, (chains, snapshots)."""
    first, second = (run[f"singular_values(2)[{i}]"].trace for i in (0, 1))
    assert first is not None
    assert second is not None
    return 1 + run.plan.snapshot_every * np.arange(first.shape[1]), second / first


def _row(run: Run, settings: Settings) -> Row:
    chain = run.plan.chain
    gap = predicted_gap(chain.width, chain.gamma)
    depth, ratio = _ratios(run)
    begin, end = np.searchsorted(depth * gap, (settings.first, settings.last))
    slopes = np.log(ratio[:, end] / ratio[:, begin]) / (depth[end] - depth[begin])
    rate, half_width = mean_interval(-slopes)
    median = np.median(ratio, axis=0)
    return Row(
        weights=chain.weights.law,
        gamma=chain.gamma,
        chains=run.plan.chains,
        layers=run.depth,
        gap=gap,
        rate=float(rate),
        half_width=float(half_width),
        deviation=float((rate - gap) / (slopes.std(ddof=1) / math.sqrt(run.plan.chains))),
        collapse=_passes(depth, median),
        final=float(median[-1]),
    )


def _passes(depth: NDArray[np.int64], ratio: NDArray[np.float64]) -> float:
    """Return where the ratio falls below `COLLAPSED`, by a line in the logarithm between snapshots, or inf."""
    below = np.flatnonzero(ratio < COLLAPSED)
    if not below.size:
        return math.inf
    around = slice(max(0, below[0] - 1), below[0] + 1)
    return float(np.interp(-math.log(COLLAPSED), -np.log(ratio[around]), depth[around]))


def _judge(rows: Sequence[Row]) -> tuple[Claim, ...]:
    last, slow = max(rows, key=lambda row: row.final), max(rows, key=lambda row: row.collapse)
    quick = min(rows, key=lambda row: row.collapse)
    claims = [
        Claim(
            statement="H / ||H|| tends to rank one: s2 / s1 -> 0, with and without skip connection",
            source=f"{PAPER}, Lemma 3",
            value=last.final,
            error=None,
            verdict=at_most(last.final, last.final, GONE),
            note=f"median over chains after the last layer, the largest one of {len(rows)} settings: {last.weights} "
            f"weights, gamma {last.gamma:g}, {last.layers:,} layers; holds means at most {GONE:g}",
        ),
        Claim(
            statement="the rank collapses quickly with depth, at every gamma",
            source=f"{PAPER}, abstract",
            value=slow.collapse,
            error=None,
            verdict=at_most(slow.collapse, slow.collapse, QUICKLY),
            note=f"layers until the median of s2 / s1 is below {COLLAPSED:g} at gamma {slow.gamma:g}; at gamma "
            f"{quick.gamma:g} it takes {quick.collapse:.0f}. It depends on gamma: about 6 / gap, where gap is gamma^2 "
            f"for small gamma. 'Quickly' is taken as at most {QUICKLY:,} layers",
        ),
    ]
    for row in rows:
        value, error = row.rate / row.gap, row.half_width / row.gap
        exact = row.weights == "gaussian"
        claims.append(
            Claim(
                statement=f"ln(s2 / s1) falls by lambda_1 - lambda_2 {'' if exact else 'of gaussian weights '}"
                f"a layer: {row.weights} weights, gamma = {row.gamma:g}",
                source=("Newman 1986" if math.isinf(row.gamma) else "pyrank.theory.residual_gap")
                + f"; {PAPER}, Lemma 3",
                value=value,
                error=error,
                verdict=close_to(value - error, value + error, 1.0, MARGIN),
                note=f"measured rate over predicted; {row.deviation:+.1f} standard errors from 1; holds means within "
                f"{MARGIN:.0%}" + ("" if exact else "; the prediction is for other weights of the same variance"),
            )
        )
    return tuple(claims)


def _table(rows: Sequence[Row]) -> str:
    lines = [
        (f"{row.gamma:g}", f"{row.chains:,}", f"{row.layers:,}", f"{row.gap:.4g}",
         plus_minus(row.rate, row.half_width), plus_minus(row.rate / row.gap, row.half_width / row.gap),
         f"{row.deviation:+.1f}", f"{row.collapse:,.0f}", f"{row.final:.1e}", row.weights)
        for row in rows
    ]  # fmt: skip
    head = ("gamma", "chains", "layers", "gap", "rate", "rate / gap", "sigmas", f"to {COLLAPSED:g}", "at the end",
            "weights")  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        "gap: lambda_1 - lambda_2 of gaussian weights; rate: at which ln(s2 / s1) falls; both in nats per layer.",
        "± half of the 95 % interval over chains; sigmas: rate - gap in standard errors.",
        f"to {COLLAPSED:g}: layers until the median of s2 / s1 falls below; at the end: median after the last layer,",
        "where rounding keeps it from falling below 1e-16 or so.",
    ])  # fmt: skip


def _figure(runs: Sequence[Run], rows: Sequence[Row], caption: str) -> Figure:
    figure, (fall, rates) = plotting.sheet(
        title="Unnormalised linear chains collapse to rank one, at the rate of their Lyapunov gap",
        caption=caption,
        columns=2,
        size=(10, 4.6),
        width_ratios=(3, 2),
    )
    gaussian = [(run, row) for run, row in zip(runs, rows, strict=True) if row.weights == "gaussian"]
    for number, (run, row) in enumerate(gaussian):
        depth, ratio = _ratios(run)
        low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75), axis=0)
        plotting.band(fall, depth, middle, low, high, number, rf"$\gamma$ = {_symbol(row.gamma)}")
        line = np.geomspace(0.05, min(36.0, row.gap * row.layers), 100) / row.gap
        plotting.guide(fall, line, np.exp(-row.gap * line), "exp(-gap depth)" if number == 0 else None)
    fall.set(xscale="log", yscale="log", ylim=(1e-18, 3.0))
    fall.set(xlabel="depth (layers)", ylabel=r"$s_2 / s_1$", title="gaussian weights")
    gammas = sorted({row.gamma for row in rows})
    for number, law in enumerate(dict.fromkeys(row.weights for row in rows)):
        some = [row for row in rows if row.weights == law]
        plotting.points(
            rates,
            [gammas.index(row.gamma) + 0.16 * (number - 0.5) for row in some],
            [row.rate / row.gap for row in some],
            [row.half_width / row.gap for row in some],
            len(gaussian) + number,
            f"rate, {law} weights",
        )
    plotting.guide(rates, (-0.5, len(gammas) - 0.5), (1.0, 1.0))
    rates.set_xticks(range(len(gammas)), labels=[_symbol(gamma) for gamma in gammas])
    rates.set(xlabel=r"$\gamma$", ylabel="measured rate / gap of gaussian weights", title="rate")
    plotting.legend(figure)
    return figure


def _symbol(gamma: float) -> str:
    return r"$\infty$" if math.isinf(gamma) else f"{gamma:g}"


def _caption(settings: Settings) -> str:
    grid = settings.grid
    return (
        f"After {PAPER}, Lemma 3. H' = H + gamma W H (gamma = inf: W H) from a gaussian H of {settings.width} features "
        f"and {settings.width} samples, W of mean 0 and variance 1, double precision. Left: ratio of the second to the "
        f"first singular value of H; line: median of {span(s.chains for s in grid)} chains, band: their middle half; "
        "grey: the law predicted, from 1; rounding ends the fall at 1e-16. Right: rate at which ln(s2 / s1) falls "
        f"between {settings.first:g} / gap and {settings.last:g} / gap layers, over gap = lambda_1 - lambda_2; 95 % "
        f"intervals. Seeds {settings.seed} to {settings.seed + len(grid) - 1}."
    )
