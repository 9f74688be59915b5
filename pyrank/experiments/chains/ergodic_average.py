"""Is the average over the layers of one deep chain the average over many chains? Yes, with an error like 1 / sqrt(L).

Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: "Batch normalization provably avoids ranks
collapse for randomly initialised deep networks", NeurIPS 2020, arXiv:2003.01652. Theorem 2 speaks of averages over
layers; the talk on the paper explains them by ergodicity: the average over time is the average over states, with an
error that falls like 1 / sqrt(L).

The chain is ``H' = BN(H + gamma W H)`` with gaussian W, as many samples as features (N = d), and a normalisation that
rescales only. Two averages of the same measure, from different seeds, are compared: over the layers of one long chain,
and over many chains at one late layer. Then the error of averages over L layers is followed as L doubles, over many
stretches of many chains. It is taken about the mean of them all: once the first comparison holds that is the state
average, of which the many chains at one layer tell less than the long stretches do.

The chain forgets most of its start after d layers, but not all: at width 32 the mean rank is 1 % too high after 100
layers, and each 100 more take off two thirds. So both averages start late. Successive layers are correlated, and the
error is a power of L only when L exceeds the time of that correlation by far: the slope is fitted from there on. It is
fitted in several groups of chains, because the errors at L and 2 L are those of the same chains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.engine.run import Run
from pyrank.estimate import Estimate
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, at_most, close_to, provisional, publish
from pyrank.experiments.running import Job, run_all
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "ergodic-average"
PAPER = "Daneshmand et al. 2020"
SIGMAS = 5.0
"""Standard errors by which two averages of the same thing may differ."""
MARGIN = 0.05
"""By how much a slope may differ from -1/2 and still be called that."""

SHORTEST = 8
"""Layers from which on the running average of one chain is drawn."""


@dataclass(frozen=True)
class Settings:
    """One long chain, many short ones, and many at one layer, for each gamma; all forget ``burn_in`` layers.

    ``long`` is the number of layers of the one chain. ``repetitions`` chains, in ``groups`` of equal size, are averaged
    over stretches of up to ``layers`` layers, a power of two; slopes are fitted from stretches of ``fit_from`` layers
    on. ``states`` chains give the state average. Each run has a seed of its own, from ``seed`` on.
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


PRESETS = {
    "quick": Settings(),
    "paper": Settings(burn_in=1_000, long=1_000_000, repetitions=512, layers=16_384, states=16_384),
}


@dataclass(frozen=True)
class Row:
    """A line of the table; errors are standard errors, but ``slope_half_width`` is that of the 95 % interval.

    ``sigmas`` is the difference of the two averages in its standard errors; ``memory`` is the number of layers that
    tell as much as one independent state; ``error`` is the error after ``layers`` layers, ``expected`` what the long
    chain's own standard error says it should be.
    """

    gamma: float
    measure: str
    time_average: float
    time_stderr: float
    state_average: float
    state_stderr: float
    sigmas: float
    memory: float
    layers: int
    error: float
    expected: float
    slope: float
    slope_half_width: float
    flags: str


@dataclass(frozen=True)
class _Averages:
    """The three runs of one gamma."""

    time: Run
    repeated: Run
    states: Run


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, compare, fit, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    runs = iter(run_all(_jobs(settings), out, device=device, progress=progress))
    averages = [_Averages(*three) for three in zip(runs, runs, runs, strict=True)]
    rows = [_row(each, measure, settings) for each in averages for measure in settings.measures]
    curves = [_curve(each, measure, settings) for each in averages for measure in settings.measures]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows, settings),
        claims=_judge(rows),
        figure=_figure(averages, rows, curves, settings, caption),
        caption=caption,
        data={
            "lengths": settings.lengths,
            "errors": [{"error": error, "half_width": half_width} for error, half_width in curves],
            "runs": [run.to_dict() for each in averages for run in (each.time, each.repeated, each.states)],
        },
    )


def _jobs(settings: Settings) -> list[Job]:
    """Return the runs of each gamma, in the order of `_Averages`; the traces hold every layer."""
    jobs: list[Job] = []
    for gamma in settings.gammas:
        for name, chains, layers, trace in (
            ("time", 1, settings.long, settings.long),
            ("repeated", settings.repetitions, settings.layers, settings.layers),
            ("states", settings.states, 1, 2),
        ):
            depth = settings.burn_in + layers
            jobs.append(
                Job(
                    name=f"{name},gamma={gamma:g}",
                    chain=Chain(settings.width, gamma=gamma),
                    depth=depth,
                    options={
                        "chains": chains,
                        "seed": settings.seed + len(jobs),
                        "measures": settings.measures,
                        "burn_in": settings.burn_in,
                        "trace": trace + trace % 2,
                    },
                    cost=chains * depth,
                )
            )
    return jobs


