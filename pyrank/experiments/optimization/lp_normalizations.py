"""Does it matter by which norm, and about which centre, a network is normalised? Morwani says not significantly.

A perceptron with two hidden layers is trained by SGD on a part of a set of images, with each of eight normalisations:
by the L1, L2, L3 or L_inf size of each feature over the batch, about its mean (centred) or not. Looked at are the best
accuracy on test images, how far the parameters move from their start, and the ten largest eigenvalues of the Hessian at
the end, that of the loss of training images as one batch, with its statistics. A seed draws training images, weights
and the order of samples; it does so for all normalisations alike, so that they are compared in pairs. Tests of several
pairs hold together (Bonferroni).

The note leaves open the network, its batches, learning rate and epochs. It has MNIST; here it is Fashion-MNIST, which
comes with pyrank, and with the preset ``as-published`` MNIST, which has to be on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.claims import Claim, at_least, at_most, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.optimization import lp_curves
from pyrank.experiments.optimization.endings import Data
from pyrank.experiments.optimization.normalizations import NORMALIZATIONS, SHOWN, WITHOUT, Training, trained
from pyrank.experiments.papers import MORWANI
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation
from pyrank.plotting import Sheet

COMPARABLE = 3.0
"""A factor up to which numbers are comparable."""
SLIGHT = 0.0035
"""The largest difference between the accuracies of the note, 96.37 % and 96.02 %, which it calls slight."""
DATA = {"fashion-mnist": "Fashion-MNIST", "mnist": "MNIST"}


@dataclass(frozen=True)
class Settings:
    """Seeds 0, 1, ...; ``short`` trainings look for the largest rate on a grid, with fewer seeds."""

    training: Training
    seeds: int
    curvature: int
    short: Training
    rates: tuple[float, ...]
    rate_seeds: int
    rate: float = 0.1
    k: int = 10


PRESETS = {
    "quick": Settings(
        Training("fashion-mnist", 1_000, 1_000, 64, 50, 12), seeds=5, curvature=300,
        short=Training("fashion-mnist", 1_000, 100, 64, 50, 3), rates=(0.25, 1.0, 4.0, 16.0), rate_seeds=2,
    ),
    "paper": Settings(
        Training("fashion-mnist", 10_000, 10_000, 100, 100, 30), seeds=10, curvature=10_000,
        short=Training("fashion-mnist", 10_000, 1_000, 100, 100, 4),
        rates=(0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0), rate_seeds=5,
    ),
}  # fmt: skip
PRESETS["as-published"] = replace(
    PRESETS["paper"], training=replace(PRESETS["paper"].training, data="mnist"),
    short=replace(PRESETS["paper"].short, data="mnist"),
)  # fmt: skip
"""On two cores of an AMD EPYC, ``quick`` takes about a minute, and the others about an hour."""


def tasks(settings: Settings) -> list[Computation]:
    """Return a training for each normalisation and seed, then the short ones at each rate, without any, too."""
    found = []
    for name in NORMALIZATIONS:
        for seed in range(settings.seeds):
            look = {"curvature": settings.curvature, "k": settings.k}
            found.append(_task(settings.training, name, settings.rate, seed, look, settings.k))
    for name in (*NORMALIZATIONS, WITHOUT):
        for rate in settings.rates:
            for seed in range(settings.rate_seeds):
                found.append(_task(settings.short, name, rate, seed, {"curvature": 1, "k": 0}))
    return found


def _task(training: Training, name: str, rate: float, seed: int, look: Mapping[str, int], more: int = 0) -> Computation:
    arguments = {"training": training, "normalization": name, "learning_rate": rate, "seed": seed, **look}
    cost = training.epochs * training.samples / training.batch + 20.0 * more
    return Computation(f"{name},rate={rate:g},seed={seed},epochs={training.epochs}", trained, arguments, cost)


COLUMNS = (
    Column("accuracy", "best accuracy", error="accuracy_error", meaning="of all epochs, share of test images"),
    Column("accuracy_error"),
    Column("distance", "distance", error="distance_error", meaning="of all parameters from the start, at the end"),
    Column("distance_error"),
    Column("top", "lambda_1", error="top_error", meaning="largest eigenvalue of the Hessian at the end"),
    Column("top_error"),
    Column("ten", "mean of top", error="ten_error", meaning="mean of the largest eigenvalues"),
    Column("ten_error"),
    Column("residual", "residual", ".1e", meaning="largest |H v - lambda v| / lambda_1"),
    Column("loss", "loss", ".3f", meaning="training loss of the last epoch"),
    Column("rate", "largest rate", "g", meaning="of the grid, at which all seeds learn in short trainings: loss below "
           "half of that of guessing"),
    Column("name", "normalisation"),
)  # fmt: skip


def rows(settings: Settings, data: Data) -> Iterable[Mapping[str, Any]]:
    """Return a line for each normalisation."""
    for name in NORMALIZATIONS:
        values = data.values(name, "eigenvalues")
        shown = {"accuracy": data.values(name, "accuracy"), "distance": data.values(name, "distance")[:, -1],
                 "top": values[:, 0], "ten": values.mean(axis=1)}  # fmt: skip
        row: dict[str, Any] = {"name": name, "rate": float(data.largest_rates(name).min())}
        for what, each in shown.items():
            row[what], row[f"{what}_error"] = map(float, mean_interval(each))
        row["residual"] = float((data.values(name, "residuals") / values[:, :1]).max())
        yield row | {"loss": float(data.values(name, "loss").mean())}


def claims(found: Found) -> list[Claim]:
    """Return what the note says of centred and uncentred L2 and L3, and the same of all."""
    data: Data = found.data
    return [
        published("every normalisation, L1, L2, L3 or L_inf, centred or not, enables higher learning rates",
                  MORWANI.at("§ 4"), data.rate_gain, at_least(1.0),
                  reading="the largest rate of the grid at which all seeds learn with the weakest normalisation, over "
                  "the largest at which any learns without; between two points of the grid it is unknown",
                  note=f"the weakest: {data.weakest}"),
        *_comparable(data, SHOWN, published), *_comparable(data, tuple(NORMALIZATIONS), extension),
        extension("centring helps: best accuracy of centred less uncentred, mean of the orders", "two means of a seed",
                  Interval.mean(data.centring), at_least(0.0)),
    ]  # fmt: skip


def _comparable(data: Data, names: Sequence[str], kind: Any) -> Iterable[Claim]:
    """Claim that these differ little in what is left at the end: eigenvalues, distance, accuracy."""
    which = "centred and uncentred L2 and L3" if len(names) == len(SHOWN) else "all eight normalisations"
    said = f"between any two of {which}"
    for what, text in (("eigenvalues", "final eigenvalues are comparable"), ("distance", "distances are comparable")):
        compared = data.compared(names, what)
        read = {"reading": f"comparable: within a factor of {COMPARABLE:g} {said}"} if kind is published else {}
        yield kind(f"{text}: {which}", MORWANI.at("§ 4, figures"), compared.factor, at_most(COMPARABLE), **read,
                   note=f"the largest factor, that of {compared.furthest}")  # fmt: skip
    compared = data.compared(names, "accuracy")
    largest = compared.largest
    reading = (
        f"smallest p of paired tests over seeds {said}, corrected for their number; undecided as long as a difference "
        f"of more than {100 * SLIGHT:g} points, the largest of the note, is not excluded either"
    )
    yield kind(f"differences in best accuracy are not significant: {which}", MORWANI.at("§ 4"),
               compared.chance(SLIGHT), at_least(0.05), **({"reading": reading} if kind is published else {}),
               note=f"largest difference: {100 * largest.value:.2f} points ({100 * largest.low:.2f} to "
               f"{100 * largest.high:.2f}), {compared.furthest}")  # fmt: skip


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    training, short = settings.training, settings.short
    return (
        f"MLP 784-{training.width}-{training.width}-10, ReLU, eps 1e-5; {DATA[training.data]}, "
        f"{training.samples:,} training images, {training.tests:,} test images, SGD, batches of {training.batch}, rate "
        f"{settings.rate:g}, {training.epochs} epochs, {settings.seeds} seeds. Above left: distance of all parameters "
        f"from the start; above right: the {settings.k} largest eigenvalues at the end, loss of {settings.curvature:,} "
        "training images as one batch; means over seeds. Below left: best accuracy with running statistics against the "
        f"largest eigenvalue, 95 % intervals. Below right: training loss of the last of {short.epochs} epochs at other "
        f"rates, mean of {settings.rate_seeds} seeds; black: without normalisation; dash-dotted: half of the loss of "
        "guessing. What diverged is at the upper edge."
    )


EXPERIMENT = Experiment(
    name="lp-normalizations",
    question="Does it matter by which norm, and about which centre, a network is normalised?",
    sources=(MORWANI.at("§ 4"),),
    presets=PRESETS,
    tasks=tasks,
    analyse=lambda settings, results: Data.of(results, settings.seeds, settings.rates, settings.rate_seeds),
    columns=COLUMNS,
    rows=rows,
    note="Means over seeds, ± half of the 95 % interval (Student).",
    claims=claims,
    sheet=Sheet("Eight normalisations: distance moved, sharpness, accuracy and learning rates", lp_curves.PANELS,
                columns=2, size=(10, 9)),
    caption=caption,
    more=lambda found: found.data.to_dict(),
)  # fmt: skip
