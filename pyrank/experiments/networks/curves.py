"""How trainings are drawn: against epochs, and against depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyrank import plotting
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments.networks.rates import Chosen, over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike


def draw_epochs(
    axes: Axes, shown: Sequence[tuple[str, ArrayLike]], first: float = 1, step: float = 1.0, number: int = 0
) -> None:
    """Draw values (seeds, epochs) from epoch ``first`` on, and their means over seeds with intervals.

    ``step`` is the length of an epoch on the axis, ``number`` that of the first series. Seeds that diverged are no part
    of a mean; the legend counts them.
    """
    for series, (name, values) in enumerate(shown, start=number):
        seeds = np.asarray(values, dtype=float)
        whole = seeds[np.isfinite(seeds).all(axis=1)]
        gone = len(seeds) - len(whole)
        label = f"{name} ({gone} of {len(seeds)} diverged)" if gone else name
        middle, half = mean_interval(whole) if len(whole) > 1 else np.full((2, seeds.shape[1]), np.nan)
        at = step * (first + np.arange(len(middle)))
        plotting.each(axes, at, seeds, series)
        plotting.band(axes, at, middle, middle - half, middle + half, series, label)
    axes.locator_params(axis="x", integer=step == 1.0)


def draw_depths(axes: Axes, kinds: Sequence[str], found: Sequence[Chosen], name: str) -> None:
    """Draw the last value of an attribute against depth, for each kind, and all seeds."""
    for number, kind in enumerate(kinds):
        some = [each for each in found if each.trial.kind == kind]
        intervals = [over_seeds(each.end(name)) for each in some]
        depths = [each.trial.recipe.depth * 1.02 ** (number - 1) for each in some]
        plotting.each(axes, depths, np.transpose([each.end(name) for each in some]), number)
        plotting.points(axes, depths, [i.value for i in intervals], [i.error for i in intervals], number, kind)