def _trace(estimate: Estimate) -> NDArray[np.float64]:
    assert estimate.trace is not None
    return estimate.trace


def _state_average(states: Run, measure: str) -> tuple[float, float]:
    """Return the mean over independent chains at their last layer, and its standard error."""
    values = _trace(states[measure])[:, 0]
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))


def squared_errors(values: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average values (chains, layers) over stretches, side by side, of each length; return how far off they are.

    The answer, (chains, lengths), is the mean over the stretches of a chain of the squared difference from the mean of
    all values.
    """
    centre = values.mean()
    columns = []
    for length in lengths:
        whole = values[:, : values.shape[1] // length * length]
        averages = whole.reshape(len(values), -1, length).mean(axis=2)
        columns.append(((averages - centre) ** 2).mean(axis=1))
    return np.stack(columns, axis=1)


def _curve(averages: _Averages, measure: str, settings: Settings) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the root of the mean squared error at each length, and half of its 95 % interval."""
    square, half_width = mean_interval(squared_errors(_trace(averages.repeated[measure]), settings.lengths))
    error = np.sqrt(square)
    return error, half_width / (2 * error)


def slope(squares: NDArray[np.float64], lengths: NDArray[np.int64], groups: int) -> tuple[float, float]:
    """Fit the slope of log error against log length.

    Parameters
    ----------
    squares
        Squared errors of each chain, (chains, lengths).
    lengths
        Shape (lengths,).
    groups
        Into how many groups the chains are split; in each a line is fitted by least squares.

    Returns
    -------
    slope, half_width
        Mean over groups, and half of its 95 % interval (Student).
    """
    errors = np.sqrt([group.mean(axis=0) for group in np.array_split(squares, groups)])
    slopes = np.polyfit(np.log(lengths), np.log(errors).T, 1)[0]
    mean, half_width = mean_interval(slopes)
    return float(mean), float(half_width)


def _row(averages: _Averages, measure: str, settings: Settings) -> Row:
    time = averages.time[measure]
    state, state_stderr = _state_average(averages.states, measure)
    squares = squared_errors(_trace(averages.repeated[measure]), settings.lengths)
    far = settings.lengths >= settings.fit_from
    fitted, half_width = slope(squares[:, far], settings.lengths[far], settings.groups)
    return Row(
        gamma=averages.time.plan.chain.gamma,
        measure=measure,
        time_average=time.mean,
        time_stderr=time.stderr,
        state_average=state,
        state_stderr=state_stderr,
        sigmas=(time.mean - state) / math.hypot(time.stderr, state_stderr),
        memory=time.count * time.stderr**2 / time.std**2,
        layers=settings.layers,
        error=math.sqrt(squares[:, -1].mean()),
        expected=time.stderr * math.sqrt(time.count / settings.layers),
        slope=fitted,
        slope_half_width=half_width,
        flags="; ".join(time.flags),
    )


def _judge(rows: Sequence[Row]) -> tuple[Claim, ...]:
    claims = []
    for row in rows:
        where = f"{row.measure}, gamma = {row.gamma:g}"
        flagged = provisional("gamma", [f"{row.gamma:g}"] if row.flags else [])
        claims.append(
            Claim(
                statement=f"time average = state average: {where}",
                source=f"talk on {PAPER}",
                value=abs(row.sigmas),
                error=None,
                verdict=at_most(abs(row.sigmas), abs(row.sigmas), SIGMAS),
                note=f"difference in standard errors, of {plus_minus(row.time_average, row.time_stderr)} and "
                f"{plus_minus(row.state_average, row.state_stderr)}; holds means at most {SIGMAS:g}"
                + (f"; {flagged}" if flagged else ""),
            )
        )
        low, high = row.slope - row.slope_half_width, row.slope + row.slope_half_width
        claims.append(
            Claim(
                statement=f"the error of a time average falls like L^(-1/2): {where}",
                source=f"talk on {PAPER}",
                value=row.slope,
                error=row.slope_half_width,
                verdict=close_to(low, high, -0.5, MARGIN),
                note=f"exponent; holds means within {MARGIN:g} of -1/2",
            )
        )
    return tuple(claims)


def _table(rows: Sequence[Row], settings: Settings) -> str:
    lines = [
        (f"{row.gamma:g}", plus_minus(row.time_average, row.time_stderr),
         plus_minus(row.state_average, row.state_stderr), f"{row.sigmas:+.1f}", f"{row.memory:.1f}",
         f"{row.error:.4f}", f"{row.expected:.4f}", plus_minus(row.slope, row.slope_half_width), row.flags or "-",
         row.measure)
        for row in rows
    ]  # fmt: skip
    head = ("gamma", "time average", "state average", "sigmas", "memory", "error", "expected", "slope", "flags",
            "measure")  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        f"time average: of {settings.long:,} layers of one chain; state average: of {settings.states:,} chains after "
        f"{settings.burn_in + 1:,} layers;",
        "± one standard error; sigmas: their difference in standard errors; memory: layers that tell as much as one "
        "independent state.",
        f"error: root mean square of averages of {settings.layers:,} layers, {settings.repetitions:,} chains; "
        "expected: from",
        f"the standard error of the long chain; slope: of log error against log L for L >= {settings.fit_from:,}, ± "
        "half of the 95 % interval.",
    ])  # fmt: skip


