"""Is E ||M||_F^2 at most of order d sqrt(d) in a linear BN chain? That is where its sqrt(d) ranks come from.

The chain is ``H' = BN(H + gamma W H)`` with gaussian weights, N = d, rescaling only, and ``M = H H^T / N``. The proof
of Theorem 2 bounds the average of ||M||_F^2 over layers by a multiple of d sqrt(d) for small gamma; since
r = d^2 / ||M||_F^2, the participation ratio is then at least of order sqrt(d), and so is the soft rank. Measured are
the exponent of E ||M||_F^2 as a power of d, and its ratio to d sqrt(d), also at gamma that are not small.

The square is averaged, not the norm: every recorded norm is squared, and chains, which are independent, give the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.chains.scaling_law import ScalingLaw, Setting, grid_caption, simulations
from pyrank.experiments.claims import Claim, at_most, extension, provisional, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import TALK
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Sheet
from pyrank.support.text import plus_minus, span

PROOF = TALK.at("proof of Theorem 2")
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


def tasks(settings: Settings) -> list[Simulation]:
    """Return a simulation for each point."""
    return simulations(settings.grid, settings.seed, ("frobenius_norm",), trace=SAMPLES)


COLUMNS = (
    Column("gamma", "gamma", "g"),
    Column("width", "width d"),
    Column("chains", "chains"),
    Column("recorded", "samples", meaning="layers of each chain whose norm was squared"),
    Column("square", "E ||M||_F^2", lambda row: plus_minus(row.square, half_width(row))),
    Column("square_stderr"),
    Column("ratio", "over d^(3/2)", error="ratio_half_width"),
    Column("ratio_half_width"),
    Column("flags", "flags"),
)


def rows(settings: Settings, runs: Sequence[Run]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each point."""
    for run in runs:
        width = run.plan.chain.width
        squares = (trace(run, "frobenius_norm") ** 2).mean(axis=1)
        mean, half = mean_interval(squares)
        yield {
            "gamma": run.plan.chain.gamma,
            "width": width,
            "chains": len(squares),
            "recorded": trace(run, "frobenius_norm").shape[1],
            "square": float(mean),
            "square_stderr": float(squares.std(ddof=1)) / math.sqrt(len(squares)),
            "ratio": float(mean) / width**1.5,
            "ratio_half_width": float(half) / width**1.5,
            "flags": "; ".join(run["frobenius_norm"].flags),
        }


def half_width(row: Row) -> float:
    """Return half of the 95 % interval of the mean square."""
    return float(row.ratio_half_width * row.width**1.5)


LAW = ScalingLaw(
    quantity="E ||M||_F^2",
    symbol=r"E $\|M\|_F^2$",
    value="square",
    stderr="square_stderr",
    half_width=half_width,
    power=1.5,
    power_symbol=r"$d\sqrt{d}$",
    guide=lambda rows: 1.0,
)


def claims(found: Found) -> list[Claim]:
    """Return the growth for each gamma, and what is beyond it: the ratio at both ends, and a constant."""
    growth, ratios = [], []
    for gamma, some in found.rows_by("gamma").items():
        fit, first, last = LAW.fits(found)[gamma], some[0], some[-1]
        note = provisional("width", [row.width for row in some if row.flags])
        growth.append(
            published(
                f"E ||M||_F^2 <= O(d sqrt(d)), gamma = {gamma:g}",
                PROOF,
                Interval.around(fit.exponent, fit.half_width),
                at_most(1.5),
                reading=f"exponent of the mean as a power of d, d = {span(row.width for row in some)}",
                note=note,
            )
        )
        quotient = last.ratio / first.ratio
        error = quotient * math.hypot(last.ratio_half_width / last.ratio, first.ratio_half_width / first.ratio)
        ratios.append(
            extension(
                f"E ||M||_F^2 / d^(3/2) at d = {last.width} over the same at d = {first.width}, gamma = {gamma:g}",
                PROOF,
                Interval.around(quotient, error),
                at_most(1.0),
                note="; ".join(filter(None, (f"from {first.ratio:.3f} to {last.ratio:.3f}", note))),
            )
        )
    return [*growth, *ratios, _constant(found.rows)]


def _constant(rows: Sequence[Row]) -> Claim:
    ordered = sorted(rows, key=lambda row: float(row.ratio))
    best, worst = ordered[0], ordered[-1]
    return extension(
        "E ||M||_F^2 <= C d^(3/2) with C = 1",
        f"{PROOF}, which names no constant",
        Interval.around(worst.ratio, worst.ratio_half_width),
        at_most(1.0),
        note=f"largest ratio, at d = {worst.width}, gamma = {worst.gamma:g}; the smallest is {best.ratio:.3f}, at "
        f"d = {best.width}, gamma = {best.gamma:g}",
    )


def caption(found: Found) -> str:
    """Say what is shown."""
    return (
        "Mean of the squared Frobenius norm of M = H Hᵀ / N over layers and chains of H' = BN(H + gamma W H); gaussian "
        f"weights, rescaling only, float32. {grid_caption(found.settings.grid)}"
    )


EXPERIMENT = Experiment(
    name="bound-check",
    question="Is E ||M||_F^2 at most of order d sqrt(d) in a linear BN chain?",
    sources=(PROOF,),
    presets={"quick": _quick(), "paper": _paper()},
    tasks=tasks,
    columns=COLUMNS,
    rows=rows,
    note="± half of the 95 % interval over chains (Student).",
    tables=(LAW.table(),),
    claims=claims,
    sheet=Sheet("Second moment of the Gram matrix of linear batch-normalised chains", LAW.panels()),
    caption=caption,
)
