"""How fast does the rank of a linear BN chain grow with its width? At least like sqrt(d), says Theorem 2.

The chain is ``H' = BN(H + gamma W H)`` with gaussian W, as many samples as features (N = d), and a normalisation that
rescales only. Theorem 2 says that the average over layers of rank_tau, the number of eigenvalues >= tau of
``H H^T / N``, grows at least like sqrt(d). Two things are checked: the inequality rank_tau >= (1 - tau)^2 r that the
proof rests on, r being the participation ratio, at every recorded layer; and the exponent of the mean of rank_tau as a
power of d.

A chain forgets its start after about d layers for gamma >= 1, and after some 1 / gamma^2 layers for small gamma: that
sets the burn-in and the length of a run, and how many chains may share the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval
from pyrank.experiments.chains.scaling_law import ScalingLaw, Setting, grid_caption, simulations
from pyrank.experiments.claims import Claim, at_least, provisional, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Sheet
from pyrank.support.text import span


@dataclass(frozen=True)
class Settings:
    """All points of the figure, and the threshold; point number i has the seed ``seed + i``."""

    grid: tuple[Setting, ...]
    tau: float = 0.5
    seed: int = 0

    @property
    def measures(self) -> tuple[str, str, str]:
        """What is recorded."""
        return f"soft_rank({self.tau!r})", "participation_ratio", f"rank_bound_margin({self.tau!r})"


def _quick() -> Settings:
    # Chosen so that every estimate converges and that the whole takes about three quarters of a minute on two cores.
    slow = {8: 400_000, 16: 400_000, 32: 300_000, 64: 240_000}
    fast = {8: 40_000, 16: 20_000, 32: 10_000, 64: 5_000}
    grid = [Setting(width, 0.01, 32, burn_in=20_000, layers=layers, every=100) for width, layers in slow.items()]
    for gamma in (1.0, math.inf):
        grid += [Setting(width, gamma, 32, burn_in=1_000, layers=layers) for width, layers in fast.items()]
    return Settings(tuple(grid))


def _paper() -> Settings:
    return Settings(tuple(
        Setting(width, gamma, 32 if width <= 64 else 4, burn_in=100_000 if gamma < 1 else 10_000, layers=1_000_000)
        for gamma in (0.01, 1.0, math.inf)
        for width in (8, 16, 32, 64, 128, 256)
    ))  # fmt: skip


def _gpu() -> Settings:
    return Settings(tuple(_shared_by_more(setting) for setting in _paper().grid))


def _shared_by_more(setting: Setting) -> Setting:
    """Return as many recorded states from more and shorter chains, which a GPU advances in the time of few.

    R-hat falls below 1.01 once a chain has about a hundred autocorrelation times. These are at most 70 layers for
    gamma >= 1, but up to 3,400 for gamma = 0.01. There the start is a second limit: what is left of it in the mean over
    chains falls only about like 1 / (gamma^2 layers), so that half the layers want twice the burn-in.
    """
    if setting.gamma < 1:
        return replace(setting, chains=2 * setting.chains, burn_in=2 * setting.burn_in, layers=setting.layers // 2)
    return replace(setting, chains=64 * setting.chains, layers=setting.layers // 64)


def tasks(settings: Settings) -> list[Simulation]:
    """Return a simulation for each point."""
    return simulations(settings.grid, settings.seed, settings.measures, trace=0)


COLUMNS = (
    Column("gamma", "gamma", "g"),
    Column("width", "width d"),
    Column("chains", "chains"),
    Column("recorded", "layers", meaning="recorded in each chain"),
    Column("rank", "rank_tau", error="rank_stderr", meaning="eigenvalues >= tau of H Hᵀ / N, mean"),
    Column("rank_stderr"),
    Column("rank_half_width"),
    Column("", "sqrt d", lambda row: f"{math.sqrt(row.width):.3f}"),
    Column("r", "r", error="r_stderr", meaning="participation ratio (Tr M)² / ||M||², mean"),
    Column("r_stderr"),
    Column("margin_min", "min margin", ".3f", meaning="smallest rank_tau - (1 - tau)^2 r that was seen"),
    Column("rhat", "r-hat", ".3f", meaning="the larger one of rank_tau and r"),
    Column("flags", "flags"),
)


def rows(settings: Settings, runs: Sequence[Run]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each point."""
    for run in runs:
        rank, r, margin = (run[measure] for measure in settings.measures)
        low, high = rank.interval(0.95)
        yield {
            "gamma": run.plan.chain.gamma,
            "width": run.plan.chain.width,
            "chains": run.plan.chains,
            "recorded": run.recorded,
            "rank": rank.mean,
            "rank_stderr": rank.stderr,
            "rank_half_width": (high - low) / 2,
            "r": r.mean,
            "r_stderr": r.stderr,
            "margin_min": margin.min,
            "rhat": max(rank.rhat, r.rhat),
            "flags": "; ".join(dict.fromkeys((*rank.flags, *r.flags, *margin.flags))),
        }


LAW = ScalingLaw(
    quantity="rank_tau",
    symbol=r"mean rank$_\tau$",
    value="rank",
    stderr="rank_stderr",
    half_width=lambda row: float(row.rank_half_width),
    power=0.5,
    power_symbol=r"$\sqrt{d}$",
    guide=lambda rows: 0.85 * min(row.rank / math.sqrt(row.width) for row in rows),
)


def claims(found: Found) -> list[Claim]:
    """Return the inequality of the proof, and the growth for each gamma."""
    worst = min(found.rows, key=lambda row: float(row.margin_min))
    states = sum(row.chains * row.recorded for row in found.rows)
    tau = found.settings.tau
    return [
        published(
            f"rank_tau(H) >= (1 - tau)^2 r(H) at every layer, tau = {tau:g}",
            DANESHMAND.at("Lemma 1"),
            Interval.exact(worst.margin_min),
            at_least(0.0),
            note=f"smallest difference of the two sides in {states:,} states, at width {worst.width}, gamma "
            f"{worst.gamma:g}",
        ),
        *(_growth(found, gamma) for gamma in LAW.fits(found)),
    ]


def _growth(found: Found, gamma: float) -> Claim:
    fit, some = LAW.fits(found)[gamma], found.rows_by("gamma")[gamma]
    return published(
        f"the mean rank_tau over layers grows at least like sqrt(d), gamma = {gamma:g}",
        DANESHMAND.at("Theorem 2, Fig. 3a"),
        Interval.around(fit.exponent, fit.half_width),
        at_least(0.5),
        reading=f"exponent of the mean as a power of d, d = {span(row.width for row in some)}",
        note=provisional("width", [row.width for row in some if row.flags]),
    )


def caption(found: Found) -> str:
    """Say what is shown."""
    return (
        f"Number of eigenvalues >= tau = {found.settings.tau:g} of H Hᵀ / N, averaged over layers and chains; gaussian "
        f"weights, rescaling only. {grid_caption(found.settings.grid)}"
    )


EXPERIMENT = Experiment(
    name="soft-rank-scaling",
    question="How fast does the rank of a linear BN chain grow with its width?",
    sources=(DANESHMAND.at("Fig. 3a"), DANESHMAND.at("Theorem 2")),
    presets={"quick": _quick(), "paper": _paper(), "gpu": _gpu()},
    tasks=tasks,
    columns=COLUMNS,
    rows=rows,
    note="± one standard error.",
    tables=(LAW.table(),),
    claims=claims,
    sheet=Sheet("Rank of linear batch-normalised chains against width", LAW.panels()),
    caption=caption,
    more=lambda found: {"runs": [run.to_dict() for run in found.data]},
)
