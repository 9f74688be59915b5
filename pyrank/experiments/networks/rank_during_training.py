"""What becomes of the rank of a network while it is trained? What collapsed stays so, what is high falls.

Daneshmand et al. 2020, Fig. 6: perceptrons of depth 32 and width 128 on Fashion-MNIST, without BN, the same after 25
and 75 steps of gradient ascent on r of one layer after the other, and BN networks with standard weights and with U[0,
2 / sqrt d]. Followed is 1 / mean(1 / r) over the hidden layers, on the first batch, epoch by epoch.

Where the text is silent: ascent is plain, at rate 0.1 as in the script, without rescaling; batches of 128; 15 epochs.
The preset ``paper`` takes about two hours of one core. ``as-published`` is the script: 30 hidden layers, batches
of 32, rate 0.01; ascent of every fourth layer, 5 steps, and 75 more (there on all layers below, here on those since
the last one); BN with tanh; all parameters of the asymmetric network, scales and shifts included, from U[0, 0.1].
BN's momentum of 0 does nothing where batches are normalised by themselves, and a factor of 1.2 on its plotted loss is
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.claims import Claim, at_least, between, extension
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.networks import rates, reporting
from pyrank.experiments.networks.curves import draw_epochs
from pyrank.experiments.networks.rates import Chosen, Settings, Trial, over_seeds, pick, training_tasks
from pyrank.experiments.networks.recipes import Raising, Recipe
from pyrank.experiments.networks.reporting import judged, trained_how
from pyrank.experiments.papers import DANESHMAND
from pyrank.plotting import Panel, Sheet
from pyrank.specs.weights import Weights

ASCENT = Raising(25, optimizer="sgd", learning_rate=0.1, rescale=False)
APART = 1.05
"""Ratio of two ranks from which on they have an order."""
KEPT = 0.9
"""Share of pairs that keep their order where the order counts as kept."""
CLEAR = 0.5
"""Correlation from which on it is clear."""
LARGE = 2.0
"""Factor up to which a magnitude counts as kept."""


def trials(base: Recipe, grid: tuple[float, ...]) -> tuple[Trial, ...]:
    """Return the networks of Fig. 6."""
    normal = replace(base, normalization=BN)
    recipes = {
        "no BN": base,
        "25 steps": replace(base, raising=ASCENT),
        "75 steps": replace(base, raising=replace(ASCENT, steps=75)),
        "BN": normal,
        "BN, asymmetric": replace(normal, weights="broken"),
    }
    return tuple(Trial(kind, recipe, grid) for kind, recipe in recipes.items())


def script() -> tuple[Trial, ...]:
    """Return the networks of the script."""
    base = Recipe(depth=30, epochs=15, batch=32)
    fourth = replace(ASCENT, every=4, steps=5)
    normal = replace(base, normalization=BN, activation="tanh")
    recipes = {
        "no BN": base,
        "5 steps": replace(base, raising=fourth),
        "5 + 75 steps": replace(base, raising=replace(fourth, steps=80)),
        "BN": normal,
        "BN, asymmetric": replace(normal, weights=Weights.between(0.0, 0.1), affine="drawn"),
    }
    return tuple(Trial(kind, recipe, (0.01,)) for kind, recipe in recipes.items())


PRESETS = {
    "quick": Settings(trials(Recipe(depth=32, samples=31 * 64, batch=64, epochs=3), (0.03, 0.1)), 3),
    "paper": Settings(trials(Recipe(depth=32, epochs=15), (0.01, 0.03, 0.1)), 5, complete=True),
    "as-published": Settings(script(), 5, script=True),
}


def order_kept(found: Sequence[Chosen]) -> NDArray[np.float64]:
    """Return for each seed the share of pairs of networks, after every epoch, whose r are in the order of the start.

    From where one of the two has diverged they are no pair any more.
    """
    shares = []
    for courses in np.array([each.r for each in found]).swapaxes(0, 1):  # (kinds, epochs + 1) of a seed
        ascending = courses[courses[:, 0].argsort()]
        kept = [
            (more > less)[np.isfinite(more - less)][1:]
            for less, more in combinations(ascending, 2)
            if more[0] > APART * less[0]
        ]
        shares.append(np.concatenate(kept).mean() if any(map(len, kept)) else np.nan)
    return np.array(shares)


def correlations(steps: Sequence[int], accuracies: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return for each seed the correlation (Pearson) of steps and accuracies; NaN where those are all the same."""
    x, y = np.array(steps)[:, None] - np.mean(steps), accuracies - np.mean(accuracies, axis=0)
    size = np.sqrt((x * x).sum() * (y * y).sum(axis=0))
    found: NDArray[np.float64] = (x * y).sum(axis=0) / np.where(size > 0, size, np.nan)
    return found


