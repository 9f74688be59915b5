"""How fast does the rank of a linear BN chain grow with its width? At least like sqrt(d), says the theorem.

Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: "Batch normalization provably avoids ranks
collapse for randomly initialised deep networks", NeurIPS 2020, arXiv:2003.01652. Figure 3a and Theorem 2.

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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyrank import plotting
from pyrank.engine.run import Run
from pyrank.estimate.fitting import PowerLaw, power_law
from pyrank.experiments import Claim, Result, at_least, provisional, publish
from pyrank.experiments.running import Job, run_all
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, span, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "soft-rank-scaling"
PAPER = "Daneshmand et al. 2020"


@dataclass(frozen=True)
class Setting:
    """One point of the figure: ``layers`` layers of each chain after ``burn_in``, of which each ``every``-th counts."""

    width: int
    gamma: float
    chains: int
    burn_in: int
    layers: int
    every: int = 1

    @property
    def cost(self) -> float:
        """Predicted time in arbitrary units, after measurements; to record takes about as long as a layer."""
        layers = self.burn_in + self.layers * (1 + 1 / self.every)
        return self.chains * layers * self.width**2 * (1 + math.pow(self.width / 64, 1.5))


@dataclass(frozen=True)
class Settings:
    """All points of the figure, and the threshold; point number i has the seed ``seed + i``."""

    grid: tuple[Setting, ...]
    tau: float = 0.5
    seed: int = 0


def _quick() -> Settings:
    # Chosen so that every estimate converges and that the whole takes about three quarters of a minute on two cores.
    slow = {8: 400_000, 16: 400_000, 32: 300_000, 64: 240_000}
    fast = {8: 40_000, 16: 20_000, 32: 10_000, 64: 5_000}
    grid = [Setting(width, 0.01, 32, burn_in=20_000, layers=layers, every=100) for width, layers in slow.items()]
    for gamma in (1.0, math.inf):
        grid += [Setting(width, gamma, 32, burn_in=1_000, layers=layers) for width, layers in fast.items()]
    return Settings(tuple(grid))


def _paper() -> Settings:
    widths = (8, 16, 32, 64, 128, 256)
    return Settings(tuple(
        Setting(width, gamma, 32 if width <= 64 else 4, burn_in=100_000 if gamma < 1 else 10_000, layers=1_000_000)
        for gamma in (0.01, 1.0, math.inf)
        for width in widths
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


PRESETS = {"quick": _quick(), "paper": _paper(), "gpu": _gpu()}


@dataclass(frozen=True)
class Row:
    """A line of the table; errors are standard errors, ``rank`` is rank_tau and ``r`` the participation ratio."""

    width: int
    gamma: float
    chains: int
    recorded: int
    rank: float
    rank_stderr: float
    rank_half_width: float
    r: float
    r_stderr: float
    margin_min: float
    rhat: float
    flags: str


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, fit, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    jobs = [_job(settings, number) for number in range(len(settings.grid))]
    runs = run_all(jobs, out, device=device, progress=progress)
    rows = [_row(run, settings.tau) for run in runs]
    fits = _fits(rows)
    caption = _caption(rows, settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows, fits, settings.tau),
        claims=_judge(rows, fits, settings.tau),
        figure=_figure(rows, fits, settings.tau, caption),
        caption=caption,
        data={
            "fits": [{"gamma": gamma, **asdict(fit), "interval": fit.interval} for gamma, fit in fits.items()],
            "runs": [run.to_dict() for run in runs],
        },
    )


def _job(settings: Settings, number: int) -> Job:
    # Settings must not share a seed: two widths or gammas would see the same weights, and the fit takes errors as
    # independent.
    setting = settings.grid[number]
    return Job(
        name=f"d={setting.width},gamma={setting.gamma:g}",
        chain=Chain(setting.width, gamma=setting.gamma),
        depth=setting.burn_in + setting.layers,
        options={
            "chains": setting.chains,
            "seed": settings.seed + number,
            "measures": _measures(settings.tau),
            "burn_in": setting.burn_in,
            "every": setting.every,
            "trace": 0,
        },
        cost=setting.cost,
    )


def _measures(tau: float) -> tuple[str, str, str]:
    return f"soft_rank({tau!r})", "participation_ratio", f"rank_bound_margin({tau!r})"


def _row(run: Run, tau: float) -> Row:
    rank, r, margin = (run[measure] for measure in _measures(tau))
    low, high = rank.interval(0.95)
    return Row(
        width=run.plan.chain.width,
        gamma=run.plan.chain.gamma,
        chains=run.plan.chains,
        recorded=run.recorded,
        rank=rank.mean,
        rank_stderr=rank.stderr,
        rank_half_width=(high - low) / 2,
        r=r.mean,
        r_stderr=r.stderr,
        margin_min=margin.min,
        rhat=max(rank.rhat, r.rhat),
        flags="; ".join(dict.fromkeys((*rank.flags, *r.flags, *margin.flags))),
    )


def _fits(rows: Sequence[Row]) -> dict[float, PowerLaw]:
    """Fit rank = prefactor * width ** exponent for each gamma."""
    fits = {}
    for gamma in dict.fromkeys(row.gamma for row in rows):
        some = [row for row in rows if row.gamma == gamma]
        fits[gamma] = power_law([r.width for r in some], [r.rank for r in some], [r.rank_stderr for r in some])
    return fits


def _judge(rows: Sequence[Row], fits: dict[float, PowerLaw], tau: float) -> tuple[Claim, ...]:
    worst = min(rows, key=lambda row: row.margin_min)
    states = sum(row.chains * row.recorded for row in rows)
    claims = [
        Claim(
            statement=f"rank_{tau:g} >= (1 - {tau:g})^2 r at every recorded layer",
            source=f"{PAPER}, Lemma 1",
            value=worst.margin_min,
            error=None,
            verdict=at_least(worst.margin_min, worst.margin_min, 0.0),
            note=f"smallest difference of the two sides in {states:,} states, at width {worst.width}, "
            f"gamma {worst.gamma:g}",
        )
    ]
    for gamma, fit in fits.items():
        flagged = [row.width for row in rows if row.gamma == gamma and row.flags]
        claims.append(
            Claim(
                statement=f"mean rank_{tau:g} grows at least like d^(1/2), gamma = {gamma:g}",
                source=f"{PAPER}, Theorem 2, Fig. 3a",
                value=fit.exponent,
                error=fit.half_width,
                verdict=at_least(*fit.interval, 0.5),
                note=provisional("width", flagged),
            )
        )
    return tuple(claims)


def _table(rows: Sequence[Row], fits: dict[float, PowerLaw], tau: float) -> str:
    points = [
        (f"{row.gamma:g}", str(row.width), f"{row.chains}", f"{row.recorded:,}", plus_minus(row.rank, row.rank_stderr),
         f"{math.sqrt(row.width):.3f}", plus_minus(row.r, row.r_stderr), f"{row.margin_min:.3f}", f"{row.rhat:.3f}",
         row.flags or "-")
        for row in rows
    ]  # fmt: skip
    head = ("gamma", "width d", "chains", "layers", f"rank_{tau:g}", "sqrt d", "r", "min margin", "r-hat", "flags")
    lines = [
        (f"{gamma:g}", plus_minus(fit.exponent, fit.half_width), f"{fit.prefactor:.3f}", f"{fit.chi2 / fit.dof:.3g}")
        for gamma, fit in fits.items()
    ]
    return "\n".join([
        text_table(head, points),
        "± one standard error; layers: recorded in each chain; margin: rank - (1 - tau)^2 r, smallest value seen.",
        "",
        f"rank_{tau:g} = c d^exponent, weighted least squares in log-log:",
        text_table(("gamma", "exponent", "c", "chi2/dof"), lines),
        "± half of the 95 % interval: the wider of that from the errors (normal) and that from the scatter about the",
        "line (Student). chi2/dof far above 1: no exact power law at this precision.",
    ])  # fmt: skip


def _figure(rows: Sequence[Row], fits: dict[float, PowerLaw], tau: float, caption: str) -> Figure:
    series = []
    for gamma, fit in fits.items():
        some = [row for row in rows if row.gamma == gamma]
        name = r"$\infty$" if math.isinf(gamma) else f"{gamma:g}"
        series.append(
            plotting.Series(
                label=rf"$\gamma$ = {name}: exponent {plus_minus(fit.exponent, fit.half_width)}",
                x=[row.width for row in some],
                y=[row.rank for row in some],
                error=[row.rank_half_width for row in some],
                prefactor=fit.prefactor,
                exponent=fit.exponent,
            )
        )
    return plotting.scaling(
        series,
        title="Rank of linear batch-normalised chains against width",
        xlabel="width d (features) = batch N (samples)",
        ylabel=rf"mean rank$_{{{tau:g}}}$",
        caption=caption,
    )


def _caption(rows: Sequence[Row], settings: Settings) -> str:
    grid = settings.grid
    return (
        f"After {PAPER}, Fig. 3a. Number of eigenvalues >= tau = {settings.tau:g} of H Hᵀ / N, averaged over layers "
        f"and chains; gaussian weights, rescaling only. Chains: {span(s.chains for s in grid)}; layers after burn-in: "
        f"{span(s.layers for s in grid)}; burn-in: {span(s.burn_in for s in grid)}; recorded: every "
        f"{span(s.every for s in grid)}; seeds {settings.seed} to {settings.seed + len(grid) - 1}. Error bars and ±: "
        "95 % intervals. Lines: weighted fits. Series are drawn side by side. Flagged estimates: "
        f"{sum(bool(row.flags) for row in rows)} of {len(rows)}."
    )
