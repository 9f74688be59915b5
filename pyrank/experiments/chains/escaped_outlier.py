"""Does one sample leave the batch when a ReLU network recentres without rescaling? In every run, but for small N.

A layer is ``H' = Normalise(W F(H))`` with gaussian W and F = ReLU; the normalisation recentres only (RC), or recentres
and rescales (RC + RS). What counts as an escape is defined in `pyrank.experiments.chains.escape`.

Reported are the share of chains that escaped, with its exact binomial interval, and what the escaped sample looks like:
its angle to the others against 90 degrees, its length against N - 1 times that of the others, and the angle within the
cluster that it left, all of which are known for layers of infinite width (`pyrank.theory.escaped_shape`: the cluster is
not a point). The symmetric state is stable too for infinite width: it takes the fluctuations of a finite width to leave
it, so that the share depends on N and d.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyrank import plotting
from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval
from pyrank.experiments.chains.escape import DEFINITION, ESCAPE_ANGLE, NONE_SHARE, NORMALIZATIONS, Ends, relu_chain
from pyrank.experiments.chains.escaped_shape import RIGHT, shape, shape_columns, shape_questions, where
from pyrank.experiments.chains.over_chains import share, share_columns, trace
from pyrank.experiments.claims import Claim, Wanted, at_least, at_most, close_to, extension, published
from pyrank.experiments.declaration import Experiment, Found
from pyrank.experiments.papers import NACHUM
from pyrank.experiments.tables import Column, Row
from pyrank.experiments.tasks import Simulation
from pyrank.plotting import Panel, Sheet
from pyrank.theory import escaped_shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAR, NEAR = 10.0, 0.2
"""How many times as long as others a sample far away is at least; and the angles within a cluster, at most, as a part
of those to that sample."""
PATHS = 12
"""Chains drawn one by one."""


@dataclass(frozen=True)
class Case:
    """A batch, a width and a depth."""

    batch: int
    width: int
    depth: int

    def __str__(self) -> str:
        return f"N = {self.batch}, d = {self.width}, {self.depth} layers"


@dataclass(frozen=True)
class Settings:
    """Every case is run with and without rescaling; the first one is drawn, ``every`` so many layers."""

    cases: tuple[Case, ...]
    chains: int
    every: int
    seed: int = 0


PRESETS = {
    "quick": Settings(
        (Case(20, 400, 200), Case(64, 200, 300), Case(20, 1600, 200), Case(8, 400, 200), Case(8, 6400, 200)),
        chains=80, every=10,
    ),
    "paper": Settings(
        tuple(Case(batch, width, 600)
              for batch, widths in ((20, (400, 100, 1600, 6400)), (64, (200, 800, 1600)), (8, (100, 400, 1600, 6400)))
              for width in widths),
        chains=200, every=10,
    ),
}  # fmt: skip


def tasks(settings: Settings) -> list[Simulation]:
    """Return each case with and without rescaling, and last the first chain again, with all angles at its end."""
    found = [
        Simulation(
            name=f"{normalization},N={case.batch},d={case.width}",
            chain=relu_chain(case.width, case.batch, normalization),
            depth=case.depth,
            options={"chains": settings.chains, "seed": settings.seed + 2 * number + rescaled, "observe": "activation",
                     "measures": [] if number else ["outlier_angle", "outlier_ratio"],
                     "every": settings.every, "trace": 4096},
            cost=case.depth * case.batch * case.width * (case.batch + 50.0),
        )
        for number, case in enumerate(settings.cases)
        for rescaled, normalization in enumerate(NORMALIZATIONS)
    ]  # fmt: skip
    first = found[0]
    last = {"chains": 1, "measures": ["pairwise_angles"], "every": 1, "burn_in": first.depth - 2, "trace": 2}
    return [*found, replace(first, name="shown", options={**first.options, **last}, cost=first.cost / settings.chains)]


def analyse(settings: Settings, runs: Sequence[Run]) -> list[tuple[Run, Ends]]:
    """Look at the last layers."""
    return [(run, Ends.of(run.state)) for run in runs]


COLUMNS = (
    Column("batch", "N"),
    Column("width", "width d"),
    Column("depth", "layers"),
    *share_columns("escaped", "chains, at the last layer"),
    *shape_columns(),
    Column("", "5, 50, 95 %", lambda row: f"{row.length_5:.2f} {row.length_50:.2f} {row.length_95:.2f}",
           meaning="quantiles of length/(N-1) over all chains"),
    Column("length_5"), Column("length_50"), Column("length_95"),
    Column("normalization", "normalisation", lambda row: NORMALIZATIONS[row.normalization]),
)  # fmt: skip


def rows(settings: Settings, data: Sequence[tuple[Run, Ends]]) -> Iterable[Mapping[str, Any]]:
    """Return a line for each run: how many chains escaped, and means over those."""
    for run, ends in data[:-1]:
        chain = run.plan.chain
        yield {
            "batch": chain.batch, "width": chain.width, "depth": run.depth,
            "normalization": "batch" if chain.normalization.rescale else "recentre",
            **share("escaped", int(ends.escaped.sum()), run.plan.chains),
            **shape(ends),
            **{f"length_{percent}": float(np.quantile(ends.length, percent / 100)) for percent in (5, 50, 95)},
        }  # fmt: skip


def claims(found: Found) -> list[Claim]:
    """Return what is published, read for the largest batch, and what becomes of it at other sizes."""
    recentred, rescaled = (found.rows_by("normalization")[name] for name in NORMALIZATIONS)
    large = max(recentred, key=lambda row: int(row.batch))
    escaped, chains = (sum(getattr(row, name) for row in rescaled) for name in ("escaped", "chains"))
    how_many = "share of chains in which a sample escapes"
    return [
        *_published(large),
        *(extension(f"{how_many}, {where(row)}", NACHUM.at("Fig. 3"), Interval.share(row.escaped, row.chains),
                    at_least(0.5), note="only fluctuations leave the symmetric state; those of wide layers are smaller")
          for row in recentred if row is not large),
        extension(f"{how_many} with rescaling, all cases", "pyrank.theory.recentred_relu_multipliers",
                  Interval.share(escaped, chains), at_most(NONE_SHARE)),
        *shape_questions([row for row in recentred if row.escaped > 1]),
    ]  # fmt: skip


def _published(row: Row) -> list[Claim]:
    def claim(what: str, measured: Interval, wanted: Wanted, reading: str) -> Claim:
        large = f"in a large batch, as none is named ({where(row)}), {reading}"
        return published(f"RC + ReLU: {what}", NACHUM.at("abstract, Fig. 3"), measured, wanted, reading=large)

    scale, part = row.batch - 1, row.cluster / row.angle
    error = part * math.hypot(row.cluster_half_width / row.cluster, row.angle_half_width / row.angle)
    return [
        claim("an odd data point breaks away from the batch", Interval.share(row.escaped, row.chains), at_least(0.5),
              f"in most chains; {DEFINITION}"),
        claim("it breaks away in an orthogonal direction", Interval.around(row.angle, row.angle_half_width),
              close_to(90.0, RIGHT), "its median angle to the others is 90 degrees, in the mean over these chains"),
        claim("it breaks far away from the cluster", Interval.around(scale * row.length, scale * row.length_half_width),
              at_least(FAR), f"it is {FAR:g} times as long as the median of the others, or more"),
        claim("the other data points converge to a single cluster", Interval.around(part, error), at_most(NEAR),
              f"not to a point, but the mean angle between them is at most {NEAR:g} of that to the odd one"),
    ]  # fmt: skip


def draw_plane(axes: Axes, found: Found) -> None:
    """Draw the first chain's last layer in a random plane, in units of the median length of its samples."""
    run, ends = found.data[0]
    features, odd = torch.relu(run.state[0].double()).numpy(), ends.index[0]
    plane = np.random.default_rng(found.settings.seed).normal(size=(2, len(features)))
    x, y = plane @ features / np.median(np.linalg.norm(features, axis=0))
    axes.plot(np.delete(x, odd), np.delete(y, odd), plotting.marker(0), color=plotting.colour(0), markersize=5,
              alpha=0.7)  # fmt: skip
    axes.plot(x[odd], y[odd], "*", color=plotting.colour(2), markersize=15, label="the outlier")


