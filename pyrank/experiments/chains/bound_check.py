"""Is E ||M||_F^2 at most of order d sqrt(d) in a linear BN chain? That is where its sqrt(d) ranks come from.

Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: "Batch normalization provably avoids ranks
collapse for randomly initialised deep networks", NeurIPS 2020, arXiv:2003.01652. The proof of Theorem 2.

The chain is ``H' = BN(H + gamma W H)`` with gaussian weights, N = d, rescaling only, and ``M = H H^T / N``. The proof
bounds the average of ||M||_F^2 over layers by a multiple of d sqrt(d) for small gamma; since r = d^2 / ||M||_F^2, the
participation ratio is then at least of order sqrt(d), and so is the soft rank. Measured are the exponent of
E ||M||_F^2 as a power of d, and its ratio to d sqrt(d), also at gamma that are not small.

The square is averaged, not the norm: every recorded norm is squared, and chains, which are independent, give the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrank import plotting
from pyrank.engine.run import Run
from pyrank.estimate.fitting import PowerLaw, power_law
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, at_most, provisional, publish
from pyrank.experiments.chains.soft_rank_scaling import Setting
from pyrank.experiments.running import Job, run_all
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, span, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "bound-check"
SOURCE = "Daneshmand et al. 2020, proof of Theorem 2"
SAMPLES = 8192
"""Of each chain, at most."""


@dataclass(frozen=True)
class Settings:
    """All points of the figure; point number i has the seed ``seed + i``, so that errors are independent."""

    grid: tuple[Setting, ...]
    seed: int = 0


def _quick() -> Settings:
    layers = {8: 20_000, 16: 10_000, 32: 5_000, 64: 3_000, 128: 2_500}
    return Settings(tuple(
        Setting(width, gamma, 32, burn_in=1_000 if gamma < 1 else 500, layers=some, every=4)
        for gamma in (0.1, 1.0, math.inf)
        for width, some in layers.items()
    ))  # fmt: skip


def _paper() -> Settings:
    # A chain forgets its start after about d layers for gamma >= 1, and after about 1 / gamma^2 layers for small gamma.
    return Settings(tuple(
        Setting(width, gamma, 32, burn_in=100_000 if gamma < 0.1 else 10_000, layers=layers, every=10)
        for gamma, layers in ((0.01, 1_000_000), (0.1, 100_000), (1.0, 100_000), (math.inf, 100_000))
        for width in (8, 16, 32, 64, 128, 256)
    ))  # fmt: skip


PRESETS = {"quick": _quick(), "paper": _paper()}


@dataclass(frozen=True)
class Row:
    """A line of the table: ``square`` is the mean of ||M||_F^2, ``ratio`` that over d sqrt(d)."""

    width: int
    gamma: float
    chains: int
    recorded: int
    square: float
    square_stderr: float
    ratio: float
    ratio_half_width: float
    flags: str


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, fit, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    rows = [_row(run) for run in run_all(_jobs(settings), out, device=device, progress=progress)]
    fits = _fits(rows)
    caption = _caption(rows, settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows, fits),
        claims=judge(rows),
        figure=_figure(rows, fits, caption),
        caption=caption,
        data={"fits": [{"gamma": gamma, **asdict(fit), "interval": fit.interval} for gamma, fit in fits.items()]},
    )


def _jobs(settings: Settings) -> list[Job]:
    return [
        Job(
            name=f"d={setting.width},gamma={setting.gamma:g}",
            chain=Chain(setting.width, gamma=setting.gamma),
            depth=setting.burn_in + setting.layers,
            options={
                "chains": setting.chains,
                "seed": settings.seed + number,
                "measures": ("frobenius_norm",),
                "burn_in": setting.burn_in,
                "every": setting.every,
                "trace": SAMPLES,
            },
            cost=setting.cost,
        )
        for number, setting in enumerate(settings.grid)
    ]


def _row(run: Run) -> Row:
    norm, width = run["frobenius_norm"], run.plan.chain.width
    assert norm.trace is not None
    squares = (norm.trace**2).mean(axis=1)
    mean, half_width = mean_interval(squares)
    return Row(
        width=width,
        gamma=run.plan.chain.gamma,
        chains=len(squares),
        recorded=norm.trace.shape[1],
        square=float(mean),
        square_stderr=float(squares.std(ddof=1)) / math.sqrt(len(squares)),
        ratio=float(mean) / width**1.5,
        ratio_half_width=float(half_width) / width**1.5,
        flags="; ".join(norm.flags),
    )


def _by_gamma(rows: Sequence[Row]) -> dict[float, list[Row]]:
    return {gamma: [row for row in rows if row.gamma == gamma] for gamma in dict.fromkeys(row.gamma for row in rows)}


def _fits(rows: Sequence[Row]) -> dict[float, PowerLaw]:
    """Fit square = prefactor * width ** exponent for each gamma."""
    return {
        gamma: power_law([r.width for r in some], [r.square for r in some], [r.square_stderr for r in some])
        for gamma, some in _by_gamma(rows).items()
    }


def judge(rows: Sequence[Row]) -> list[Claim]:
    """Return the claims on the exponents, on the ratios, and on a constant of 1."""
    fits, claims = _fits(rows), []
    for gamma, some in _by_gamma(rows).items():
        fit, first, last = fits[gamma], some[0], some[-1]
        note = provisional("width", [row.width for row in some if row.flags])
        growth = last.ratio / first.ratio
        error = growth * math.hypot(last.ratio_half_width / last.ratio, first.ratio_half_width / first.ratio)
        claims += [
            Claim(
                statement=f"E ||M||_F^2 grows at most like d^(3/2), gamma = {gamma:g}",
                source=SOURCE,
                value=fit.exponent,
                error=fit.half_width,
                verdict=at_most(*fit.interval, 1.5),
                note=note,
            ),
            Claim(
                statement=f"E ||M||_F^2 / d^(3/2) is at d = {last.width} no larger than at d = {first.width}, "
                f"gamma = {gamma:g}",
                source=SOURCE,
                value=growth,
                error=error,
                verdict=at_most(growth - error, growth + error, 1.0),
                note="; ".join(filter(None, (f"quotient of the two; {first.ratio:.3f} and {last.ratio:.3f}", note))),
            ),
        ]
    return [*claims, _constant(rows)]


def _constant(rows: Sequence[Row]) -> Claim:
    worst, best = max(rows, key=lambda row: row.ratio), min(rows, key=lambda row: row.ratio)
    low, high = worst.ratio - worst.ratio_half_width, worst.ratio + worst.ratio_half_width
    return Claim(
        statement="E ||M||_F^2 <= C d^(3/2) with C = 1",
        source=f"{SOURCE}, which is of that order but names no constant",
        value=worst.ratio,
        error=worst.ratio_half_width,
        verdict=at_most(low, high, 1.0),
        note=f"largest ratio, at d = {worst.width}, gamma = {worst.gamma:g}; the smallest is {best.ratio:.3f}, at "
        f"d = {best.width}, gamma = {best.gamma:g}",
    )


def _table(rows: Sequence[Row], fits: Mapping[float, PowerLaw]) -> str:
    head = ("gamma", "width d", "chains", "samples", "E ||M||_F^2", "over d^(3/2)", "flags")
    points = [
        (f"{row.gamma:g}", str(row.width), str(row.chains), f"{row.recorded:,}",
         plus_minus(row.square, row.ratio_half_width * row.width**1.5), plus_minus(row.ratio, row.ratio_half_width),
         row.flags or "-")
        for row in rows
    ]  # fmt: skip
    lines = [
        (f"{gamma:g}", plus_minus(fit.exponent, fit.half_width), f"{fit.prefactor:.3f}", f"{fit.chi2 / fit.dof:.3g}")
        for gamma, fit in fits.items()
    ]
    return "\n".join([
        text_table(head, points),
        "± half of the 95 % interval over chains (Student); samples: layers of each chain whose norm was squared.",
        "",
        "E ||M||_F^2 = c d^exponent, weighted least squares in log-log:",
        text_table(("gamma", "exponent", "c", "chi2/dof"), lines),
        "± half of the 95 % interval: the wider one of that from the errors and that from the scatter about the line.",
    ])  # fmt: skip


def _figure(rows: Sequence[Row], fits: Mapping[float, PowerLaw], caption: str) -> Figure:
    figure, (growth, ratio) = plotting.sheet(
        title="Second moment of the Gram matrix of linear batch-normalised chains", caption=caption, columns=2
    )
    ends = [min(row.width for row in rows), max(row.width for row in rows)]
    for number, (gamma, some) in enumerate(_by_gamma(rows).items()):
        fit = fits[gamma]
        name = r"$\infty$" if math.isinf(gamma) else f"{gamma:g}"
        label = rf"$\gamma$ = {name}: exponent {plus_minus(fit.exponent, fit.half_width)}"
        path = np.geomspace(float(ends[0]), float(ends[1]), 50)
        for axes, power in ((growth, 0.0), (ratio, 1.5)):
            widths = np.array([row.width for row in some], dtype=float)
            values = np.array([row.square for row in some]) / widths**power
            errors = np.array([row.ratio_half_width for row in some]) * widths ** (1.5 - power)
            plotting.curve(axes, path, fit.prefactor * path ** (fit.exponent - power), number)
            plotting.points(axes, widths, values, errors, number, label)
    plotting.guide(growth, ends, [width**1.5 for width in ends], r"$d\sqrt{d}$")
    plotting.guide(ratio, ends, [1.0, 1.0])
    for axes in (growth, ratio):
        plotting.log_ticks(axes.xaxis, [row.width for row in rows])
        axes.set_xlabel("width d (features) = batch N (samples)")
    growth.set_yscale("log")
    growth.set_ylabel(r"E $\|M\|_F^2$")
    ratio.set_ylabel(r"E $\|M\|_F^2$ / $d\sqrt{d}$")
    plotting.legend(figure)
    return figure


def _caption(rows: Sequence[Row], settings: Settings) -> str:
    grid = settings.grid
    return (
        f"After {SOURCE}. Mean of the squared Frobenius norm of M = H Hᵀ / N over layers and chains of "
        "H' = BN(H + gamma W H); gaussian weights, rescaling only, float32. Chains: "
        f"{span(s.chains for s in grid)}; layers after burn-in: {span(s.layers for s in grid)}, of which "
        f"{span(row.recorded for row in rows)} count; burn-in: {span(s.burn_in for s in grid)}; seeds {settings.seed} "
        f"to {settings.seed + len(grid) - 1}. Error bars and ±: 95 % intervals. Lines: weighted fits. Flagged "
        f"estimates: {sum(bool(row.flags) for row in rows)} of {len(rows)}."
    )
