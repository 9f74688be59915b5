"""Is the average over the layers of one deep chain the average over many chains? Yes, with an error like 1 / sqrt(L).

Theorem 2 says that averages over layers have limits; the talk says which, by ergodicity: averages over states. The
chain is ``H' = BN(H + gamma W H)`` with gaussian W, N = d, rescaling only. Averages over the layers of one long chain
and over many chains at one late layer, from different seeds, are compared. Then the error of averages over L layers is
followed as L doubles, over many stretches of many chains. It is taken about the mean of them all: once the first
comparison holds that is the state average, and known better than from many chains at one layer.

A chain forgets most of its start after d layers, but not all: at width 32 the mean rank is 1 % too high after 100, and
each 100 more take off two thirds. So all averages start late. As successive layers are correlated, the error is a power
of L only when L exceeds the time of that correlation by far: the slope is fitted from there on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval
from pyrank.estimate.time_averages import error_slope, root_mean_square, squared_errors
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.claims import Claim, at_most, close_to, extension, provisional, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import DANESHMAND, TALK
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BIRKHOFF = TALK.at("Birkhoff's ergodicity for Markov chains")
SIGMAS = 5.0
"""Standard errors by which two averages of the same thing may differ."""
MARGIN = 0.05
"""By how much an exponent may differ from -1/2 and still be called that; below 0 by as much, the error does fall."""
SYMBOLS = r"$r$", r"rank$_\tau$"  # of what is averaged
HORIZONTAL = {"xlabel": "layers averaged L", "xscale": "log"}


@dataclass(frozen=True)
class Settings:
    """For each gamma one chain of ``long`` layers, many short ones, and many at one layer, each with a seed of its own.

    All forget ``burn_in`` layers. ``repetitions`` chains, in ``groups``, are averaged over stretches of ``layers``, a
    power of two, and less; slopes are fitted from ``fit_from`` on. ``states`` chains give the state average.
    """

    gammas: tuple[float, ...] = (math.inf, 1.0)
    width: int = 32
    tau: float = 0.5
    burn_in: int = 640
    long: int = 1 << 17
    repetitions: int = 256
    layers: int = 8192
    groups: int = 16
    states: int = 8192
    fit_from: int = 256
    seed: int = 0

    @property
    def measures(self) -> tuple[str, str]:
        """What is averaged."""
        return "participation_ratio", f"soft_rank({self.tau!r})"

    @property
    def lengths(self) -> NDArray[np.int64]:
        """1, 2, 4, ... layers."""
        return 2 ** np.arange(int(math.log2(self.layers)) + 1)


def tasks(settings: Settings) -> list[Simulation]:
    """Return three runs for each gamma: one chain, many, and many at one layer; the traces hold every layer."""
    found: list[Simulation] = []
    for gamma in settings.gammas:
        for name, chains, layers in (("time", 1, settings.long), ("repeated", settings.repetitions, settings.layers),
                                     ("states", settings.states, 1)):  # fmt: skip
            chain, depth = Chain(settings.width, gamma=gamma), settings.burn_in + layers
            options = {"chains": chains, "seed": settings.seed + len(found), "measures": settings.measures,
                       "burn_in": settings.burn_in, "trace": layers + layers % 2}  # fmt: skip
            found.append(Simulation(f"{name},gamma={gamma:g}", chain, depth, options, cost=chains * depth))
    return found


@dataclass(frozen=True)
class Averages:
    """The three runs of one gamma, for one of the measures, and `squared_errors` of the second."""

    measure: str
    runs: tuple[Run, Run, Run]
    squares: NDArray[np.float64]


def analyse(settings: Settings, runs: Sequence[Run]) -> list[Averages]:
    """Put the runs of each gamma together, for each measure."""
    return [
        Averages(measure, three, squared_errors(trace(three[1], measure), settings.lengths))
        for three in zip(runs[::3], runs[1::3], runs[2::3], strict=True)
        for measure in settings.measures
    ]


COLUMNS = (
    Column("gamma", "gamma", "g"),
    Column("time_average", "time average", error="time_stderr", meaning="of the layers of one long chain"),
    Column("time_stderr"),
    Column("state_average", "state average", error="state_stderr", meaning="of many chains at one layer"),
    Column("state_stderr"),
    Column("sigmas", "sigmas", "+.1f", meaning="their difference in standard errors"),
    Column("memory", "memory", ".1f", meaning="layers that tell as much as one independent state"),
    Column("layers", "L"),
    Column("error", "error", ".4f", meaning="root mean square of averages of L layers"),
    Column("expected", "expected", ".4f", meaning="what the standard error of the long chain says it should be"),
    Column("slope", "slope", error="slope_half_width", meaning="of log error against log L for large L"),
    Column("slope_half_width"),
    Column("flags", "flags"),
    Column("measure", "measure"),
)


def rows(settings: Settings, data: Sequence[Averages]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each gamma and measure."""
    far = settings.lengths >= settings.fit_from
    for each in data:
        time, states = each.runs[0][each.measure], trace(each.runs[2], each.measure)[:, 0]
        state, state_stderr = float(states.mean()), float(states.std(ddof=1) / math.sqrt(states.size))
        slope, half_width = error_slope(each.squares[:, far], settings.lengths[far], settings.groups)
        yield {
            "gamma": each.runs[0].plan.chain.gamma,
            "measure": each.measure,
            "time_average": time.mean,
            "time_stderr": time.stderr,
            "state_average": state,
            "state_stderr": state_stderr,
            "sigmas": (time.mean - state) / math.hypot(time.stderr, state_stderr),
            "memory": time.count * time.stderr**2 / time.std**2,
            "layers": settings.layers,
            "error": math.sqrt(each.squares[:, -1].mean()),
            "expected": time.stderr * math.sqrt(time.count / settings.layers),
            "slope": slope,
            "slope_half_width": half_width,
            "flags": "; ".join(time.flags),
        }