def draw_pairs(axes: Axes, found: Found) -> None:
    """Draw the angle of each pair of the first chain before and after its last layer."""
    shown, odd = found.data[-1][0], found.data[-1][1].index[0]
    first, second = np.triu_indices(shown.plan.chain.batch, 1)
    before, after = np.transpose([shown[f"pairwise_angles[{i}]"].batch_means[0] for i in range(len(first))])
    with_it = (first == odd) | (second == odd)
    plotting.guide(axes, [0, 90], [0, 90])
    for number, chosen, label in ((0, ~with_it, "pairs without"), (2, with_it, "pairs with the outlier")):
        axes.plot(before[chosen], after[chosen], plotting.marker(number), color=plotting.colour(number), markersize=4,
                  alpha=0.7, label=label)  # fmt: skip
    axes.set(xlabel=f"angle after layer {shown.depth - 1} (degrees)", ylabel=f"after layer {shown.depth} (degrees)")


def draw_lengths(axes: Axes, found: Found) -> None:
    """Draw how long the outlier is in the chains of the first case."""
    ends = [ends for _, ends in found.data[: len(NORMALIZATIONS)]]
    bins = np.linspace(0, 1.05 * max(end.length.max() for end in ends), 40)
    for number, (name, end) in enumerate(zip(NORMALIZATIONS.values(), ends, strict=True)):
        axes.hist(end.length, bins=list(bins), color=plotting.colour(number), alpha=0.8, label=f"{name} + ReLU")
    exact = escaped_shape(found.settings.cases[0].batch).length
    axes.axvline(exact, color="black", linewidth=1, label="exact, infinite width")


