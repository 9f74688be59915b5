"""Does one sample leave the batch when a ReLU network recentres without rescaling? In every run, but for small N.

Ido Nachum, Marco Bondaschi, Michael Gastpar, Anatoly Khina: "Batch Normalization Decomposed", 2024, arXiv:2412.02843.
Figure 3.

A layer is ``H' = Normalise(W F(H))`` with gaussian W and F = ReLU; the normalisation recentres only (RC), or recentres
and rescales (RC + RS). Everything is looked at after the activation, at F(H). Some sample always lies furthest from the
others, so an escape needs a definition: the median angle of that sample to the others is above 85 degrees, and it is
more than (N - 1) / 2 times as long as the median of the others. Angles without an escape are those of the symmetric
state, at most 76 degrees for N >= 8, and its lengths are equal, so that the definition leaves room on both sides.

Reported are the share of chains that escaped, with its exact binomial interval, and what the escaped sample looks like:
its angle to the others against 90 degrees, its length against N - 1 times that of the others, and the angle within the
cluster that it left, all of which are known for layers of infinite width (`pyrank.theory.escaped_gram`: the cluster is
not a point). The symmetric state is stable too for infinite width: it takes the fluctuations of a finite width to leave
it, so that the share depends on N and d. W F is drawn by the law "gram", which is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank import plotting, theory
from pyrank.engine.run import Run
from pyrank.estimate.intervals import mean_interval, share_interval
from pyrank.experiments import Claim, Result, at_least, at_most, close_to, publish
from pyrank.experiments.running import Job, run_all
from pyrank.experiments.shares import share_claim
from pyrank.reference.geometry import outlier, pairwise_angles
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, text_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

NAME = "escaped-outlier"
PAPER = "Nachum et al. 2024"
NORMALIZATIONS = {"recentre": "RC", "batch": "RC + RS"}
ESCAPE_ANGLE, ESCAPE_LENGTH = 85.0, 0.5
"""Least angle, in degrees, and least length, in units of N - 1 times that of the others, of an escaped sample."""
NONE_SHARE = 0.05
"""Share of chains below which "no escape" stands."""
SHARP = 0.5
"""Degrees within which a measured angle must be that of infinite width, or a right one."""
LENGTH = 0.05
"""Part by which a measured length may differ from the expected one."""
JUDGED = 2
"""How many of the first cases have claims on what the escaped sample looks like; the table has all."""
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
        chains=80,
        every=10,
    ),
    "paper": Settings(
        (
            *(Case(20, width, 600) for width in (400, 100, 1600, 6400)),
            *(Case(64, width, 600) for width in (200, 800, 1600)),
            *(Case(8, width, 600) for width in (100, 400, 1600, 6400)),
        ),
        chains=200,
        every=10,
    ),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: how many chains escaped, with the 95 % interval of the share, and means over those.

    ``length`` is that of the outlier in units of N - 1 times the median of the others, ``angle`` its median angle to
    them, and ``cluster`` the mean angle between the others, in degrees, each with the half width of its 95 % interval;
    NaN where fewer than two chains escaped. ``length_5`` to ``length_95`` are quantiles over all chains, in per cent.
    """

    batch: int
    width: int
    depth: int
    normalization: str
    chains: int
    escaped: int
    share_low: float
    share_high: float
    length: float
    length_half_width: float
    angle: float
    angle_half_width: float
    cluster: float
    cluster_half_width: float
    length_5: float
    length_50: float
    length_95: float

    @property
    def case(self) -> Case:
        """What was run."""
        return Case(self.batch, self.width, self.depth)


