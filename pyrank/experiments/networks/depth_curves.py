"""Rank at initialisation and accuracy after training against depth: what two papers draw of different networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.declaration import Found, Table
from pyrank.experiments.networks import rates, reporting
from pyrank.experiments.networks.curves import draw_depths
from pyrank.experiments.networks.rates import Chosen, Trial, training_tasks
from pyrank.experiments.networks.recipes import Recipe, built, pictures
from pyrank.experiments.networks.reporting import trained_how
from pyrank.experiments.networks.trainings import FOOTNOTE, hidden_layers
from pyrank.experiments.tables import Column
from pyrank.experiments.tasks import Computation, Task
from pyrank.plotting import Panel
from pyrank.reference.measures import participation_ratio, soft_rank
from pyrank.reference.spectral import numerical_rank
from pyrank.support.ambient import one_thread
from pyrank.support.text import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKS = ("rank32", "rank64", "footnote64", "r", "soft")
"""What is measured of the last hidden layer, see `COLUMNS`."""
COLLAPSED = 15
"""Depth at which the published rank has come down to one."""


@dataclass(frozen=True)
class Settings(rates.Settings):
    """Trials, and depths and number of seeds for ranks at initialisation, which cost little."""

    depths: tuple[int, ...] = ()
    rank_seeds: int = 0

    @property
    def starts(self) -> dict[str, Recipe]:
        """A recipe of each kind, of the width of the paper, as deep as ranks are looked at."""
        recipes = {trial.kind: trial.recipe for trial in self.trials}
        return {kind: replace(recipe, width=128, depth=max(self.depths)) for kind, recipe in recipes.items()}


@dataclass(frozen=True)
class Data:
    """Ranks by kind, (seeds, depths, `RANKS`), and trainings."""

    ranks: Mapping[str, NDArray[np.float64]]
    trainings: Sequence[Chosen]

    def at(self, kind: str, depth: int, name: str, settings: Settings) -> NDArray[np.float64]:
        """Return a rank of all seeds."""
        return self.ranks[kind][:, settings.depths.index(depth), RANKS.index(name)]


def trials(kinds: Mapping[str, Recipe], depths: Sequence[int], grid: tuple[float, ...]) -> tuple[Trial, ...]:
    """Return a trial for each kind and depth, all with the same learning rates."""
    return tuple(Trial(kind, replace(recipe, depth=depth), grid) for kind, recipe in kinds.items() for depth in depths)


def ranks_by_depth(recipe: Recipe, depths: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Return `RANKS` of the last hidden layer for the first batch, (depths, 5); shallow networks begin deep ones."""
    with one_thread(), torch.no_grad():
        model, x = built(recipe, seed), pictures(recipe)[0][: recipe.batch]
        single, double = hidden_layers(model, x), hidden_layers(model.double(), x.double())
        found = []
        for depth in depths:
            h, H = single[depth - 1], double[depth - 1]
            footnote = FOOTNOTE * len(H)
            measured = (numerical_rank(h, footnote), numerical_rank(H), numerical_rank(H, footnote))
            found.append([each.item() for each in (*measured, participation_ratio(H), soft_rank(H, 0.5))])
        return np.array(found, dtype=float)


def tasks(settings: Settings) -> list[Task]:
    """Return the ranks of each kind and seed, and all trainings."""
    starts = [
        Computation(f"ranks,{kind},seed={seed}", ranks_by_depth,
                    {"recipe": recipe, "depths": settings.depths, "seed": seed}, 0.03 * len(settings.depths))
        for kind, recipe in settings.starts.items() for seed in range(settings.rank_seeds)
    ]  # fmt: skip
    return [*starts, *training_tasks(settings)]


def analyse(settings: Settings, results: Sequence[Any]) -> Data:
    """Return ranks by kind, and each training at its best rate."""
    count = settings.rank_seeds * len(settings.starts)
    ranks = np.array(results[:count]).reshape(len(settings.starts), settings.rank_seeds, len(settings.depths), -1)
    return Data(dict(zip(settings.starts, ranks, strict=True)), rates.chosen(settings, results[count:]))


