"""Does batch normalisation smooth the landscape that a training goes through, or sharpen it? Here it smooths.

Santurkar et al. (2018) say that it smooths; Yao et al. ("PyHessian", 2020) reject it, after networks whose Hessian has
larger eigenvalues with BN than without. The talk on Daneshmand et al. calls the question disputed. Here perceptrons on
Fashion-MNIST are trained by SGD with BN and without, from He's weights, and the largest eigenvalue of the Hessian of
the loss is followed (`pyrank.optimization.SharpnessMonitor`), each network at its best learning rate of a stated grid,
that with the smallest training loss. Nothing here is published by them in this form: all claims are extensions.

An eigenvalue has no meaning of its own: weights before a BN can be scaled without changing the function, and it falls
with the square of that scale. What a step of descent feels is the rate times the eigenvalue, 2 being the edge at which
a step on a quadratic no longer descends; both are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank import plotting
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.claims import Claim, at_least, at_most, extension
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.optimization.comparisons import exponential
from pyrank.experiments.optimization.courses import KINDS, Course, Courses, Training, followed
from pyrank.experiments.optimization.trainings import Floats
from pyrank.experiments.papers import MORWANI, TALK
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Settings:
    """Depths, each with BN and without, at all rates; seeds 0, 1, ..."""

    training: Training
    depths: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: int


PRESETS = {
    "quick": Settings(Training(1_000, 64, 50, epochs=4, every=20, curvature=200), (2, 6), (0.03, 0.1, 0.3, 1.0), 3),
    "paper": Settings(
        Training(10_000, 128, 100, epochs=20, every=100, curvature=2_000), (2, 8, 20),
        (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0), 10,
    ),
}  # fmt: skip
"""On two cores of an AMD EPYC, ``quick`` takes about a minute, ``paper`` about eight hours."""


def tasks(settings: Settings) -> list[Computation]:
    """Return a training for each depth, network, rate and seed."""
    return [
        Computation(f"{kind},depth={depth},rate={rate:g},seed={seed}", followed,
                    {"training": settings.training, "depth": depth, "kind": kind, "learning_rate": rate, "seed": seed},
                    cost=(1.0 + depth) * (2.0 if kind == "BN" else 1.0))
        for depth, kind, rate in _all(settings) for seed in range(settings.seeds)
    ]  # fmt: skip


def _all(settings: Settings) -> Iterable[tuple[int, str, float]]:
    return product(settings.depths, KINDS, settings.rates)


def analyse(settings: Settings, results: Sequence[Course]) -> Courses:
    """Collect the seeds of each."""
    rest = iter(results)
    return Courses({which: [next(rest) for _ in range(settings.seeds)] for which in _all(settings)})


COLUMNS = (
    Column("depth", "depth", meaning="hidden layers"),
    Column("rate", "rate", "g"),
    Column("best", "best", meaning="the rate with the smallest training loss"),
    Column("loss", "loss", ".3f", meaning="training loss of the last epoch"),
    Column("accuracy", "accuracy", ".3f", meaning="of training images, at the end"),
    Column("start", "start", ".3g", meaning="largest eigenvalue of the Hessian before training"),
    Column("typical", "typical", ".3g", meaning="geometric mean of the later looks"),
    Column("low", "low", ".3g", meaning="end of its 95 % interval over seeds"),
    Column("high", "high", ".3g", meaning="the other end"),
    Column("end", "end", ".3g", meaning="at the end"),
    Column("", "rate x typical", lambda row: f"{row.rate * row.typical:.3g}"),
    Column("kind", "network"),
)


def rows(settings: Settings, data: Courses) -> Iterable[Mapping[str, Any]]:
    """Return a line for each network at each rate."""
    for depth, kind, rate in _all(settings):
        sharpness, typical = data.sharpness(depth, kind, rate), _factor(data.typical(depth, kind, rate))
        accuracy = np.mean([course.accuracy for course in data.found[depth, kind, rate]])
        yield {"depth": depth, "kind": kind, "rate": rate, "best": "*" * (rate == data.best_rate(depth, kind)),
               "loss": data.loss(depth, kind, rate), "accuracy": float(accuracy),
               "start": float(sharpness[:, 0].mean()), "typical": typical.value, "low": typical.low,
               "high": typical.high, "end": float(sharpness[:, -1].mean())}  # fmt: skip


def _factor(logs: Floats) -> Interval:
    """Return the geometric mean of numbers from their logarithms."""
    return exponential(Interval.mean(logs))


def claims(found: Found) -> list[Claim]:
    """Ask at each depth whether BN smooths, at the start and on the way, and what a step feels."""
    data: Courses = found.data
    made = []
    for depth in found.settings.depths:
        where, rates = f"{depth} hidden layers", {kind: data.best_rate(depth, kind) for kind in KINDS}
        starts = [data.logs(depth, kind)[:, 0] for kind in KINDS]
        same = [data.typical(depth, kind, rates["no BN"]) for kind in KINDS]
        note = f"rates {rates['BN']:g} with BN and {rates['no BN']:g} without"
        landscape = TALK.at("BN smooths (or sharpens?) the landscape")
        made += [
            extension(f"BN smooths before training, {where}: factor on the largest eigenvalue", landscape,
                      _factor(starts[0] - starts[1]), at_most(1.0)),
            extension(f"BN smooths along training, each at its best rate, {where}: factor on the largest eigenvalue",
                      landscape, _factor(data.typical(depth, "BN") - data.typical(depth, "no BN")), at_most(1.0),
                      note=note),
            extension(f"BN smooths along training, both at the best rate without it, {where}: the same factor",
                      landscape, _factor(same[0] - same[1]), at_most(1.0), note=f"rate {rates['no BN']:g}"),
            extension(f"the best rate is higher with BN, {where}: factor", MORWANI.at("§ 3"),
                      Interval.exact(rates["BN"] / rates["no BN"]), at_least(1.0), note=note),
            *(extension(f"{kind}: rate times largest eigenvalue stays below 2, {where}", "descent on a quadratic",
                        _factor(data.typical(depth, kind) + np.log(rates[kind])), at_most(2.0)) for kind in KINDS),
        ]  # fmt: skip
    return made


def draw_sharpness(axes: Axes, found: Found, depth: int, times_rate: bool = False) -> None:
    """Draw the sharpness at the best rates, or what a step feels of it, and thin lines for the other rates."""
    data: Courses = found.data
    for number, kind in enumerate(KINDS):
        best = data.best_rate(depth, kind)
        for rate in found.settings.rates:
            mean, half = mean_interval(data.logs(depth, kind, rate) + np.log(rate if times_rate else 1.0))
            if rate == best:
                middle, low, high = np.exp(mean), np.exp(mean - half), np.exp(mean + half)
                plotting.band(axes, found.settings.training.steps, middle, low, high, number, kind)
            else:
                axes.plot(found.settings.training.steps, np.exp(mean), color=plotting.colour(number), linewidth=0.6)
    if times_rate:
        plotting.guide(axes, found.settings.training.steps[[0, -1]], [2.0, 2.0], "edge of stability")


def panels(found: Found) -> list[Panel]:
    """Return a row for each depth: the sharpness, and the rate times it."""
    made = []
    for depth, times in product(found.settings.depths, (False, True)):
        draw = partial(draw_sharpness, depth=depth, times_rate=times)
        label = "rate x largest eigenvalue" if times else "largest eigenvalue of the Hessian"
        made.append(Panel(draw, title=f"{depth} hidden layers", xlabel="step", ylabel=label, yscale="log"))
    return made


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    training = settings.training
    return (
        f"MLPs of width {training.width}, ReLU, He's weights, Fashion-MNIST, {training.samples:,} images, SGD, batches "
        f"of {training.batch}, {training.epochs} epochs, {settings.seeds} seeds. Left: largest eigenvalue of the "
        f"Hessian of the loss of {training.curvature:,} training images as one batch, with its statistics; right: the "
        f"rate times it. Bands: at the best of the rates {', '.join(map(str, settings.rates))} by the training loss of "
        "the last epoch, geometric mean and 95 % interval over seeds; thin lines: other rates, where no seed diverged."
    )


EXPERIMENT = Experiment(
    name="batchnorm-smoothness",
    question="Does batch normalisation smooth the landscape that a training goes through, or sharpen it?",
    sources=(TALK.at("BN smooths (or sharpens?) the landscape"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="Means over seeds.",
    claims=claims,
    sheet=Sheet("Sharpness along training, with batch normalisation and without", panels, columns=2, size=(10, 8)),
    caption=caption,
    more=lambda found: {"courses": [{"depth": depth, "kind": kind, "rate": rate, "sharpness": found.data.sharpness(
        depth, kind, rate)} for depth, kind, rate in found.data.found]},
)  # fmt: skip