@dataclass(frozen=True)
class Ends:
    """The last layer of every chain, each of shape (chains,); the fields are those of `Row`."""

    index: NDArray[np.int64]
    length: Floats
    angle: Floats
    cluster: Floats

    @classmethod
    def of(cls, state: Tensor) -> Ends:
        """Look at the activations of states (chains, d, N)."""
        features = torch.relu(state.double())
        batch = features.shape[-1]
        index, ratio, angle = outlier(features)
        own = torch.nn.functional.one_hot(index.clamp(min=0), batch).bool()
        others = ~(own.unsqueeze(-1) | own.unsqueeze(-2) | torch.eye(batch, dtype=torch.bool))
        cluster = pairwise_angles(features).masked_fill(~others, math.nan).flatten(-2).nanmean(dim=-1)
        return cls(index.numpy(), ratio.numpy() / (batch - 1), angle.numpy(), cluster.numpy())

    @property
    def escaped(self) -> NDArray[np.bool_]:
        """Whether a sample escaped."""
        return (self.angle > ESCAPE_ANGLE) & (self.length > ESCAPE_LENGTH)


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    jobs = [_job(settings, case, normalization) for case in settings.cases for normalization in NORMALIZATIONS]
    *runs, shown = run_all([*jobs, _shown_job(settings)], out, device=device, progress=progress)
    ends = [Ends.of(run.state) for run in runs]
    rows = [_row(run, end) for run, end in zip(runs, ends, strict=True)]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=_judge(rows),
        figure=_figure(runs, ends, shown, settings, caption),
        caption=caption,
        data={
            "lengths": [end.length for end in ends],
            "angles": [end.angle for end in ends],
            "runs": [run.to_dict() for run in runs],
        },
    )


def _job(settings: Settings, case: Case, normalization: str) -> Job:
    number = 2 * settings.cases.index(case) + list(NORMALIZATIONS).index(normalization)
    return Job(
        name=f"{normalization},N={case.batch},d={case.width}",
        chain=_chain(case, normalization),
        depth=case.depth,
        options={
            "chains": settings.chains,
            "seed": settings.seed + number,
            "measures": ["outlier_angle", "outlier_ratio"] if case == settings.cases[0] else [],
            "observe": "activation",
            "every": settings.every,
            "trace": 4096,
        },
        cost=case.depth * case.batch * case.width * (case.batch + 50.0),
    )


def _shown_job(settings: Settings) -> Job:
    """Run the first chain of the first case again, for the angles of all pairs at its last two layers."""
    job = _job(settings, settings.cases[0], "recentre")
    last = {"chains": 1, "measures": ["pairwise_angles"], "every": 1, "burn_in": job.depth - 2, "trace": 2}
    return Job("shown", job.chain, job.depth, {**job.options, **last}, job.cost / settings.chains)


def _chain(case: Case, normalization: str) -> Chain:
    return Chain(case.width, case.batch, weights="gram", activation="relu", normalization=normalization)


def _row(run: Run, end: Ends) -> Row:
    chain, escaped = run.plan.chain, int(end.escaped.sum())
    means = [_mean(values[end.escaped]) for values in (end.length, end.angle, end.cluster)]
    return Row(
        chain.batch,
        chain.width,
        run.depth,
        "batch" if chain.normalization.rescale else "recentre",
        run.plan.chains,
        escaped,
        *share_interval(escaped, run.plan.chains),
        *(number for pair in means for number in pair),
        *map(float, np.quantile(end.length, (0.05, 0.5, 0.95))),
    )


