"""The one-dimensional model of recentring and ReLU: a batch is n numbers, and a layer has one weight.

Only the sign of the weight matters, so that a batch x has two children, the positive one ``ReLU(x - mean x)`` and the
negative one ``ReLU(mean x - x)``: a binary tree. A scale means nothing along one path, so that batches are kept there
as integers without a common divisor and every transformation is exact: two points have collapsed when they are equal,
and there is no tolerance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.experiments.chains.escape import Ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Batch = tuple[int, ...]
Floats = NDArray[np.float64]

GRID = 1 << 30
"""Gaussian numbers are rounded to multiples of 1 / GRID, so that a batch is made of integers."""


def root(rng: np.random.Generator, size: int) -> Batch:
    """Draw a gaussian batch."""
    return tuple(int(x) for x in np.rint(GRID * rng.normal(size=size)))


def child(batch: Batch, positive: bool) -> Batch:
    """Return ``ReLU(x - mean x)`` or ``ReLU(mean x - x)`` up to a positive factor, exactly."""
    sign = 1 if positive else -1
    size, total = sign * len(batch), sign * sum(batch)
    cut = [max(size * x - total, 0) for x in batch]
    return tuple(x // (math.gcd(*cut) or 1) for x in cut)


@dataclass(frozen=True)
class Walks:
    """Random paths.

    Attributes
    ----------
    distinct
        Distinct points at each depth, (paths, depth + 1).
    smallest
        Samples in the smallest cluster at the end, (paths,).
    zero
        Whether all samples are at 0 at the end, (paths,).
    """

    distinct: NDArray[np.int64]
    smallest: NDArray[np.int64]
    zero: NDArray[np.bool_]


def walk(size: int, paths: int, depth: int, seed: int) -> Walks:
    """Follow random paths from gaussian batches of one size; each sign is a fair coin."""
    rng = np.random.default_rng((seed, 0, size))
    distinct = np.zeros((paths, depth + 1), dtype=np.int64)
    smallest, zero = np.zeros(paths, dtype=np.int64), np.zeros(paths, dtype=bool)
    for path in range(paths):
        batch = root(rng, size)
        for layer in range(depth + 1):
            batch = child(batch, bool(rng.random() < 0.5)) if layer else batch
            distinct[path, layer:] = len(set(batch))
            if distinct[path, layer] <= 2:  # two clusters, one of them at 0, never change again
                break
        smallest[path], zero[path] = min(Counter(batch).values()), not any(batch)
    return Walks(distinct, smallest, zero)


def levels(batch: Floats, count: int) -> Iterator[Floats]:
    """Yield all nodes of level 1, 2, ... in their own scale; (2^level, n)."""
    nodes = batch[None]
    for _ in range(count):
        centred = nodes - nodes.mean(axis=1, keepdims=True)
        nodes = np.maximum(np.concatenate([centred, -centred]), 0.0)
        yield nodes


def outliers(size: int, batches: int, depth: int, seed: int) -> Floats:
    """Return length / (n - 1) and angle of the outlier at level 1, 2, ... of every batch; (2, batches, depth)."""
    rng = np.random.default_rng((seed, 1, size))
    found = []
    for _ in range(batches):
        ends = [Ends.of(torch.from_numpy(level)[None]) for level in levels(rng.normal(size=size), depth)]
        found.append([[end.length[0] for end in ends], [end.angle[0] for end in ends]])
    return np.swapaxes(found, 0, 1)


def draw(axes: Axes, batch: Batch, depth: int) -> None:
    """Draw a batch and its descendants, each on a number line of its own, with a tick at its mean."""
    nodes = [batch]
    for level in range(depth + 1):
        for place, node in enumerate(nodes):
            centre, reach = (place + 0.5) / len(nodes), 0.36 / len(nodes)
            _draw_node(axes, node, -level, centre, reach)
            for sign, side in (("+", -1), ("\N{MINUS SIGN}", 1)) if level < depth else ():
                end = centre + side / len(nodes) / 4
                axes.annotate("", (end, -level - 0.58), (centre, -level - 0.1),
                              arrowprops={"arrowstyle": "->", "color": "0.6"})  # fmt: skip
                axes.text((centre + end) / 2 + 0.015 * side, -level - 0.3, sign, ha="center", va="center", fontsize=12)
        nodes = [child(node, positive) for node in nodes for positive in (True, False)]
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(-depth - 0.3, 0.1))


def _draw_node(axes: Axes, batch: Batch, height: float, centre: float, reach: float) -> None:
    low, span = min(batch), max(batch) - min(batch)
    *at, mean = (centre + reach * (2 * (x - low) / span - 1) for x in (*batch, sum(batch) / len(batch)))
    axes.plot([centre - reach, centre + reach], [height] * 2, color="0.6", linewidth=1.0, zorder=1)
    axes.plot([mean] * 2, [height - 0.08, height + 0.08], color="0.3", linewidth=1.2, zorder=1)
    below: Counter[int] = Counter()
    for sample, x in enumerate(batch):
        axes.plot(at[sample], height + 0.075 * below[x], "o", color=plotting.colour(sample), markersize=6,
                  markeredgecolor="white", markeredgewidth=0.6, clip_on=False)  # fmt: skip
        below[x] += 1
