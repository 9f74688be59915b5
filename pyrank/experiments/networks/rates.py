"""Trainings over a grid of learning rates and seeds: as tasks, as the rate that is chosen, and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.estimate.intervals import Interval
from pyrank.experiments.claims import Claim, Wanted, extension, published
from pyrank.experiments.networks.recipes import NONE, Recipe, told
from pyrank.experiments.networks.trainings import Training, trained
from pyrank.experiments.papers import Source
from pyrank.experiments.tables import NEGLIGIBLE, Column
from pyrank.experiments.tasks import Computation
from pyrank.support.text import span


def over_seeds(samples: ArrayLike) -> Interval:
    """Return the mean with its 95 % interval, without one that is no more than rounding."""
    found = Interval.mean(samples)
    return Interval.exact(found.value) if found.error <= NEGLIGIBLE * abs(found.value) else found


@dataclass(frozen=True)
class Trial:
    """A recipe, what it is called in tables and figures, and the learning rates it may choose from."""

    kind: str
    recipe: Recipe
    rates: tuple[float, ...]

    @property
    def name(self) -> str:
        """For people, and for checkpoints."""
        recipe = self.recipe
        return f"{self.kind},{recipe.network},{recipe.depth}" if recipe.depth else f"{self.kind},{recipe.network}"


@dataclass(frozen=True)
class Settings:
    """Trials, each with seeds 0, 1, ...; ``complete``: of the published size, ``script``: as the authors' script."""

    trials: tuple[Trial, ...]
    seeds: int
    complete: bool = False
    script: bool = False


@dataclass(frozen=True)
class Chosen:
    """The trainings of a trial, a seed each, at the rate with the smallest training loss.

    Attributes
    ----------
    trial
        What was trained.
    rate
        The one that was chosen.
    losses
        By rate: the loss of the last epoch, mean over seeds; infinite if a seed diverged.
    trainings
        At this rate, by seed.
    """

    trial: Trial
    rate: float
    losses: Mapping[float, float]
    trainings: tuple[Training, ...]

    def values(self, name: str) -> NDArray[np.float64]:
        """Return an attribute of all trainings, (seeds, ...)."""
        return np.array([getattr(training, name) for training in self.trainings], dtype=float)

    def at(self, name: str, epoch: int = -1) -> Interval:
        """Return its mean over seeds at an epoch, with a 95 % interval."""
        return over_seeds(self.values(name)[:, epoch])

    @property
    def diverged(self) -> int:
        """How many seeds diverged."""
        return sum(training.diverged for training in self.trainings)

    @property
    def r(self) -> NDArray[np.float64]:
        """``1 / mean(1 / r)`` over hidden layers, (seeds, epochs + 1), as the authors average r."""
        harmonic: NDArray[np.float64] = 1.0 / (1.0 / self.values("r")).mean(axis=2)
        return harmonic


def training_tasks(settings: Settings) -> list[Computation]:
    """Return a training for each trial, rate and seed."""
    return [
        Computation(f"{trial.name},rate={rate:g},seed={seed}", trained,
                    {"recipe": trial.recipe, "learning_rate": rate, "seed": seed}, predicted(trial.recipe))
        for trial in settings.trials for rate in trial.rates for seed in range(settings.seeds)
    ]  # fmt: skip


def predicted(recipe: Recipe) -> float:
    """Return the seconds of a training on one thread of an AMD EPYC, roughly."""
    slower = 1.0 if recipe.normalization == NONE else 2.2
    if recipe.network == "mlp":
        raising = recipe.raising.steps * recipe.depth**2 * 1.5e-4 if recipe.raising else 0.0
        return recipe.steps * slower * (1e-3 + 5e-4 * recipe.depth) * recipe.batch / 128 + raising
    images = {"vgg19": 45.0, "resnet50": 1.2}[recipe.network] / recipe.width**2
    return recipe.steps * recipe.batch * slower / images


def chosen(settings: Settings, results: Sequence[Training]) -> list[Chosen]:
    """Return each trial at its best rate: what `training_tasks` gave, in its order."""
    rest = iter(results)
    found = []
    for trial in settings.trials:
        by_rate = {rate: tuple(next(rest) for _ in range(settings.seeds)) for rate in trial.rates}
        losses = {rate: _loss(some) for rate, some in by_rate.items()}
        worst = {rate: sum(training.diverged for training in some) for rate, some in by_rate.items()}
        rate = min(trial.rates, key=lambda each: (losses[each], worst[each], each))
        found.append(Chosen(trial, rate, losses, by_rate[rate]))
    return found


def _loss(some: Sequence[Training]) -> float:
    mean = float(np.mean([training.loss[-1] for training in some]))
    return mean if math.isfinite(mean) else math.inf