def _mean(values: Floats) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % interval, if there are two values."""
    if len(values) < 2:
        return math.nan, math.nan
    mean, half_width = mean_interval(values)
    return float(mean), float(half_width)


def _judge(rows: Sequence[Row]) -> tuple[Claim, ...]:
    recentred = [row for row in rows if row.normalization == "recentre"]
    rescaled = [row for row in rows if row.normalization == "batch"]
    claims = [
        share_claim(
            f"RC + ReLU: one sample escapes in most chains, {row.case}", f"{PAPER}, Fig. 3", (row.escaped, row.chains),
            at_least, 0.5, "the share depends on N, d and depth",
        )
        for row in recentred
    ]  # fmt: skip
    counted = sum(row.escaped for row in rescaled), sum(row.chains for row in rescaled)
    claims.append(
        share_claim(
            "RC + RS + ReLU: no sample escapes", "symmetric fixed point, pyrank.theory", counted, at_most, NONE_SHARE,
            "chains of all cases",
        )
    )  # fmt: skip
    return (*claims, *(claim for row in recentred[:JUDGED] for claim in _shape(row)))


def _shape(row: Row) -> list[Claim]:
    """Judge what the escaped sample looks like."""
    exact_length, exact_angle, exact_cluster = _exact(row.batch)
    wanted = (
        ("its angle to the others tends to 90 degrees", f"{PAPER}, Fig. 3", row.angle, row.angle_half_width, 90.0,
         SHARP, f"degrees; infinite width: {exact_angle:.2f}"),
        ("its length tends to N - 1 times that of the others", "closed form, pyrank.theory.outlier_gram",
         row.length, row.length_half_width, 1.0, LENGTH, f"in units of N - 1; infinite width: {exact_length:.3f}"),
        ("its length is that of infinite width", "closed form, pyrank.theory.escaped_gram", row.length,
         row.length_half_width, exact_length, LENGTH, f"in units of N - 1; exact: {exact_length:.3f}"),
        ("the others converge to a single cluster: angle 0 between them", f"{PAPER}, abstract", row.cluster,
         row.cluster_half_width, 0.0, SHARP, f"degrees; cluster read as a point; infinite width: {exact_cluster:.2f}"),
    )  # fmt: skip
    return [
        Claim(
            statement=f"RC + ReLU, escaped sample: {what}, {row.case}",
            source=source,
            value=value,
            error=half_width,
            verdict=close_to(value - half_width, value + half_width, expected, margin),
            note=f"mean over {row.escaped} escaped chains; counts as equal: within {margin:g}; {note}",
        )
        for what, source, value, half_width, expected, margin, note in wanted
    ]


def _exact(batch: int) -> tuple[float, float, float]:
    """Return length / (N - 1), angle and angle within the cluster of the outlier state of infinite width."""
    gram = theory.escaped_gram(batch)
    length = math.sqrt(gram[-1, -1])
    angle, cluster = theory.angle_degrees([gram[0, -1] / length, gram[0, 1]])
    return length / (batch - 1), float(angle), float(cluster)


def _table(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        exact = [f"{value:.3f}" for value in _exact(row.batch)] if row.normalization == "recentre" else ["-"] * 3
        means = (
            (row.length, row.length_half_width), (row.angle, row.angle_half_width),
            (row.cluster, row.cluster_half_width),
        )  # fmt: skip
        written = [plus_minus(*pair) if row.escaped > 1 else "-" for pair in means]
        columns = [cell for pair in zip(written, exact, strict=True) for cell in pair]
        lines.append(
            (f"{row.batch}", f"{row.width:,}", f"{row.depth}", f"{row.escaped}/{row.chains}",
             f"{row.share_low:.3f}-{row.share_high:.3f}", *columns,
             f"{row.length_5:.2f} {row.length_50:.2f} {row.length_95:.2f}", NORMALIZATIONS[row.normalization])
        )  # fmt: skip
    head = ("N", "width d", "layers", "escaped", "share, 95 %", "length/(N-1)", "exact", "angle", "exact", "cluster",
            "exact", "length/(N-1): 5, 50, 95 %", "normalisation")  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        f"Escaped: median angle to the others > {ESCAPE_ANGLE:g} degrees, length > {ESCAPE_LENGTH:g} (N - 1) times",
        "their median, at the last layer after the activation. Length, angle, cluster (angle between the others):",
        "means over the escaped chains in degrees, ± half of the 95 % interval; exact: infinite width.",
        "Last but one column: quantiles over all chains.",
    ])  # fmt: skip


def _figure(runs: Sequence[Run], ends: Sequence[Ends], shown: Run, settings: Settings, caption: str) -> Figure:
    figure, (plane, pairs, lengths, depths) = plotting.sheet(
        title="Recentring and ReLU without rescaling: one sample escapes", caption=caption, rows=2, columns=2,
        size=(10, 8.5),
    )  # fmt: skip
    _draw_projection(plane, runs[0], int(ends[0].index[0]), settings.seed)
    _draw_pairs(pairs, shown, int(ends[0].index[0]))
    bins = np.linspace(0, 1.05 * max(end.length.max() for end in ends[:2]), 40)
    for number, (name, end) in enumerate(zip(NORMALIZATIONS.values(), ends[:2], strict=True)):
        lengths.hist(end.length, bins=list(bins), color=plotting.colour(number), alpha=0.8, label=f"{name} + ReLU")
        trace = runs[number]["outlier_angle"].trace
        assert trace is not None
        layers = 1 + settings.every * np.arange(trace.shape[1])
        for path in trace[:PATHS]:
            plotting.curve(depths, layers, path, number)
    lengths.axvline(_exact(settings.cases[0].batch)[0], color="black", linewidth=1, label="exact, infinite width")
    lengths.set_xlabel("length of the outlier / (N - 1)")
    lengths.set_ylabel("chains")
    plotting.guide(depths, [0, settings.cases[0].depth], [ESCAPE_ANGLE] * 2)
    depths.set_xlabel("layer")
    depths.set_ylabel("angle of the outlier (degrees)")
    plotting.legend(figure)
    return figure


def _draw_projection(axes: Axes, run: Run, odd: int, seed: int) -> None:
    """Draw the first chain's last layer in a random plane, in units of the median length of its samples."""
    features = torch.relu(run.state[0].double()).numpy()
    plane = np.random.default_rng(seed).normal(size=(2, len(features)))
    x, y = plane @ features / np.median(np.linalg.norm(features, axis=0))
    axes.plot(np.delete(x, odd), np.delete(y, odd), plotting.marker(0), color=plotting.colour(0), markersize=5,
              alpha=0.7)  # fmt: skip
    axes.plot(x[odd], y[odd], "*", color=plotting.colour(2), markersize=15, label="the outlier")
    axes.set_xlabel("projection on a random vector")
    axes.set_ylabel("projection on another")


