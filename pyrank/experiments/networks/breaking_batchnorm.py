"""Does batch normalisation help whatever the weights are? Not if they have a mean: then the rank goes, and learning.

Daneshmand et al. 2020, § 4 and Fig. 5 (VGG19), 13 (ResNet-50): networks with BN, with torch's weights U[-1, 1] / sqrt
d, or U[0, 2] / sqrt d, of the same variance; and with torch's weights and BN without mean deduction. Followed are
training accuracy and the numerical rank of the last hidden layer, which is what the head is given.

CIFAR-10 is taken where it is; otherwise Fashion-MNIST, padded to 32 x 32. The text names neither epochs nor rates: 30
epochs of batches of 128. ``paper`` takes about 500 hours of one core for VGG19 and 5,000 for ResNet-50. ``quick``
has a quarter of the width, few images, one learning rate for the two large networks, and a stem of ResNet-50 that
halves its images three times. ``as-published`` is the script: its weights, 2 abs(w), are the same law, but its flag
for "no mean deduction" does nothing in training, so that this curve is BN in full.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import BN, UNCENTRED
from pyrank.experiments.claims import Claim, at_least, at_most, close_to
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.networks import rates, reporting
from pyrank.experiments.networks.curves import draw_epochs
from pyrank.experiments.networks.rates import Chosen, Settings, Trial, over_seeds, pick, training_tasks
from pyrank.experiments.networks.recipes import Recipe
from pyrank.experiments.networks.reporting import beyond, judged, trained_how
from pyrank.experiments.papers import DANESHMAND, TALK
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STANDARD, BROKEN, OFF_CENTRE = "BN", "BN, U[0, 2/sqrt d]", "BN, no mean deduction"
NAMES = {"mlp": "MLP", "vgg19": "VGG19", "resnet50": "ResNet-50"}
LEARNT = 0.2
"""Accuracy up to which a network counts as unable to fit; guessing has 0.1."""
SLOWER, ALIKE = 0.1, 0.05
"""Differences in accuracy: of much slower learning, and up to which two performances count as the same."""
LEFT = 0.5
"""Share of a rank from which down it counts as reduced significantly."""


def trials(
    bases: tuple[Recipe, ...], grids: tuple[tuple[float, ...], ...], off_centre: bool = True
) -> tuple[Trial, ...]:
    """Return three networks of each architecture."""
    changes = {
        STANDARD: {},
        BROKEN: {"weights": "broken"},
        OFF_CENTRE: {"normalization": UNCENTRED if off_centre else BN},
    }
    return tuple(
        Trial(kind, replace(replace(base, normalization=BN), **change), grid)  # type: ignore[arg-type]
        for base, grid in zip(bases, grids, strict=True)
        for kind, change in changes.items()
    )


SHORT = Recipe(images="cifar-10", samples=256, epochs=4, batch=32)
LONG = Recipe(images="cifar-10", samples=50_000, epochs=30)
LARGE = (replace(LONG, network="vgg19", width=1.0), replace(LONG, network="resnet50", width=1.0))
FULL = (replace(LONG, depth=16), *LARGE)
QUARTER = (
    replace(SHORT, depth=16, width=32, samples=512),
    replace(SHORT, network="vgg19", width=0.25),
    replace(SHORT, network="resnet50", width=0.25, stem="imagenet"),
)
PRESETS = {
    "quick": Settings(trials(QUARTER, ((0.03, 0.1), (0.03,), (0.03,))), 3),
    "paper": Settings(trials(FULL, 3 * ((0.01, 0.1),)), 5, complete=True),
    "as-published": Settings(trials(LARGE, 2 * ((0.01,),), off_centre=False), 5, script=True),
}


def claims(found: Found) -> list[Claim]:
    """Return what the text says of each architecture."""
    settings, data = found.settings, found.data
    networks = [name for name in NAMES if pick(data, network=name)]
    place = {"mlp": DANESHMAND.at("§4"), "vgg19": DANESHMAND.at("Fig. 5"), "resnet50": DANESHMAND.at("Fig. 13")}

    def chosen(network: str, kind: str) -> Chosen:
        return pick(data, network=network, kind=kind)[0]

    def start(network: str, kind: str, name: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = chosen(network, kind).values(name)[:, 0]
        return values

    def ahead(network: str, kind: str) -> Interval:
        return over_seeds(chosen(network, STANDARD).end("accuracy") - chosen(network, kind).end("accuracy"))

    ranks = [
        judged(settings, f"this small change reduces the rank preserving quality of BN significantly: {NAMES[network]}",
               place[network] if network != "vgg19" else DANESHMAND.at("Fig. 5 right"),
               over_seeds(start(network, BROKEN, "rank") / start(network, STANDARD, "rank")), at_most(LEFT),
               reading="numerical rank of the last hidden layer at the start, float32, by the footnote: with "
               "asymmetric weights over that with standard ones")
        for network in networks
    ]  # fmt: skip
    slower = [
        judged(settings, "which is reflected in much slower learning behaviour: MLP", place["mlp"],
               ahead("mlp", BROKEN), at_least(SLOWER), more="raise",
               reading="accuracy with standard weights less that with asymmetric ones, at the end")
    ] if "mlp" in networks else []  # fmt: skip
    unable = [
        judged(settings, f"{NAMES[network]} networks are unable to fit the CIFAR-10 dataset after changing the "
               "initialisation in this way", place[network], over_seeds(chosen(network, BROKEN).end("accuracy")),
               at_most(LEARNT), more="raise", reading="training accuracy at the end; guessing has 0.1")
        for network in networks if network != "mlp"
    ]  # fmt: skip
    alike = [
        judged(settings, "leaving out the mean deduction does not change the performance of BN",
               DANESHMAND.at("§2, Fig. 5"), ahead("vgg19", OFF_CENTRE), close_to(0.0, ALIKE), more="both",
               reading="accuracy of VGG19 with less that without it, at the end",
               note="the script's flag does nothing: both are BN in full" * settings.script)
    ]  # fmt: skip
    return [
        *ranks, *slower, *unable, *alike,
        *(
            beyond(settings, f"r of the last hidden layer with asymmetric weights at the start: {NAMES[network]}",
                   place[network], over_seeds(start(network, BROKEN, "r")[:, -1]), at_most(1.1))
            for network in networks
        ),
        *(
            beyond(settings, f"accuracy with mean deduction less that without: {NAMES[network]}", place[network],
                   ahead(network, OFF_CENTRE), close_to(0.0, ALIKE))
            for network in networks if network != "vgg19"
        ),
        *(
            beyond(settings, f"training loss at rate {rate:g}: {NAMES[network]} with asymmetric weights less standard",
                   place[network], Interval.exact(loss - chosen(network, STANDARD).losses[rate]), at_least(0.0))
            for network in networks for rate, loss in chosen(network, BROKEN).losses.items()
        ),
    ]  # fmt: skip


def draw(axes: Axes, found: Found, network: str, name: str) -> None:
    """Draw an attribute of the networks of one architecture epoch by epoch."""
    shown = [(each.trial.kind, each.values(name)) for each in pick(found.data, network=network)]
    draw_epochs(axes, shown, first=1 if name == "accuracy" else 0)


def panels(found: Found) -> list[Panel]:
    """Return accuracy and rank side by side, for one architecture after the other."""
    networks = [name for name in NAMES if pick(found.data, network=name)]
    return [
        Panel(partial(draw, network=network, name=name), title=f"{NAMES[network]}: {label}",
              xlabel="epoch" if network == networks[-1] else "")
        for network in networks
        for name, label in (("accuracy", "training accuracy"), ("rank", "numerical rank of the last hidden layer"))
    ]  # fmt: skip


def caption(found: Found) -> str:
    """Say what is shown."""
    recipes = {trial.recipe.network: trial.recipe for trial in found.settings.trials}
    widths = [f"{NAMES[name]} {f'{r.depth} layers of {r.width:g}' if name == 'mlp' else f'{r.width:g} of the width'}"
              for name, r in recipes.items()]  # fmt: skip
    full = f" The script's flag leaves {OFF_CENTRE!r} BN in full." * found.settings.script
    return (
        f"{', '.join(widths)}; all with BN, ReLU.{full} Left: training accuracy, right: numerical rank of what the "
        f"head is given, first batch, float32. {trained_how(found.settings)}"
    )


EXPERIMENT = Experiment(
    name="breaking-batchnorm",
    question="Does batch normalisation help whatever the weights are?",
    sources=(DANESHMAND.at("Fig. 5"), DANESHMAND.at("Fig. 13"), TALK.at("Fig. 3.7")),
    presets=PRESETS,
    tasks=training_tasks,
    analyse=rates.chosen,
    columns=reporting.COLUMNS,
    rows=reporting.rows,
    note=reporting.NOTE,
    claims=claims,
    sheet=Sheet("Batch normalisation, broken by weights that have a mean", panels, columns=2, size=(10, 9)),
    caption=caption,
)
