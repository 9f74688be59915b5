"""Can a rank-increasing pre-training take the place of batch normalisation? It makes deep plain networks train.

Daneshmand et al. 2020, § 4, Fig. 4, 11 and 12: perceptrons of 10, 30 and 50 hidden layers of 128 features on CIFAR-10
(on Fashion-MNIST, padded to 32 x 32, where that is not at hand), SGD with batches of 64, normal Xavier weights: BN
networks against plain ones whose rank was raised before, layer by layer. Loss and accuracy by epoch and by second, of
training and of test images; seconds are measured on one thread, include the pre-training, and decide no claim. The
text's "few steps of gradient ascent in each layer" are 50 of `increase_rank`, Adam and layers scaled to size one; what
they are without that scaling stands beside.

``paper`` takes about 40 hours of one core, ``fashion-mnist`` (Fig. 12) as long; ``quick`` leaves out the deepest.
``as-published`` is the script: pixels up to 255, which does most of it; 40,000 steps of plain ascent at rate 0.001 on
r of the **last** layer, on a new batch each (there 40 steps a batch, on r^(-1/2), which are shorter); a third rate for
BN. There pre-training had one run and BN five, all from one set of weights; here both have five seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.claims import Claim, at_least
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.networks import rates, reporting
from pyrank.experiments.networks.curves import draw_epochs
from pyrank.experiments.networks.rates import Chosen, Settings, Trial, at_hand, over_seeds, pick
from pyrank.experiments.networks.recipes import Raising, Recipe
from pyrank.experiments.networks.reporting import beyond, judged, trained_how
from pyrank.experiments.networks.timing import SECONDS, seconds_of
from pyrank.experiments.papers import DANESHMAND, TALK
from pyrank.experiments.tasks import Computation, Task
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RAISED, UNSCALED, NORMAL, PLAIN = "pre-trained", "pre-trained, not scaled", "BN", "neither"
LEARNT = 0.1  # accuracy that pre-training has to add where it makes a network learn


@dataclass(frozen=True)
class Data:
    """Trainings, and for each the seconds of its pre-training and of an epoch."""

    trainings: Sequence[Chosen]
    seconds: NDArray[np.float64]


def trials(base: Recipe, depths: Sequence[int], raising: Raising, grid: tuple[float, ...], more: tuple[float, ...] = ()
           ) -> tuple[Trial, ...]:  # fmt: skip
    """Return the networks of each depth; BN has ``more`` rates."""
    kinds = {RAISED: replace(base, raising=raising), NORMAL: replace(base, normalization=BN), PLAIN: base}
    if raising.rescale:
        kinds[UNSCALED] = replace(base, raising=replace(raising, rescale=False))
    return tuple(
        Trial(kind, replace(recipe, depth=depth), grid + more if kind == NORMAL else grid)
        for depth in depths
        for kind, recipe in kinds.items()
    )


PAPER = Recipe(images="cifar-10", samples=50_000, tests=10_000, batch=64, epochs=100, weights="xavier")
SHORT = replace(PAPER, samples=31 * 64, tests=8 * 64, epochs=3)
DEPTHS = (10, 30, 50)
PRESETS = {
    "quick": Settings(trials(SHORT, DEPTHS[:2], Raising(25), (0.01, 0.1)), 3),
    "paper": Settings(trials(PAPER, DEPTHS, Raising(50), (0.001, 0.01)), 5, complete=True),
    "fashion-mnist": Settings(
        trials(replace(PAPER, images="fashion-mnist", samples=60_000), DEPTHS, Raising(50), (0.001, 0.01)), 5,
        complete=True,
    ),
    "as-published": Settings(
        trials(replace(PAPER, pixels=255.0), DEPTHS, Raising(40_000, "last", "sgd", 0.001, rescale=False),
               (0.001, 0.01), (0.1,)), 5, script=True,
    ),
}  # fmt: skip


def tasks(settings: Settings) -> list[Task]:
    """Return all trainings, and the timing of all networks."""
    recipes = [trial.recipe for trial in at_hand(settings).trials]
    timing = Computation("timing", seconds_of, {"recipes": recipes}, sum(map(rates.predicted, recipes)) / 4)
    return [*rates.training_tasks(settings), timing]


def analyse(settings: Settings, results: Sequence[Any]) -> Data:
    """Return the trainings at their best rates, and the seconds."""
    return Data(rates.chosen(settings, results[:-1]), results[-1])


def claims(found: Found) -> list[Claim]:
    """Return what the text says of pre-training and BN; seconds have no part in it."""
    settings, data = found.settings, found.data.trainings
    depths = sorted({each.trial.recipe.depth for each in data})

    def end(kind: str, depth: int, name: str) -> NDArray[np.float64]:
        return pick(data, kind=kind, depth=depth)[0].end(name)

    def lead(name: str, sign: float = 1.0) -> Interval:
        return over_seeds(sign * (end(NORMAL, depths[-1], name) - end(RAISED, depths[-1], name)))

    raised, with_bn = (pick(data, kind=kind, depth=depths[-1])[0] for kind in (RAISED, NORMAL))
    slower = {kind: end(kind, depths[-1], "loss") - end(kind, depths[0], "loss") for kind in (RAISED, NORMAL)}
    deepest = f"at the end, {depths[-1]} hidden layers, paired by seed"
    return [
        judged(settings, "the slow down in depth is much less severe for the pre-trained networks",
               DANESHMAND.at("Fig. 4"), over_seeds(slower[NORMAL] - slower[RAISED]), at_least(0.05), more="both",
               reading=f"training loss of {depths[-1]} less that of {depths[0]} layers, with BN less pre-trained"),
        judged(settings, "pre-training allows vanilla SGD to outperform BN on very deep MLPs",
               DANESHMAND.at("§1.2, Fig. 4"), lead("loss"), at_least(0.0), more="both",
               reading=f"training loss with BN less pre-trained, {deepest}"),
        judged(settings, "this improvement is also reflected in training accuracy", DANESHMAND.at("Fig. 11"),
               lead("accuracy", -1.0), at_least(0.0), more="both", reading=f"pre-trained less BN, {deepest}"),
        judged(settings, "and in test loss", DANESHMAND.at("Fig. 11"), lead("test_loss"), at_least(0.0), more="both",
               reading=f"with BN less pre-trained, {deepest}"),
        judged(settings, "pre-training allows previously un-trainable very deep vanilla networks to learn",
               DANESHMAND.at("§5"),
               over_seeds(end(RAISED, depths[-1], "accuracy") - end(PLAIN, depths[-1], "accuracy")),
               at_least(LEARNT), more="both", reading=f"training accuracy, pre-trained less untouched, {deepest}"),
        *(
            beyond(settings, f"r after the pre-training, harmonic mean over {depth} layers, less that without",
                      DANESHMAND.at("§4"), over_seeds(pick(data, kind=RAISED, depth=depth)[0].r[:, 0]
                                 - pick(data, kind=PLAIN, depth=depth)[0].r[:, 0]), at_least(1.0),
                      note=f"BN: {pick(data, kind=NORMAL, depth=depth)[0].r[:, 0].mean():.3g}")
            for depth in depths
        ),
        *(
            beyond(settings, "training accuracy, pre-trained less untouched, where layers are not scaled to size one",
                   DANESHMAND.at("§5"), over_seeds(each.end("accuracy") - end(PLAIN, depths[-1], "accuracy")),
                   at_least(LEARNT), note=f"{deepest}; r at the start {each.r[:, 0].mean():.3g}")
            for each in pick(data, kind=UNSCALED, depth=depths[-1])
        ),
        *(
            beyond(settings, f"training loss at rate {rate:g}, {depths[-1]} layers: with BN less pre-trained",
                   DANESHMAND.at("Fig. 4"), Interval.exact(with_bn.losses[rate] - loss), at_least(0.0))
            for rate, loss in raised.losses.items()
        ),
    ]  # fmt: skip


def draw(axes: Axes, found: Found, name: str, depth: int, by_second: bool) -> None:
    """Draw an attribute for networks of one depth, by epoch or by second."""
    timed = zip(found.data.trainings, found.data.seconds, strict=True)
    some = [(each, seconds) for each, seconds in timed if each.trial.recipe.depth == depth]
    for number, (each, (raising, epoch)) in enumerate(some):
        step, before = (epoch, raising / epoch) if by_second else (1.0, 0.0)
        draw_epochs(axes, [(each.trial.kind, each.values(name))], 1 + before, step, number)


CURVES = ("loss", "accuracy", "test_loss", "test_accuracy")


def panels(found: Found) -> list[Panel]:
    """Return two rows for each depth: by epoch, and by second."""
    depths = sorted({each.trial.recipe.depth for each in found.data.trainings})
    return [
        Panel(partial(draw, name=name, depth=depth, by_second=by_second), ylabel="" if number else f"{depth} layers",
              title=name.replace("_", " ") if depth == depths[0] and not by_second else "",
              xlabel="seconds, pre-training included" if by_second else "epoch")
        for depth in depths
        for by_second in (False, True)
        for number, name in enumerate(CURVES)
    ]  # fmt: skip


def caption(found: Found) -> str:
    """Say what is shown."""
    raising = next(trial.recipe.raising for trial in found.settings.trials if trial.kind == RAISED)
    return (
        "ReLU perceptrons, width 128, normal Xavier weights; loss and accuracy of training and of test images. "
        f"Pre-training: {raising}. {trained_how(found.settings)}"
    )


EXPERIMENT = Experiment(
    name="pretraining-and-batchnorm",
    question="Can a rank-increasing pre-training take the place of batch normalisation?",
    sources=(DANESHMAND.at("Fig. 4"), DANESHMAND.at("Fig. 11"), DANESHMAND.at("Fig. 12"), TALK.at("pre-training")),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=reporting.COLUMNS,
    rows=lambda settings, data: reporting.rows(settings, data.trainings),
    note=reporting.NOTE,
    tables=(SECONDS,),
    claims=claims,
    sheet=Sheet("Pre-training that raises the rank, and batch normalisation", panels, columns=4, size=(14, 11)),
    caption=caption,
)