def _draw_pairs(axes: Axes, shown: Run, odd: int) -> None:
    """Draw the angle of each pair of the first chain before and after its last layer."""
    batch = shown.plan.chain.batch
    first, second = np.triu_indices(batch, 1)
    before, after = np.transpose([shown[f"pairwise_angles[{i}]"].batch_means[0] for i in range(len(first))])
    with_it = (first == odd) | (second == odd)
    for number, chosen, label in ((0, ~with_it, "pairs without"), (2, with_it, "pairs with the outlier")):
        axes.plot(before[chosen], after[chosen], plotting.marker(number), color=plotting.colour(number), markersize=4,
                  alpha=0.7, label=label)  # fmt: skip
    plotting.guide(axes, [0, 90], [0, 90])
    axes.set_xlabel(f"angle after layer {shown.depth - 1} (degrees)")
    axes.set_ylabel(f"angle after layer {shown.depth} (degrees)")


def _caption(settings: Settings) -> str:
    return (
        f"After {PAPER}, Fig. 3. H' = Normalise(W ReLU(H)), gaussian W, {settings.cases[0]}, looked at after the "
        f"activation. Above, one chain of RC + ReLU: its last layer, in units of the median length of a sample, "
        f"projected on two random gaussian vectors; and the angle of each pair before and after the last layer. Below, "
        f"{settings.chains} chains: length of the sample that lies furthest from the others over their median length, "
        f"and its median angle to them in the first {PATHS} chains (grey: the least angle of an escape). Seeds "
        f"{settings.seed} to {settings.seed + 2 * len(settings.cases) - 1}."
    )
