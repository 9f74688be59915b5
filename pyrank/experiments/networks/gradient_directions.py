"""How alike are the gradients that different images give a network? Without BN all the same, as soon as it is deep.

Daneshmand et al. 2020, § 3.2, Proposition 19 and Fig. 10: if the last hidden layer has rank one, the normalised
gradients of a neuron of the head by its weights are equal up to sign for any two images: "directional gradient
vanishing". Here it is the distribution of abs(cos) of all pairs of 64 images, for each of the ten neurons, at the
start: perceptrons of width 128 against depth, and VGG19, with BN, without it, and with BN and weights U[0, 2] / sqrt
d. A gradient of zero has no direction: those are counted. Norms stand beside: of the gradients of the head, and of
the first layer's, for the batch.

``quick`` has the perceptrons in full, but fewer seeds, and a quarter of VGG19's width. ``paper`` takes about
five minutes on two cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank import plotting
from pyrank.estimate.intervals import Interval
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.claims import Claim, at_least, at_most, close_to, extension
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.networks.directions import BINS, Directions, directions
from pyrank.experiments.networks.rates import Settings, Trial, at_hand, over_seeds
from pyrank.experiments.networks.recipes import Recipe, told
from pyrank.experiments.networks.reporting import judged
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = 64
KINDS: dict[str, dict[str, Any]] = {
    "no BN": {}, "BN": {"normalization": BN}, "BN, asymmetric": {"normalization": BN, "weights": "broken"},
}  # fmt: skip
DEPTHS = (1, 2, 4, 8, 16, 32)
COLLINEAR = 0.99
PLACE, FIGURE = DANESHMAND.at("§3.2, Proposition 19"), DANESHMAND.at("Fig. 10")


def trials(width: float) -> tuple[Trial, ...]:
    """Return all networks, with VGG19 of this factor of its width."""
    mlp = Recipe(width=128, samples=IMAGES, batch=IMAGES)
    vgg = replace(mlp, network="vgg19", width=width, images="cifar-10")
    bases = [*(replace(mlp, depth=depth) for depth in DEPTHS), vgg]
    return tuple(Trial(kind, replace(base, **change), ()) for kind, change in KINDS.items() for base in bases)


PRESETS = {"quick": Settings(trials(0.25), 8), "paper": Settings(trials(1.0), 24, complete=True)}


def tasks(settings: Settings) -> list[Computation]:
    """Return a computation for each network and seed."""
    settings = at_hand(settings)
    return [
        Computation(f"{trial.name},seed={seed}", directions, {"recipe": trial.recipe, "seed": seed},
                    0.02 + 0.005 * trial.recipe.depth if trial.recipe.depth else 12.0 * trial.recipe.width**1.4)
        for trial in settings.trials for seed in range(settings.seeds)
    ]  # fmt: skip


def analyse(settings: Settings, results: Sequence[Directions]) -> list[tuple[Trial, Sequence[Directions]]]:
    """Return the networks with what was found of their seeds."""
    count, settings = settings.seeds, at_hand(settings)
    return [(trial, results[count * n : count * (n + 1)]) for n, trial in enumerate(settings.trials)]


COLUMNS = (
    Column("network", "network"),
    Column("depth", "depth", lambda row: f"{row.depth}" if row.depth else "16"),
    Column("mean", "abs(cos)", error="mean_error", meaning="mean over pairs of images and neurons"),
    Column("mean_error"),
    Column("least", "least", ".4f", meaning="smallest of all pairs, mean over seeds"),
    Column("zero", "zero", ".1f", meaning=f"gradients of {10 * IMAGES} that are zero, mean over seeds"),
    Column("head", "head", ".2e", meaning="norm of the batch's gradient by the weights of the head, mean"),
    Column("first", "first layer", ".2e", meaning="the same of the first layer"),
    Column("kind", "kind"),
)


def rows(settings: Settings, data: Sequence[tuple[Trial, Sequence[Directions]]]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each network."""
    for trial, found in data:
        mean = over_seeds([each.mean for each in found])
        shown = {
            name: float(np.mean([getattr(each, name) for each in found])) for name in ("least", "zero", "head", "first")
        }
        yield {"network": trial.recipe.network, "depth": trial.recipe.depth, "kind": trial.kind, "mean": mean.value,
               "mean_error": mean.error, **shown}  # fmt: skip