COLUMNS = (
    Column("network", "network"),
    Column("depth", "depth", lambda row: f"{row.depth}" if row.depth else "-"),
    Column("rate", "rate", "g", meaning="the learning rate chosen"),
    Column("losses", "loss by rate", meaning="training loss of the last epoch at each rate, mean over seeds"),
    Column("accuracy", "accuracy", error="accuracy_error", meaning="of training images, at the end"),
    Column("accuracy_error"),
    Column("test_accuracy", "test", error="test_accuracy_error", meaning="accuracy of test images, at the end"),
    Column("test_accuracy_error"),
    Column("diverged", "diverged", lambda row: f"{row.diverged} of {row.seeds}", meaning="seeds, at that rate"),
    Column("seeds"),
    Column("r_start", "r at start", error="r_start_error", meaning="1 / mean(1 / r) over the hidden layers"),
    Column("r_start_error"),
    Column("r_end", "r at end", error="r_end_error"),
    Column("r_end_error"),
    Column("rank_start", "rank at start", ".1f", meaning="numerical rank of the last hidden layer in float32: "
           "singular values above sigma_max d 1e-7"),
    Column("rank_end", "rank at end", ".1f"),
    Column("kind", "kind"),
)  # fmt: skip

NOTE = "Means over seeds, ± half of the 95 % interval (Student)."


def rows(settings: Settings, data: Sequence[Chosen]) -> Iterable[dict[str, Any]]:
    """Return a line for each trial."""
    for each in data:
        recipe, empty = each.trial.recipe, Interval.exact(math.nan)
        shown = {
            "accuracy": each.at("accuracy"),
            "test_accuracy": each.at("test_accuracy") if recipe.tests else empty,
            "r_start": over_seeds(each.r[:, 0]),
            "r_end": over_seeds(each.r[:, -1]),
        }
        yield {
            "network": recipe.network,
            "depth": recipe.depth,
            "rate": each.rate,
            "losses": " ".join(f"{rate:g}: {_told(loss)}" for rate, loss in each.losses.items()),
            **{name: interval.value for name, interval in shown.items()},
            **{f"{name}_error": interval.error for name, interval in shown.items()},
            "diverged": each.diverged,
            "seeds": len(each.trainings),
            "rank_start": float(each.values("rank")[:, 0].mean()),
            "rank_end": float(each.values("rank")[:, -1].mean()),
            "kind": each.trial.kind,
        }


def _told(loss: float) -> str:
    return f"{loss:.3g}" if math.isfinite(loss) else "diverged"


def trained_how(settings: Settings) -> str:
    """Say for a caption what the trainings have in common."""
    recipes = [trial.recipe for trial in settings.trials]
    rates = sorted({rate for trial in settings.trials for rate in trial.rates})
    grid = f"{'at' if settings.script else 'at the best of'} {', '.join(f'{rate:g}' for rate in rates)}"
    choice = "as in the script" if settings.script else "by the training loss of the last epoch, mean over seeds"
    optimizers = " or ".join(dict.fromkeys(recipe.optimizer.upper() for recipe in recipes))
    samples, pixels, batches, epochs, steps = (
        span(getattr(recipe, name) for recipe in recipes) for name in ("samples", "pixels", "batch", "epochs", "steps")
    )
    return (
        f"{told(recipes[0].images)}, {samples} images, pixels up to {pixels.removesuffix('.0')}; {optimizers}, batches "
        f"of {batches}, {epochs} epochs ({steps} steps), {grid}: {choice}. Means of {settings.seeds} seeds with 95 % "
        "intervals (Student). Accuracy: whole batches with their own statistics."
    )


def judged(
    settings: Settings, statement: str, source: Source, measured: Interval, wanted: Wanted, *, reading: str,
    more: str = "", note: str = "",
) -> Claim:  # fmt: skip
    """Return a published claim; what was measured as the script has it, not the text, is told as an extension.

    ``more`` says what longer training, or a larger network, could still do to the number where the settings are not
    those of the paper: ``"raise"``, ``"lower"`` or ``"both"``. Such a claim is undecided if that could turn it over.
    """
    note = "; ".join(filter(None, (note, _place(settings))))
    if settings.script:
        return extension(
            statement, source, measured, wanted, note="; ".join(filter(None, (f"read as: {reading}", note)))
        )
    claim = published(statement, source, measured, wanted, reading=reading, note=note)
    if settings.complete or not more:
        return claim
    low = -math.inf if more in ("lower", "both") else measured.low
    high = math.inf if more in ("raise", "both") else measured.high
    if wanted.verdict(Interval(measured.value, low, high)) == claim.verdict:
        return claim
    steps = span(trial.recipe.steps for trial in settings.trials)
    return replace(claim, verdict="undecided", note="; ".join(filter(None, (note, f"open after {steps} steps"))))


def _place(settings: Settings) -> str:
    """Name the images where they are not those of the paper."""
    images = settings.trials[0].recipe.images if settings.trials else ""
    return f"on {told(images)}" if images.startswith("fashion-mnist ") else ""


def pick(found: Sequence[Chosen], **wanted: Any) -> list[Chosen]:
    """Return the trials with such a kind, network or depth, in their order."""

    def fits(each: Chosen) -> bool:
        values = {"kind": each.trial.kind, "network": each.trial.recipe.network, "depth": each.trial.recipe.depth}
        return all(values[name] == value for name, value in wanted.items())

    return [each for each in found if fits(each)]