def draw_depths(axes: Axes, found: Found) -> None:
    """Draw the angle of the outlier along some chains of the first case."""
    for number, (run, _) in enumerate(found.data[: len(NORMALIZATIONS)]):
        paths = trace(run, "outlier_angle")[:PATHS]
        layers = 1 + found.settings.every * np.arange(paths.shape[1])
        for path in paths:
            plotting.curve(axes, layers, path, number)
    plotting.guide(axes, [0, found.settings.cases[0].depth], [ESCAPE_ANGLE] * 2)


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    return (
        f"H' = Normalise(W ReLU(H)), gaussian W, {settings.cases[0]}, looked at after the activation. Above, one chain "
        "of RC + ReLU: its last layer, in units of the median length of a sample, projected on two random gaussian "
        f"vectors; and the angle of each pair before and after the last layer. Below, {settings.chains} chains: length "
        "of the sample that lies furthest from the others over their median length, and its median angle to them in "
        f"the first {PATHS} chains (grey: the least angle of an escape)."
    )


EXPERIMENT = Experiment(
    name="escaped-outlier",
    question="Does one sample leave the batch when a ReLU network recentres without rescaling?",
    sources=(NACHUM.at("abstract"), NACHUM.at("Fig. 3")),
    presets=PRESETS,
    tasks=tasks,
    analyse=analyse,
    columns=COLUMNS,
    rows=rows,
    note=f"± half of the 95 % interval, over the escaped chains; {DEFINITION}.",
    claims=claims,
    sheet=Sheet(
        "Recentring and ReLU without rescaling: one sample escapes",
        (
            Panel(draw_plane, xlabel="projection on a random vector", ylabel="projection on another"),
            Panel(draw_pairs),
            Panel(draw_lengths, xlabel="length of the outlier / (N - 1)", ylabel="chains"),
            Panel(draw_depths, xlabel="layer", ylabel="angle of the outlier (degrees)"),
        ),
        columns=2,
        size=(10, 8.5),
    ),
    caption=caption,
    more=lambda found: {
        "lengths": [ends.length for _, ends in found.data[:-1]],
        "angles": [ends.angle for _, ends in found.data[:-1]],
        "runs": [run.to_dict() for run, _ in found.data[:-1]],
    },
)
