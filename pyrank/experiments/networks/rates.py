"""Trainings over a grid of learning rates and seeds: what they are as tasks, and which rate is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import NONE
from pyrank.experiments.networks.recipes import Recipe, cifar_or_padded
from pyrank.experiments.networks.trainings import Training, trained
from pyrank.experiments.tables import NEGLIGIBLE
from pyrank.experiments.tasks import Computation

CHANCE = 0.1
"""Accuracy of guessing among ten classes, which is what a network does that has diverged."""


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

    def end(self, name: str) -> NDArray[np.float64]:
        """Return it after the last epoch, (seeds,); an accuracy is that of guessing where the training diverged."""
        last: NDArray[np.float64] = self.values(name)[:, -1]
        return np.nan_to_num(last, nan=CHANCE) if "accuracy" in name else last

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


def at_hand(settings: Settings) -> Settings:
    """Return the settings with what stands in for CIFAR-10, if that is asked for and not here."""
    trials = [
        replace(trial, recipe=replace(trial.recipe, images=cifar_or_padded()))
        if trial.recipe.images == "cifar-10"
        else trial
        for trial in settings.trials
    ]
    return replace(settings, trials=tuple(trials))


def training_tasks(settings: Settings) -> list[Computation]:
    """Return a training for each trial, rate and seed."""
    settings = at_hand(settings)
    return [
        Computation(f"{trial.name},rate={rate:g},seed={seed}", trained,
                    {"recipe": trial.recipe, "learning_rate": rate, "seed": seed}, predicted(trial.recipe))
        for trial in settings.trials for rate in trial.rates for seed in range(settings.seeds)
    ]  # fmt: skip


def predicted(recipe: Recipe) -> float:
    """Return the seconds of a training on one thread of an AMD EPYC, roughly."""
    normal = recipe.normalization != NONE
    if recipe.network == "mlp":
        raising = recipe.raising.steps * recipe.depth**2 * 1.5e-4 if recipe.raising else 0.0
        step = (2.2 if normal else 1.0) * (1e-3 + 5e-4 * recipe.depth) * max(0.5, recipe.batch / 128)
        return recipe.steps * step + raising
    a_second = {"vgg19": 30.0, "resnet50": 24.0 if recipe.stem == "imagenet" else 3.0}[recipe.network]
    return float(recipe.steps * recipe.batch * (1.2 if normal else 1.0) * recipe.width**1.4 / a_second)


def chosen(settings: Settings, results: Sequence[Training]) -> list[Chosen]:
    """Return each trial at its best rate: what `training_tasks` gave, in its order."""
    settings = at_hand(settings)
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


def pick(found: Sequence[Chosen], **wanted: Any) -> list[Chosen]:
    """Return the trials with such a kind, network or depth, in their order."""

    def fits(each: Chosen) -> bool:
        values = {"kind": each.trial.kind, "network": each.trial.recipe.network, "depth": each.trial.recipe.depth}
        return all(values[name] == value for name, value in wanted.items())

    return [each for each in found if fits(each)]