COLUMNS = (
    Column("depth", "depth"),
    *(
        column
        for name, heading, meaning in (
            ("rank32", "rank, float32", "singular values above sigma_max d 1e-7 (the paper's footnote)"),
            ("rank64", "rank, float64", "in double precision, above sigma_max d 2.2e-16 (numpy's rule)"),
            ("footnote64", "float64, 1e-7", "in double precision, above the footnote's threshold"),
            ("r", "r", "participation ratio, float64"),
            ("soft", "rank_0.5", "eigenvalues of M above 0.5, float64"),
        )
        for column in (Column(name, heading, error=f"{name}_error", meaning=meaning), Column(f"{name}_error"))
    ),
    Column("kind", "kind"),
)


def rows(settings: Settings, data: Data) -> Iterable[dict[str, Any]]:
    """Return a line for each kind and depth."""
    for kind, ranks in data.ranks.items():
        for depth, middle, half in zip(settings.depths, *mean_interval(ranks), strict=True):
            errors = {f"{name}_error": float(value) for name, value in zip(RANKS, half, strict=True)}
            yield {"depth": depth, "kind": kind, **dict(zip(RANKS, middle.tolist(), strict=True)), **errors}


TRAININGS = Table("trainings", "Trainings:", reporting.COLUMNS,
                  lambda found: reporting.rows(found.settings, found.data.trainings), reporting.NOTE)  # fmt: skip


def accuracy(trainings: Sequence[Chosen], *, least: bool) -> Interval:
    """Return the smallest or the largest mean accuracy at the end."""
    found = [rates.over_seeds(each.end("accuracy")) for each in trainings]
    return (min if least else max)(found, key=lambda interval: interval.value)


def draw_ranks(axes: Axes, found: Found, name: str, dashed: str = "") -> None:
    """Draw a rank at initialisation against depth, and another one as a line, both with their intervals."""
    for number, kind in enumerate(found.data.ranks):
        some = found.rows_by("kind")[kind]
        depths, values = [row.depth for row in some], [getattr(row, name) for row in some]
        plotting.each(axes, depths, found.data.ranks[kind][:, :, RANKS.index(name)], number)
        plotting.points(axes, depths, values, [getattr(row, f"{name}_error") for row in some], number, kind)
        if dashed:
            line = [getattr(row, dashed) for row in some]
            axes.plot(depths, line, "--", color=plotting.colour(number), linewidth=1.2, label=f"{kind}, float64")


def panels() -> list[Panel]:
    """Return ranks, r, and accuracies."""
    look = {"xlabel": "hidden layers"}
    return [
        Panel(partial(draw_ranks, name="rank32", dashed="rank64"), title="numerical rank, float32 and float64",
              ylabel="last hidden layer, at initialisation", **look),
        Panel(partial(draw_ranks, name="r"), title="participation ratio r", yscale="log", **look),
        Panel(lambda axes, found: draw_depths(axes, list(found.data.ranks), found.data.trainings, "accuracy"),
              title="training accuracy", ylim=(0.0, 1.0), **look),
    ]  # fmt: skip


def caption(found: Found) -> str:
    """Say what is shown."""
    settings: Settings = found.settings
    widths = span(int(trial.recipe.width) for trial in settings.trials)
    plain = min((row for row in found.rows if row.kind == "no BN"), key=lambda row: abs(row.depth - COLLAPSED))
    return (
        f"ReLU MLPs. Left: numerical rank of the last hidden layer (128 features x {settings.trials[0].recipe.batch} "
        r"images), points in float32, above $\sigma_{max}\,d\,10^{-7}$ as in the paper's footnote, dashed in "
        r"float64, above $\sigma_{max}\,d\,2.2\cdot10^{-16}$: without BN, what is left at depth "
        f"{plain.depth} is {plain.rank32:.1f} in float32 and {plain.rank64:.1f} in float64. Middle: r of the same; "
        f"means of {settings.rank_seeds} seeds with 95 % intervals. Right, width {widths}: {trained_how(settings)}"
    )
