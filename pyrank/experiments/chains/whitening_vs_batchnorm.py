"""What does whitening add to the rank that batch normalisation keeps, and what does it cost? All of it, and the most.

Batch normalisation gives ``M = H H^T / N`` a diagonal of ones; whitening, ``H' = (Z Z^T / N)^(-1/2) Z``, gives all of
M = I (Lei Huang, Dawei Yang, Bo Lang, Jia Deng: "Decorrelated batch normalization", CVPR 2018, arXiv:1804.08450). How
far batch normalisation comes by itself is the question of Daneshmand et al.: in linear chains that are rescaled, r and
the soft rank stay at order sqrt(d) or more (Theorem 2). Whitening gives r = d, as long as no direction is lost.

Linear and ReLU chains ``H' = Normalise(W F(H))`` with gaussian W, and N = 2 d samples, so that M can be the identity
with recentring, too. Compared are the participation ratio r, the soft rank, and the isometry gap of the features,
log(mean lambda) - mean(log lambda) over the eigenvalues of M, which is infinite where M is singular as far as rounding
can tell; and the time of a layer on one thread, the fastest of a few repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from pyrank.estimate.fitting import power_law
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.decades import Course, courses, stretch_tasks
from pyrank.experiments.chains.whitening_curves import ACTIVATIONS, MEASURES, NORMALIZATIONS, microseconds, panels
from pyrank.experiments.claims import Claim, at_least, at_most, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found, Table
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Computation, Task
from pyrank.plotting import Sheet
from pyrank.specs.chain import Chain

PLACE = DANESHMAND.at("§3.1")
RANKS = {"r": "r", "rank": "rank_0.5"}
LOSSES = {"linear": "rounding", "relu": "ReLU, which makes a negative row zero, or to rounding"}
"""Why a whitened chain may miss directions; they seldom return."""
FULL = 0.01
"""Share of the directions that may be missing where the rank counts as full: rounding takes one now and then."""
ROUNDING = 1e-3
"""What counts as equal in a rank of float32 states."""
Case = tuple[int, str, str]
"""Width, activation and normalisation."""


@dataclass(frozen=True)
class Settings:
    """Widths, depth and number of chains; the last width is shown against depth; ``timed`` layers give the time."""

    widths: tuple[int, ...]
    depth: int
    chains: int
    timed: int
    seed: int = 0

    @property
    def cases(self) -> dict[Case, Chain]:
        """The law of each chain."""
        return {
            case: Chain(case[0], 2 * case[0], activation=case[1], normalization=case[2])
            for case in product(self.widths, ACTIVATIONS, NORMALIZATIONS)
        }


PRESETS = {
    "quick": Settings(widths=(8, 16, 32, 64), depth=400, chains=8, timed=20),
    "paper": Settings(widths=(8, 16, 32, 64, 128, 256), depth=10_000, chains=10, timed=200),
}


def tasks(settings: Settings) -> list[Task]:
    """Return the stretches of each chain, and the timing of all of them."""
    options = {"chains": settings.chains, "seed": settings.seed, "measures": tuple(MEASURES.values())}
    stretches = [
        task
        for (width, *kind), chain in settings.cases.items()
        for task in stretch_tasks(f"d={width},{','.join(kind)}", chain, settings.depth, options)
    ]
    timing = {"chains": tuple(settings.cases.values()), "layers": settings.timed}
    return [*stretches, Computation("timing", microseconds, timing, cost=sum(task.cost for task in stretches) / 10)]


def analyse(settings: Settings, results: Sequence[Any]) -> dict[Case, tuple[Course, float]]:
    """Return the course of each chain, and the microseconds of a layer."""
    *runs, times = results
    pairs = zip(courses(runs, MEASURES), times.tolist(), strict=True)
    return dict(zip(settings.cases, pairs, strict=True))


COLUMNS = (
    Column("width", "width d"),
    Column("activation", "F"),
    Column("normalization", "normalization"),
    Column("r", "r", error="r_error", meaning="participation ratio"),
    Column("r_error"),
    Column("r_stderr"),
    Column("", "r / d", lambda row: f"{row.r / row.width:.3f}"),
    Column("rank", RANKS["rank"], error="rank_error", meaning="eigenvalues >= 0.5 of M"),
    Column("rank_error"),
    Column("rank_stderr"),
    Column("full", "full", ".2%", meaning="share of all recorded states with rank_0.5 = d"),
    Column("off"),
    Column("gap", "isometry gap", ".3g", meaning="of the features, in nats; inf if any state is singular"),
    Column("finite_gaps", "finite gaps", ".0%", meaning="share of all recorded states"),
    Column("degenerate", "zero lines", meaning="rows or directions that the normalisation found to be zero"),
    Column("microseconds", "us per layer", ".4g", meaning="microseconds, one thread"),
)


def rows(settings: Settings, data: Mapping[Case, tuple[Course, float]]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each chain; ``off`` is the largest abs(r - rank_0.5) of all states that are not zero."""
    for (width, activation, normalization), (course, time) in data.items():
        line: dict[str, Any] = {"width": width, "activation": activation, "normalization": normalization}
        for name in RANKS:
            late = course.at_the_end(name)
            mean, half_width = mean_interval(late)
            line |= {name: float(mean), f"{name}_error": float(half_width)}
            line |= {f"{name}_stderr": float(late.std(ddof=1) / math.sqrt(len(late)))}
        r, rank, gap = (course.values[name] for name in MEASURES)
        yield {
            **line,
            "full": float((rank == width).mean()),
            "off": float(np.abs(r - rank)[rank > 0].max(initial=0.0)),
            "gap": float(course.at_the_end("gap").mean()),
            "finite_gaps": float(np.isfinite(gap).mean()),
            "degenerate": course.degenerate_rows,
            "microseconds": time,
        }


