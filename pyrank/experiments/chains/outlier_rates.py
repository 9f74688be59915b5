"""How fast a disturbed cluster widens or narrows: measures, columns and questions of the experiment outlier-stability.

Distances in a cluster in one point grow by `pyrank.theory.cluster_multiplier` per layer under RC + ReLU, which tends to
1 like 1 + 1 / N; deviations from the escaped state shrink by `pyrank.theory.escaped_multiplier`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank.engine.run import Run
from pyrank.estimate.intervals import Interval, mean_interval
from pyrank.experiments.chains.outlier_starts import Start
from pyrank.experiments.chains.over_chains import mean_columns, trace
from pyrank.experiments.claims import Claim, at_most, close_to, extension
from pyrank.experiments.tables import Column, Row
from pyrank.theory import cluster_multiplier, escaped_multiplier

Floats = NDArray[np.float64]
Runs = Mapping[Start, Run]

GROWTH, DECAY = (1, 21), (5, 41)
"""Layers between which the two rates are measured: growth before the cluster is wide, decay after the first layers.
Both are recorded if every second or fourth layer is."""
SMALL = 0.01
"""Noise up to which the growth is that of infinitesimal distances, to the margin below."""
MARGIN = 0.01
"""What a measured multiplier may be off."""


def cluster_spread(features: Tensor) -> Tensor:
    """Return the spread of all samples but the last; (chains,).

    That is the root of the mean squared distance from their mean, over their mean squared length.
    """
    cluster = features[..., :-1]
    distances = cluster - cluster.mean(dim=-1, keepdim=True)
    spread: Tensor = torch.linalg.matrix_norm(distances) / torch.linalg.matrix_norm(cluster)
    return spread


def last_length(features: Tensor) -> Tensor:
    """Return the length of the last sample over (N - 1) times the median of the others; (chains,)."""
    lengths = torch.linalg.vector_norm(features, dim=-2)
    units = lengths[..., -1] / lengths[..., :-1].quantile(0.5, dim=-1) / (features.shape[-1] - 1)
    return torch.as_tensor(units)


def deviation(start: Start, runs: Runs) -> Floats:
    """Return how far the spread of each chain is from that of the undisturbed one with the same weights."""
    wider, undisturbed = (trace(runs[each], "cluster_spread") for each in (start, Start(start.batch, "wider", 0.0)))
    return np.abs(wider - undisturbed)


def multiplier(start: Start, runs: Runs, every: int) -> dict[str, float]:
    """Return a multiplier per layer, its half width, and that of infinite width; NaN where none is to be measured."""
    found, exact = (math.nan, math.nan), math.nan
    if start.kind == "noise" and start.size <= SMALL and start.normalization == "recentre":
        found, exact = rate(trace(runs[start], "cluster_spread"), every, GROWTH), float(cluster_multiplier(start.batch))
    if start.kind == "wider" and start.size:
        found, exact = rate(deviation(start, runs), every, DECAY), escaped_multiplier(start.batch)
    return {"multiplier": found[0], "multiplier_half_width": found[1], "multiplier_exact": exact}


def columns() -> Iterable[Column]:
    """Yield the columns of a `multiplier`."""
    meaning = "per layer: of the spread, layers {} to {}, or of its deviation from an undisturbed run, layers {} to {}"
    yield from mean_columns("multiplier", "multiplier", meaning.format(*GROWTH, *DECAY))
    yield Column("multiplier_exact", "exact", ".4f", meaning="multiplier of infinite width")


def measured(row: Row) -> Interval:
    """Return the multiplier of a row."""
    return Interval.around(row.multiplier, row.multiplier_half_width)


def questions(growing: Sequence[Row], shrinking: Sequence[Row]) -> Iterable[Claim]:
    """Hold multipliers against those of infinite width, where they differ most, and against 1."""
    grow, shrink = "distances in a cluster in one point grow", "deviations from the escaped state shrink"
    for what, source, rows in ((grow, "cluster_multiplier", growing), (shrink, "escaped_multiplier", shrinking)):
        worst = max(rows, key=lambda row: abs(float(row.multiplier - row.multiplier_exact)))
        statement = f"{what} by this factor per layer; the largest difference is at N = {worst.batch}"
        yield extension(statement, f"pyrank.theory.{source}", measured(worst), close_to(worst.multiplier_exact, MARGIN))
    least = min(growing, key=lambda row: float(row.multiplier))
    yield extension(
        "a cluster in one point is stable: distances within it shrink, factor per layer",
        "pyrank.theory.cluster_multiplier",
        measured(least),
        at_most(1.0),
        note=f"the smallest factor, at N = {least.batch}; it tends to 1 like 1 + 1 / N",
    )


def rate(values: Floats, every: int, window: tuple[int, int]) -> tuple[float, float]:
    """Return the factor per layer between two layers, geometric mean over chains, and its half width."""
    first, last = (min(-(-(layer - 1) // every), values.shape[1] - 1) for layer in window)
    exponent, half_width = mean_interval(np.log(values[:, last] / values[:, first]) / (every * (last - first)))
    return math.exp(exponent), math.exp(exponent) * float(half_width)