def change(each: Chosen) -> Interval:
    """Return r at the end over r at the start."""
    return over_seeds(each.r[:, -1] / each.r[:, 0])


def claims(found: Found) -> list[Claim]:
    """Return what the text says of Fig. 6, and how far each rank moves."""
    settings, data = found.settings, found.data
    raised = [each for each in data if each.trial.recipe.raising]
    plain, normal, asymmetric = (pick(data, kind=kind)[0] for kind in ("no BN", "BN", "BN, asymmetric"))
    moved = [change(each) for each in data]
    worst = int(np.argmin([min(ratio.value, 1.0 / ratio.value) for ratio in moved]))  # NaN, if a seed diverged
    steps = [0, *(each.trial.recipe.raising.steps for each in raised if each.trial.recipe.raising)]
    levels = [each.end("accuracy") for each in (plain, *raised)]
    gains = [over_seeds(more - less) for less, more in pairwise(levels)]
    apart = (normal.r / asymmetric.r)[:, 1:]
    least = int(apart.mean(axis=0).argmin())
    section, left, right = DANESHMAND.at("§1.2 (ii)"), DANESHMAND.at("Fig. 6 left"), DANESHMAND.at("Fig. 6 right")
    return [
        judged(settings, "SGD updates preserve the order of the initial rank throughout optimisation", section,
               over_seeds(order_kept(data)), at_least(KEPT), more="lower",
               reading=f"share of pairs of the {len(data)} networks, after every epoch, whose r are in the order of "
               f"the start; pairs that differ by {APART - 1:.0%} there"),
        judged(settings, "SGD preserves the initial magnitude of the rank to a large extent, regardless of the network "
               "type", right, moved[worst], between(1 / LARGE, LARGE), more="both",
               reading=f"r at the end over r at the start, of the network that moves most: {data[worst].trial.kind}"),
        judged(settings, "there is a clear correlation between the level of pre-training and the optimisation "
               "performance of vanilla networks", left, over_seeds(correlations(steps, levels)), at_least(CLEAR),
               more="both", reading="correlation of steps of pre-training and accuracy at the end, mean over seeds"),
        judged(settings, "this is particularly obvious when comparing the two BN initialisations", right,
               over_seeds(apart[:, least]), at_least(LARGE), more="lower",
               reading="r of the standard over r of the asymmetric one, after the epoch where it is least"),
        extension("accuracy rises from each level of pre-training to the next: the smaller rise, paired by seed", left,
                  min(gains, key=lambda gain: gain.value), at_least(0.01), note=", ".join(
                      f"{count} steps: {over_seeds(level)}" for count, level in zip(steps, levels, strict=True))),
        *(
            extension(f"r at the end over r at the start: {each.trial.kind}", right, ratio, between(1 / LARGE, LARGE),
                      note=f"from {each.r[:, 0].mean():.3g} to {each.r[:, -1].mean():.3g}; accuracy "
                      f"{over_seeds(each.end('accuracy'))}; {reporting.by_rate(each)}")
            for each, ratio in zip(data, moved, strict=True)
        ),
    ]  # fmt: skip


def caption(found: Found) -> str:
    """Say what is shown."""
    recipes = {trial.kind: trial.recipe for trial in found.settings.trials}
    curved = [kind for kind, recipe in recipes.items() if recipe.activation == "tanh"]
    activations = f"ReLU; {', '.join(curved)}: tanh" if curved else "ReLU"
    every = max(recipe.raising.every for recipe in recipes.values() if recipe.raising)
    layers = "each layer" if every == 1 else f"every {every}th layer"
    return (
        f"MLPs of {recipes['no BN'].depth} hidden layers of 128 features ({activations}); steps: of plain gradient "
        f"ascent on r of {layers}, before training. Left: training accuracy; right: 1 / mean(1 / r) over the hidden "
        f"layers, first batch. {trained_how(found.settings)}"
    )


EXPERIMENT = Experiment(
    name="rank-during-training",
    question="What becomes of the rank of a network while it is trained?",
    sources=(DANESHMAND.at("Fig. 6"),),
    presets=PRESETS,
    tasks=training_tasks,
    analyse=rates.chosen,
    columns=reporting.COLUMNS,
    rows=reporting.rows,
    note=reporting.NOTE,
    claims=claims,
    sheet=Sheet(
        "The rank of a network while it is trained",
        (
            Panel(lambda axes, found: draw_epochs(axes, [(e.trial.kind, e.values("accuracy")) for e in found.data]),
                  xlabel="epoch", ylabel="training accuracy", ylim=(0.0, 1.0)),
            Panel(lambda axes, found: draw_epochs(axes, [(e.trial.kind, e.r) for e in found.data], first=0),
                  xlabel="epoch", ylabel="r, harmonic mean over layers", yscale="log"),
        ),
    ),
    caption=caption,
)  # fmt: skip
