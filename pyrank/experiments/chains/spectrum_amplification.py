"""How does batch normalisation lift the spectrum of an almost collinear batch? Layer by layer, all eigenvalues rise.

The columns of H_0 are one gaussian vector plus 1e-5 times independent ones, N = d = 50. They go through the linear
chain ``H' = BN(H + gamma W H)`` with gaussian W and rescaling only, in float64. Shown are the first, second and tenth
eigenvalue of ``M = H H^T / N``. Tr M = d, so what the others gain the first one loses.

The paper names no gamma for its figure. The published script sets gamma = 0.01 but multiplies W by 100, which is
gamma = 1. Both are shown: gamma = 1, which is the published figure, and gamma = 0.01 taken literally.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.engine import initial
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.decades import Course, courses, stretch_tasks
from pyrank.experiments.claims import Claim, at_most, between, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import DANESHMAND
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.reference.spectral import singular_values
from pyrank.specs.chain import Chain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = DANESHMAND.at("Fig. 3b")
PUBLISHED = 1.0
"""The gamma of the figure, by its script."""
SHOWN = (1, 2, 10)
START = "collinear(1e-5)"


@dataclass(frozen=True)
class Settings:
    """How deep the chains of each gamma go, how wide and how many they are."""

    depths: tuple[tuple[float, int], ...]
    chains: int
    width: int = 50
    seed: int = 0

    def chain(self, gamma: float) -> Chain:
        """Return the law of the chains of one gamma."""
        return Chain(self.width, gamma=gamma, dtype="float64")


PRESETS = {
    "quick": Settings(depths=((1.0, 1000), (0.01, 5000)), chains=32),
    "paper": Settings(depths=((1.0, 10_000), (0.01, 100_000)), chains=256),
}


def tasks(settings: Settings) -> list[Simulation]:
    """Return the stretches of each gamma."""
    options = {"chains": settings.chains, "seed": settings.seed, "initial": START,
               "measures": (f"singular_values({max(SHOWN)})",)}  # fmt: skip
    stretches = [stretch_tasks(f"gamma={g:g}", settings.chain(g), depth, options) for g, depth in settings.depths]
    return [task for some in stretches for task in some]


def analyse(settings: Settings, runs: Sequence[Run]) -> dict[float, Course]:
    """Return eigenvalues and their logarithms for each gamma, from depth 0 on."""
    measures = {f"{k}": f"singular_values({max(SHOWN)})[{k - 1}]" for k in SHOWN}
    found = {}
    for (gamma, _), course in zip(settings.depths, courses(runs, measures), strict=True):
        chain = settings.chain(gamma)
        start = singular_values(initial.state(START, chain, settings.chains, settings.seed, torch.float64)).numpy()
        values = {}
        for k in SHOWN:
            sigma = np.concatenate([start[:, k - 1 : k], course.values[f"{k}"]], axis=1)
            values[f"lambda_{k}"] = sigma**2 / chain.batch
            values[f"log10 lambda_{k}"] = np.log10(values[f"lambda_{k}"])
        found[gamma] = Course(np.append(0, course.depths), values)
    return found


COLUMNS = (
    Column("gamma", "gamma", "g"),
    Column("chains", "chains"),
    Column("depth", "layers"),
    Column("log10_lambda_2_start", "log10 lambda_2 of H_0", ".2f"),
    Column("lambda_2_passage", "layer of lambda_2 >= 1", error="lambda_2_passage_error", meaning="the first recorded"),
    Column("lambda_2_passage_error"),
    *(
        column
        for k in SHOWN
        for column in (
            Column(f"lambda_{k}_late", f"late lambda_{k}", error=f"lambda_{k}_late_error"),
            Column(f"lambda_{k}_late_error"),
        )
    ),
)


def rows(settings: Settings, data: Mapping[float, Course]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each gamma."""
    for gamma, course in data.items():
        last = int(course.depths[-1])
        means = {f"lambda_{k}_late": course.over(f"lambda_{k}", last // 2, last) for k in SHOWN}
        means["lambda_2_passage"] = passage(course)
        intervals = {name: mean_interval(samples) for name, samples in means.items()}
        yield {
            "gamma": gamma,
            "chains": settings.chains,
            "depth": last,
            "log10_lambda_2_start": float(course.over("log10 lambda_2", 0, 0).mean()),
            **{name: float(mean) for name, (mean, _) in intervals.items()},
            **{f"{name}_error": float(half_width) for name, (_, half_width) in intervals.items()},
        }


def passage(course: Course) -> NDArray[np.float64]:
    """Return the first recorded depth of each chain with lambda_2 >= 1, or NaN."""
    above = course.values["lambda_2"] >= 1.0
    return np.where(above.any(axis=1), course.depths[above.argmax(axis=1)], np.nan)


def claims(found: Found) -> list[Claim]:
    """Return what the figure shows, for its gamma and for the other one, and where it starts."""
    return [
        *(claim for gamma, course in found.data.items() for claim in _amplification(gamma, course)),
        *_start(found),
    ]


def _amplification(gamma: float, course: Course) -> Iterable[Claim]:
    at_20, at_100 = (f"{course.over('lambda_1', layer, layer).mean():.1f} at layer {layer}" for layer in (20, 100))
    amplifies, reduces = "BN quickly amplifies smaller variations in the data", "while reducing the largest one"
    readings = (
        (f"{amplifies}: lambda_2", "lambda_2 passes 1 by layer 7", passage(course), at_most(7.0),
         "mean over chains of the first recorded layer with lambda_2 >= 1"),
        (f"{amplifies}: lambda_10", "log10 lambda_10 from layer 80 to 100", course.over("log10 lambda_10", 80, 100),
         between(-1.0, 0.0), ""),
        (f"{amplifies} {reduces}: lambda_1", "lambda_1 from layer 20 to 100", course.over("lambda_1", 20, 100),
         between(10.0, 15.0), f"means over chains: {at_20}, {at_100}"),
    )  # fmt: skip
    for statement, quantity, samples, wanted, note in readings:
        if gamma == PUBLISHED:
            reading = f"{quantity}, as in the figure"
            yield published(statement, FIGURE, Interval.mean(samples), wanted, reading=reading, note=note)
        else:
            script = f"{FIGURE}, the gamma of its script without the factor 100 on W"
            yield extension(f"{quantity}, gamma = {gamma:g}", script, Interval.mean(samples), wanted, note=note)


def _start(found: Found) -> Iterable[Claim]:
    width, courses = found.settings.width, list(found.data.values())
    second = Interval.mean(courses[0].over("log10 lambda_2", 0, 0))
    yield extension("log10 lambda_2 of H_0, to an order of magnitude", FIGURE, second, close_to(-10.0, 1.0))
    first = [Interval.mean(course.over("lambda_1", 1, 1)) for course in courses]
    yield extension(
        "lambda_1 after the first layer",
        FIGURE,
        min(first, key=lambda interval: interval.value),
        close_to(width, 0.5),
        note=f"the smaller of gamma = {', '.join(f'{gamma:g}' for gamma in found.data)}",
    )


def panels(found: Found) -> list[Panel]:
    """Return a panel for each gamma."""
    look = {"xscale": "log", "yscale": "log", "xlabel": "depth (layers)"}
    return [
        Panel(partial(draw, gamma=gamma), title=rf"$\gamma$ = {plotting.symbol(gamma)}",
              ylabel="" if number else r"eigenvalue of $M = HH^T/N$", **look)
        for number, gamma in enumerate(found.data)
    ]  # fmt: skip


def draw(axes: Axes, found: Found, gamma: float) -> None:
    """Draw eigenvalues against depth, and what the published figure shows."""
    course: Course = found.data[gamma]
    some = course.log_spaced()
    for number, k in enumerate(SHOWN):
        low, middle, high = np.quantile(course.values[f"lambda_{k}"][:, some], (0.05, 0.5, 0.95), axis=0)
        plotting.band(axes, course.depths[some], middle, low, high, number, rf"$\lambda_{{{k}}}$")
    for layers, bottom, top in (((20, 100), 10, 15), ((80, 100), 0.1, 1)):
        axes.fill_between(layers, bottom, top, facecolor="none", edgecolor="black", linewidth=1.2, zorder=5)
    label = "read off the published figure (star, boxes)"
    axes.plot([7], [1], "*", color="black", markersize=9, zorder=5, label=label)


def caption(found: Found) -> str:
    """Say what is shown."""
    return (
        f"d = N = {found.settings.width}, H_0 = {START}, gaussian W, rescaling only, float64. Lines: median of "
        f"{found.settings.chains} chains at a depth; bands: 5 to 95 % of them. Star: where the published lambda_2 has "
        "passed 1 (layer 7); boxes: the published lambda_1 from layer 20 and lambda_10 at layers 80 to 100. The "
        "published script has gamma = 0.01 with W scaled by 100, which is gamma = 1."
    )


def _medians(found: Found) -> list[dict[str, object]]:
    names = [f"lambda_{k}" for k in SHOWN]
    return [
        {"gamma": gamma, "depth": course.depths, **{name: np.median(course.values[name], axis=0) for name in names}}
        for gamma, course in found.data.items()
    ]


EXPERIMENT = Experiment(
    name="spectrum-amplification",
    question="How does batch normalisation lift the spectrum of an almost collinear batch?",
    sources=(FIGURE,),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note="Means over chains, ± half of the 95 % interval (Student); late: also over the second half of the layers.",
    claims=claims,
    sheet=Sheet("Spectrum of an almost collinear batch under linear batch normalisation", panels,
                options={"sharey": True}),
    caption=caption,
    more=lambda found: {"medians": _medians(found)},
)  # fmt: skip