def claims(found: Found) -> list[Claim]:
    """Return the limit, what it is, and how fast it is reached, which no paper says; each where it is worst."""
    apart = max(found.rows, key=lambda row: abs(float(row.sigmas)))
    slow = max(found.rows, key=lambda row: float(row.slope + row.slope_half_width))
    odd = max(found.rows, key=lambda row: abs(row.slope + 0.5) + float(row.slope_half_width))
    means = f"{apart.time_average:.4f} and {apart.state_average:.4f}, {apart.measure} at gamma = {apart.gamma:g}"
    flagged = provisional("gamma", list(dict.fromkeys(f"{row.gamma:g}" for row in found.rows if row.flags)))
    return [
        published(
            "averages over L layers, of r and of rank_tau, have limits",
            DANESHMAND.at("Theorem 2"),
            Interval.around(slow.slope, slow.slope_half_width),
            at_most(-MARGIN),
            reading="the error of such averages falls as L grows: exponent of L",
            note=f"the slowest: {slow.measure} at gamma = {slow.gamma:g}",
        ),
        published(
            "time average = state average",
            BIRKHOFF,
            Interval.exact(abs(apart.sigmas)),
            at_most(SIGMAS),
            reading="difference of the measured averages of r, and of rank_tau, in standard errors",
            note="; ".join(filter(None, (f"the largest: {means}", flagged))),
        ),
        extension(
            "exponent of L in the error of a time average",
            "-1/2 for independent stretches",
            Interval.around(odd.slope, odd.slope_half_width),
            close_to(-0.5, MARGIN),
            note=f"furthest off: {odd.measure} at gamma = {odd.gamma:g}",
        ),
    ]


def draw_running(axes: Axes, found: Found, measure: int) -> None:
    """Draw running averages of the long chains, with the 95 % band of an average of that length, and state averages."""
    count = len(SYMBOLS)
    for number, (each, row) in enumerate(zip(found.data[measure::count], found.rows[measure::count], strict=True)):
        time = each.runs[0][each.measure]
        at = np.unique(np.geomspace(8, time.count, 200).astype(int))
        middle = np.cumsum(trace(each.runs[0], each.measure)[0])[at - 1] / at
        reach = (time.interval(0.95)[1] - time.mean) * np.sqrt(time.count / at)
        label = rf"one chain, $\gamma$ = {plotting.symbol(row.gamma)}"
        plotting.band(axes, at, middle, middle - reach, middle + reach, number, label)
        plotting.guide(axes, at[[0, -1]], (row.state_average, row.state_average), "state average")


def draw_errors(axes: Axes, found: Found) -> None:
    """Draw errors against L, the gammas side by side, and a line of slope -1/2."""
    settings: Settings = found.settings
    lengths, gammas = settings.lengths, settings.gammas
    for number, (each, row) in enumerate(zip(found.data, found.rows, strict=True)):
        slope = plus_minus(row.slope, row.slope_half_width)
        what = rf"{SYMBOLS[number % len(SYMBOLS)]}, $\gamma$ = {plotting.symbol(row.gamma)}"
        shift = 1.12 ** (2 * gammas.index(row.gamma) - len(gammas) + 1)
        plotting.points(axes, shift * lengths, *root_mean_square(each.squares), len(gammas) + number,
                        f"error of {what}: slope {slope}")  # fmt: skip
    far = lengths[lengths >= settings.fit_from]
    highest = max(row.error for row in found.rows) * math.sqrt(settings.layers)
    plotting.guide(axes, far, 1.4 * highest / np.sqrt(far), "slope -1/2")


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        f"Linear chains of width d = N = {settings.width}, gaussian weights, rescaling only. r: participation ratio; "
        f"rank_tau: number of eigenvalues >= tau = {settings.tau:g} of H Hᵀ / N. Left and middle: running average over "
        f"{settings.long:,} layers of one chain after {settings.burn_in:,} layers of burn-in, with the 95 % band of an "
        f"average of that length; grey: average over {settings.states:,} chains after {settings.burn_in + 1:,} layers. "
        "Right: root mean square error of averages over stretches of L layers of "
        f"{settings.repetitions:,} other chains, 95 % intervals, side by side; slopes for L >= {settings.fit_from:,}."
    )


EXPERIMENT = Experiment(
    name="ergodic-average",
    question="Is the average over the layers of one deep chain the average over many chains?",
    sources=(DANESHMAND.at("Theorem 2"), BIRKHOFF),
    presets={
        "quick": Settings(),
        "paper": Settings(burn_in=1_000, long=1_000_000, repetitions=512, layers=16_384, states=16_384),
    },
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="± one standard error; of the slope, half of the 95 % interval.",
    claims=claims,
    sheet=Sheet(
        "The average over layers of one chain becomes the average over chains",
        (
            *(Panel(partial(draw_running, measure=number), title=name, ylabel=f"time average of {name}", **HORIZONTAL)
              for number, name in enumerate(SYMBOLS)),
            Panel(draw_errors, title="error", ylabel="root mean square error", yscale="log", **HORIZONTAL),
        ),
        size=(12.5, 4.4),
    ),
    caption=caption,
    more=lambda found: {
        "lengths": found.settings.lengths,
        "errors": [{"error": e, "half_width": h} for e, h in (root_mean_square(each.squares) for each in found.data)],
        "runs": [run.to_dict() for each in found.data[:: len(SYMBOLS)] for run in each.runs],
    },
)  # fmt: skip