def _figure(
    averages: Sequence[_Averages],
    rows: Sequence[Row],
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    settings: Settings,
    caption: str,
) -> Figure:
    figure, (*running, decay) = plotting.sheet(
        title="The average over layers of one chain becomes the average over chains",
        caption=caption,
        columns=3,
        size=(12.5, 4.4),
    )
    names = (r"$r$", rf"rank$_{{{settings.tau:g}}}$")
    for axes, measure, name in zip(running, settings.measures, names, strict=True):
        for number, each in enumerate(averages):
            _draw_running(axes, each, measure, number)
        states = [row.state_average for row in rows if row.measure == measure]
        at = np.array([SHORTEST, settings.long])
        for state in states:
            plotting.guide(axes, at, np.full(2, state), "state average")
        axes.set(xscale="log", xlabel="layers averaged L", ylabel=f"time average of {name}", title=name)
    for number, (row, (error, half_width)) in enumerate(zip(rows, curves, strict=True)):
        name = names[settings.measures.index(row.measure)]
        label = (
            rf"error of {name}, $\gamma$ = {_symbol(row.gamma)}: slope {plus_minus(row.slope, row.slope_half_width)}"
        )
        plotting.points(decay, settings.lengths, error, half_width, 2 + number, label)
    far = settings.lengths[settings.lengths >= settings.fit_from]
    highest = max(float(error[settings.lengths == far[0]][0]) for error, _ in curves)
    plotting.guide(decay, far, 1.3 * highest * np.sqrt(far[0] / far), "slope -1/2")
    decay.set(xscale="log", yscale="log", xlabel="layers averaged L", ylabel="root mean square error", title="error")
    plotting.legend(figure)
    return figure


def _draw_running(axes: Axes, averages: _Averages, measure: str, number: int) -> None:
    """Draw the running average of the long chain, with the 95 % band of an average of that length."""
    estimate = averages.time[measure]
    at = np.unique(np.geomspace(SHORTEST, estimate.count, 200).astype(int))
    middle = np.cumsum(_trace(estimate)[0])[at - 1] / at
    reach = (estimate.interval(0.95)[1] - estimate.mean) * np.sqrt(estimate.count / at)
    gamma = averages.time.plan.chain.gamma
    label = rf"one chain, $\gamma$ = {_symbol(gamma)}"
    plotting.band(axes, at, middle, middle - reach, middle + reach, number, label)


def _symbol(gamma: float) -> str:
    return r"$\infty$" if math.isinf(gamma) else f"{gamma:g}"


def _caption(settings: Settings) -> str:
    count = 3 * len(settings.gammas)
    return (
        f"After the talk on {PAPER}. Linear chains of width d = N = {settings.width}, gaussian weights, rescaling "
        f"only. r: participation ratio; rank_{settings.tau:g}: number of eigenvalues >= {settings.tau:g} of H Hᵀ / N. "
        f"Left and middle: running average of one chain after {settings.burn_in:,} layers of burn-in, with the 95 % "
        f"band of an average of that length; grey: average over {settings.states:,} chains after "
        f"{settings.burn_in + 1:,} layers. Right: root mean square error of averages over stretches "
        f"of L layers of {settings.repetitions:,} other chains, 95 % intervals; "
        f"slopes for L >= {settings.fit_from:,}. Seeds {settings.seed} to {settings.seed + count - 1}."
    )