def growths(found: Found) -> Iterable[dict[str, Any]]:
    """Return how r and rank_0.5 grow under batch normalisation, without the widths at which a chain died."""
    for (activation, normalization), some in found.rows_by("activation", "normalization").items():
        alive = [row for row in some if math.isfinite(row.r)]
        for name, heading in RANKS.items() if normalization != "whiten" else ():
            points = [[getattr(row, column) for row in alive] for column in ("width", name, f"{name}_stderr")]
            fit = power_law(*points) if len(alive) >= 3 else None
            yield {
                "activation": activation,
                "normalization": normalization,
                "quantity": heading,
                "exponent": fit.exponent if fit else math.nan,
                "half_width": fit.half_width if fit else math.nan,
                "left_out": ", ".join(str(row.width) for row in some if row not in alive),
            }


GROWTH = Table(
    "growth",
    "Exponents of d, weighted least squares in log-log; whitening has 1, since r = d:",
    (
        Column("activation", "F"),
        Column("quantity", "of"),
        Column("exponent", "exponent", error="half_width"),
        Column("half_width"),
        Column("left_out", "widths left out", meaning="there a chain died, all its entries zero"),
        Column("normalization", "normalization"),
    ),
    growths,
    "± half of the 95 % interval.",
)


def claims(found: Found) -> list[Claim]:
    """Return what the paper says of both, and beyond it how good whitening is, and how r grows."""
    rows = found.rows_by("activation", "normalization")
    scaling = {
        line["quantity"]: Interval.around(line["exponent"], line["half_width"])
        for line in growths(found)
        if (line["activation"], line["normalization"]) == ("linear", "rescale")
    }
    fewest = min(rows["linear", "rescale"], key=lambda row: float(row.width - row.rank))
    full, full_with_relu = (_fullness(rows[activation, "whiten"]) for activation in ACTIVATIONS)
    slower, slower_with_relu = (
        rows[activation, "whiten"][-1].microseconds / rows[activation, "rescale"][-1].microseconds
        for activation in ACTIVATIONS
    )
    return [
        published("with whitening all H_l would be full rank (equal to d)", PLACE, full, close_to(1.0, FULL),
                  reading="rank_0.5 / d of linear chains, over the last decade of layers; the least of all widths",
                  note=_losses(rows["linear", "whiten"])),
        published("whitening is expensive to compute, BN a computationally inexpensive approximation of it", PLACE,
                  Interval.exact(slower), at_least(2.0),
                  reading="a whitened layer takes at least twice as long as a rescaled one; linear, forward, on one "
                  f"thread, d = {max(found.settings.widths)}", note=f"with ReLU {slower_with_relu:.3g} times as long"),
        published("BN does not yield full rank hidden matrices", PLACE,
                  Interval.around(fewest.width - fewest.rank, fewest.rank_error), at_least(1.0),
                  reading=f"d - rank_0.5 of linear chains; the least of all widths, at d = {fewest.width}",
                  note="in exact arithmetic the rank itself stays d, see rank-vs-depth"),
        published("BN preserves sufficient variation in the data to provide a rank scaling as Omega(sqrt(d))", PLACE,
                  scaling[RANKS["rank"]], at_least(0.5),
                  reading="exponent of rank_0.5 as a power of d; linear, N = 2 d"),
        extension("exponent of r as a power of d with BN (rescale), linear, N = 2 d", DANESHMAND.at("Theorem 2"),
                  scaling[RANKS["r"]], at_least(0.5)),
        extension("rank_0.5 / d with whitening, ReLU; the least of all widths", PLACE, full_with_relu,
                  close_to(1.0, FULL), note=_losses(rows["relu", "whiten"])),
        *(
            extension(f"abs(r - rank_0.5) with whitening, whose M is I on the directions there are: {activation}",
                      "M = (Z Z^T / N)^(-1/2) (Z Z^T / N) (Z Z^T / N)^(-1/2)",
                      Interval.exact(max(row.off for row in rows[activation, "whiten"])), at_most(ROUNDING),
                      note="the largest of all recorded states")
            for activation in ACTIVATIONS
        ),
    ]  # fmt: skip


def _fullness(some: Sequence[Row]) -> Interval:
    least = min(some, key=lambda row: float(row.rank / row.width))
    return Interval.around(least.rank / least.width, least.rank_error / least.width)


def _losses(some: Sequence[Row]) -> str:
    full = ", ".join(f"{row.full:.2%} at d = {row.width}" for row in some)
    return f"all directions are there in {full} of the states, the others were lost to {LOSSES[some[0].activation]}"


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        "H' = Normalise(W F(H)), gaussian W, N = 2 d samples, no skip connection, float32. Top: participation ratio r "
        f"over the width, mean over layers {settings.depth // 10:,} to {settings.depth:,} of {settings.chains} chains, "
        f"with 95 % intervals (Student), drawn side by side. Middle: isometry gap of the features, d = "
        f"{max(settings.widths)}, from the smallest to the largest of all chains around the middle one, as long as no "
        "state is singular to rounding. Bottom: time of a layer of one chain on one thread, without measures, the "
        f"fastest of three runs of {settings.timed} layers."
    )


EXPERIMENT = Experiment(
    name="whitening-vs-batchnorm",
    question="What does whitening add to the rank that batch normalisation keeps, and what does it cost?",
    sources=(PLACE,),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="Means over the last decade of layers; ± half of the 95 % interval over chains (Student).",
    tables=(GROWTH,),
    claims=claims,
    sheet=Sheet("Batch normalisation and whitening: rank, isometry and cost", panels(), columns=2, size=(10, 10),
                options={"sharey": "row"}),
    caption=caption,
)  # fmt: skip
