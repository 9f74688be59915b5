"""How large may a batch be for its representations to stay of full rank? Up to about 2 sqrt(d) - 2 samples.

The chain is ``H' = BN(H + gamma W H)``, rescaling only, from a gaussian H of d features and N samples, in float32. In
exact arithmetic its rank never falls; counted is the numerical rank, as torch counts it: singular values above
eps max(d, N) times the largest. The authors saw rank N for N = O(sqrt(d)). Here N goes through sqrt(d) up to where that
ends, because rounding swallows a direction that the chain weakens in the mean. To leading order that is at 2 sqrt(d)
(`pyrank.theory.full_rank_batch`); it is found some two samples earlier, and beyond it the rank stays, whatever N.

A chain needs some 64 d layers to lose what it cannot hold, and 1 / (2 gamma^2 d) times as many if gamma^2 d is small.
Full rank counts as lasting if 95 % of the states in the last half of the layers have it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.full_rank_ends import LASTING, draw_ends, end_claims, measured_end, place
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.claims import Claim, at_least, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.specs.chain import Chain
from pyrank.support.text import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACE = DANESHMAND.at("§3.1, assumption (i)")
MEASURES = {"rank": "numerical_rank", "soft": "soft_rank(0.5)", "r": "participation_ratio"}
"""What is recorded, by the names of the columns."""


@dataclass(frozen=True)
class Setting:
    """Chains of one law and width for several batches, in ascending order; each ``every``-th state is looked at."""

    width: int
    batches: tuple[int, ...]
    layers: int
    every: int
    chains: int = 8
    gamma: float = math.inf
    weights: str = "gaussian"


@dataclass(frozen=True)
class Settings:
    """All chains; point number i has the seed ``seed + i``."""

    grid: tuple[Setting, ...]
    seed: int = 0


def batches(width: int, *more: int, to_the_end: bool = True) -> tuple[int, ...]:
    """Return sqrt(d) and 3 sqrt(d) / 2, then one by one about where full rank ends, and more."""
    end = math.floor(measured_end(width))
    first = (round(factor * math.sqrt(width)) for factor in (1.0, 1.5))
    return tuple(sorted({*first, *(range(end - 1, end + 4) if to_the_end else ()), *more}))


def _quick() -> Settings:
    layers = {d: (64 * d, d // 2) for d in (16, 32, 64, 128)}
    whole = [Setting(d, batches(d, d), *layers[d]) for d in (16, 32, 64)]  # with d = 128 it would take twice the time
    skip = [Setting(d, (round(math.sqrt(d)),), *layers[d], chains=4, gamma=1.0) for d in layers]
    return Settings((*whole, Setting(128, batches(128), *layers[128], chains=4), *skip))


def _paper() -> Settings:
    return Settings(tuple(
        # at gamma = 0.01 it would take some 300,000 layers to see where full rank ends
        Setting(d, batches(d, d) if gamma > 0.01 else batches(d, to_the_end=False), 100_000, 500, 16, gamma, weights)
        for weights in ("gaussian", "uniform")
        for gamma in (math.inf, 1.0, 0.1, 0.01)
        for d in (16, 32, 64, 128, 256)
    ))  # fmt: skip


def tasks(settings: Settings) -> list[Simulation]:
    """Return a simulation for each law, width and batch."""
    points = [(setting, batch) for setting in settings.grid for batch in setting.batches]
    return [
        Simulation(
            name=f"{s.weights},gamma={s.gamma:g},d={s.width},N={batch}",
            chain=Chain(s.width, batch, gamma=s.gamma, weights=s.weights),
            depth=s.layers,
            options={"chains": s.chains, "seed": settings.seed + number, "measures": [*MEASURES.values()],
                     "every": s.every, "trace": 2 * math.ceil(s.layers / s.every)},
            cost=s.chains * s.layers * s.width * (s.width + 2 * batch),
        )
        for number, (s, batch) in enumerate(points)
    ]  # fmt: skip


COLUMNS = (
    Column("gamma", "gamma", "g"),
    Column("width", "width d"),
    Column("batch", "batch N"),
    Column("states", "states"),
    Column("least", "least", meaning="smallest numerical rank of all states"),
    Column("full", "full", ".1%", meaning="states of numerical rank N; this and what follows: in the last half"),
    Column("rank", "rank", error="rank_half_width", meaning="numerical"),
    Column("rank_half_width"),
    Column("soft", "rank_0.5", error="soft_half_width", meaning="eigenvalues >= 1/2 of H Hᵀ / N"),
    Column("soft_half_width"),
    Column("r", "r", error="r_half_width", meaning="participation ratio"),
    Column("r_half_width"),
    Column("limit", "limit", ".2f", meaning="of r, to leading order: N / (1 + N² / 4d), sqrt d for N > 2 sqrt d"),
    Column("weights", "weights"),
)


def rows(settings: Settings, runs: Sequence[Run]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each law, width and batch."""
    for run in runs:
        chain = run.plan.chain
        traces = {name: trace(run, measure) for name, measure in MEASURES.items()}
        late = {name: values[:, values.shape[1] // 2 :] for name, values in traces.items()}
        means = {name: mean_interval(values.mean(axis=1)) for name, values in late.items()}
        yield {
            "gamma": chain.gamma,
            "width": chain.width,
            "batch": chain.batch,
            "states": traces["rank"].size,
            "least": int(traces["rank"].min()),
            "full": float((late["rank"] == chain.batch).mean()),
            "limit": float(theory.batch_spectrum_ratio(chain.width, chain.batch)),
            "weights": chain.weights.law,
            **{name: float(mean) for name, (mean, _) in means.items()},
            **{f"{name}_half_width": float(half_width) for name, (_, half_width) in means.items()},
        }


def claims(found: Found) -> list[Claim]:
    """Return what the authors saw, where it ends, and what is there and beyond."""
    at_root = [row for row in found.rows if row.batch == round(math.sqrt(row.width))]
    least = min(at_root, key=lambda row: float(row.least / row.batch))
    ratio = max(at_root, key=lambda row: abs(row.r / row.limit - 1))
    return [
        published(
            "hidden representations remain full rank if H_0 is full rank and N = O(sqrt(d))", PLACE,
            Interval.exact(least.least / least.batch), at_least(1.0),
            reading="no constant is named: N = sqrt(d), rounded; full rank: rank N, as torch counts it in float32",
            note=f"least rank over N in {sum(row.states for row in at_root):,} states, d = "
            f"{span(row.width for row in at_root)}, gamma = {span(row.gamma for row in at_root)}; met {place(least)}",
        ),
        *end_claims(found),
        extension(
            "r over N / (1 + N^2 / 4d) at N = sqrt(d)", "pyrank.theory.batch_spectrum_ratio, to leading order in d",
            Interval.around(ratio.r / ratio.limit, ratio.r_half_width / ratio.limit), close_to(1.0, 0.1),
            note=f"farthest {place(ratio)}",
        ),
    ]  # fmt: skip


def draw_rank(axes: Axes, found: Found) -> None:
    """Draw the rank over N against N for each width, gaussian weights without skip connection."""
    plain = Found(found.settings, None, [r for r in found.rows if r.weights == "gaussian" and math.isinf(r.gamma)])
    for number, (width, some) in enumerate(plain.rows_by("width").items()):
        x, y = [row.batch / math.sqrt(width) for row in some], [row.rank / row.batch for row in some]
        plotting.curve(axes, x, y, number)
        plotting.points(axes, x, y, None, number, f"d = {width}")
    plotting.guide(axes, (2.0, 2.0), (0.0, 1.0))
    plotting.log_ticks(axes.xaxis, (1, 2, 4, 8, 16))


def caption(found: Found) -> str:
    """Say what is shown."""
    grid: Sequence[Setting] = found.settings.grid
    return (
        "H' = BN(H + gamma W H), rescaling only, from a gaussian H of d features and N samples, float32. Layers: "
        f"{span(s.layers for s in grid)}; looked at: every {span(s.every for s in grid)}, the last half; chains: "
        f"{span(s.chains for s in grid)}. Left: mean numerical rank over N, gaussian W, gamma = inf; grey: where full "
        f"rank ends to leading order. Right: largest N for which {LASTING:.0%} of the states have rank N."
    )


EXPERIMENT = Experiment(
    name="full-rank-batches",
    question="How large may a batch be for its representations to stay of full rank?",
    sources=(PLACE,),
    presets={"quick": _quick(), "paper": _paper()},
    tasks=tasks,
    columns=COLUMNS,
    rows=rows,
    note="± half of the 95 % interval over chains.",
    claims=claims,
    sheet=Sheet(
        "Rank of batches in linear batch-normalised chains",
        (
            Panel(draw_rank, xlabel=r"N / $\sqrt{d}$", ylabel="numerical rank / N", ylim=(0, 1.05)),
            Panel(draw_ends, xlabel="width d (features)", ylabel="largest N (samples) of full rank"),
        ),
    ),
    caption=caption,
)