def claims(found: Found) -> list[Claim]:
    """Return the proposition, its empirical validation, and how fast gradients align."""
    settings = found.settings
    means = {(trial.kind, trial.recipe.network, trial.recipe.depth): over_seeds([each.mean for each in some])
             for trial, some in found.data}  # fmt: skip
    rows = {(row.kind, row.network, row.depth): row for row in found.rows}
    depths = sorted({depth for _, network, depth in means if network == "mlp"})
    most = max((means["BN", "mlp", depth] for depth in depths), key=lambda mean: mean.value)
    aligned = [depth for depth in depths if means["no BN", "mlp", depth].value >= COLLINEAR]
    shallow, deep = (rows["no BN", "mlp", depth] for depth in (depths[0], depths[-1]))
    note = f"on {told(found.data[-1][0].recipe.images)}"
    broken = rows["BN, asymmetric", "vgg19", 0]
    return [
        judged(settings, "if the last hidden layer has rank one, the normalised gradients of a neuron of the head are "
               "equal up to sign for any two images", PLACE, means["no BN", "mlp", depths[-1]], close_to(1.0, 1e-3),
               reading=f"mean abs(cos), perceptron of depth {depths[-1]} without BN, where r = 1.0000",
               note=f"the smallest of all pairs: {deep.least:.4f}"),
        judged(settings, "the same holds empirically for VGG19", FIGURE, means["no BN", "vgg19", 0],
               close_to(1.0, 0.01), reading="mean abs(cos) without BN", note=note),
        judged(settings, "the individual gradient directions become independent of the input as depth grows, "
               "without BN", DANESHMAND.at("§1.1"), means["no BN", "mlp", depths[-1]], at_least(COLLINEAR),
               reading=f"mean abs(cos) at depth {depths[-1]}",
               note=f"at depth {depths[0]} it is {means['no BN', 'mlp', depths[0]]}"),
        judged(settings, "this effect does not happen in batch-normalised networks", DANESHMAND.at("§1.1"), most,
               at_most(0.5), reading="mean abs(cos) of perceptrons with BN; the largest of all depths"),
        extension(f"depth from which mean abs(cos) exceeds {COLLINEAR:g} without BN", PLACE,
                  Interval.exact(aligned[0] if aligned else math.nan), at_most(8)),
        extension("mean abs(cos) with BN, VGG19", FIGURE, means["BN", "vgg19", 0], at_most(0.5), note=note),
        extension("mean abs(cos) with BN and asymmetric weights, VGG19", FIGURE, means["BN, asymmetric", "vgg19", 0],
                  at_least(0.9), note=f"{broken.zero:.1f} of {10 * IMAGES} gradients are zero and left out; {note}"),
        extension(f"norm of the head's gradient at depth {depths[-1]} over that at depth 1, without BN: directions "
                  "vanish, it does not", PLACE, Interval.exact(deep.head / shallow.head), at_least(0.1),
                  note=f"of the first layer's: {deep.first / shallow.first:.1e}"),
    ]  # fmt: skip


def draw_means(axes: Axes, found: Found) -> None:
    """Draw the mean against depth; VGG19 stands apart, on the right."""
    apart = 2 * max(DEPTHS)
    for number, (kind, some) in enumerate(found.rows_by("kind").items()):
        at = [(row.depth or apart) * 1.05 ** (number - 1) for row in some]
        seeds = [[each.mean for each in every] for trial, every in found.data if trial.kind == kind]
        plotting.each(axes, at[:-1], np.transpose(seeds[:-1]), number)
        plotting.points(axes, at, [row.mean for row in some], [row.mean_error for row in some], number, kind)
    plotting.log_ticks(axes.xaxis, (*DEPTHS, apart))
    axes.set_xticks((*DEPTHS, apart), labels=[*map(str, DEPTHS), "VGG19"])


PERCEPTRONS = (*(("no BN", depth) for depth in DEPTHS[:4]), ("BN", max(DEPTHS)))


def draw_histograms(axes: Axes, found: Found, shown: Sequence[tuple[str, int]], first: int) -> None:
    """Draw the distribution for networks of a kind and depth, 0 being that of VGG19, in the colours from one on."""
    at = (np.arange(BINS) + 0.5) / BINS
    for trial, some in found.data:
        kind, depth = trial.kind, trial.recipe.depth
        if (kind, depth) in shown:
            shares, number = np.mean([each.histogram for each in some], axis=0), first + shown.index((kind, depth))
            plotting.curve(axes, at, np.maximum(shares, 1e-5), number, f"{kind}, depth {depth}" if depth else None)


def caption(found: Found) -> str:
    """Say what is shown."""
    vgg = found.data[-1][0].recipe
    return (
        f"abs(cos) of the angles between the gradients that {IMAGES} images give the weights of each neuron of the "
        "head, cross-entropy, at the start, torch's weights, ReLU. Perceptrons: width 128, Fashion-MNIST; VGG19: "
        f"{vgg.width:.0%} of its width, {told(vgg.images)}. Left: means over {found.settings.seeds} seeds with 95 % "
        f"intervals (Student), and seeds; then shares of pairs in bins of {1 / BINS:g}, for perceptrons and for VGG19."
    )


SHARES: dict[str, Any] = {"xlabel": "abs(cos)", "ylabel": "share of pairs", "yscale": "log", "ylim": (1e-4, 1.5)}

EXPERIMENT = Experiment(
    name="gradient-directions",
    question="How alike are the gradients that different images give a network?",
    sources=(PLACE, FIGURE),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="Means over seeds, ± half of the 95 % interval (Student).",
    claims=claims,
    sheet=Sheet(
        "Gradients of different images: the same direction without batch normalisation",
        (
            Panel(draw_means, xlabel="hidden layers", ylabel="mean abs(cos)", ylim=(0.0, 1.05)),
            Panel(partial(draw_histograms, shown=PERCEPTRONS, first=3), title="perceptrons", **SHARES),
            Panel(partial(draw_histograms, shown=[(kind, 0) for kind in KINDS], first=0), title="VGG19", **SHARES),
        ),
        columns=3,
        size=(13, 4.8),
    ),
    caption=caption,
)
