"""Linear and ReLU networks, normalised or not, and three kinds of rank of their states at increasing depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrank.engine.run import Run
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments.chains.decades import joined, recorded_depths
from pyrank.reference.spectral import singular_values
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure

TAU = 0.5
NORMALIZATIONS = {"none": "vanilla", "rescale": "BN (rescale)", "batch": "BN (recentre, rescale)"}


def soft_rank_at_trace_d(H: Tensor) -> Tensor:
    """Return rank_tau of each state (chains, d, N), brought to Tr M = d: eigenvalues of M as shares of their sum."""
    eigenvalues = singular_values(H).square()
    return (H.shape[-2] * eigenvalues >= TAU * eigenvalues.sum(dim=-1, keepdim=True)).sum(dim=-1)


MEASURES = {
    "numerical rank": Measure("numerical_rank"),
    f"rank_{TAU:g}": Measure("soft_rank_at_trace_d", function=soft_rank_at_trace_d),
    "r": Measure("participation_ratio"),
}


@dataclass(frozen=True)
class Network:
    """One curve of the figure."""

    width: int
    activation: str
    normalization: str
    weights: str
    dtype: str

    @property
    def chain(self) -> Chain:
        """Its law."""
        return Chain(
            self.width, weights=self.weights, activation=self.activation, normalization=self.normalization,
            dtype=self.dtype,
        )  # fmt: skip

    @property
    def tolerance(self) -> float:
        """Share of sigma_max above which a singular value counts for the numerical rank."""
        return self.width * float(np.finfo(self.dtype).eps)

    def __str__(self) -> str:
        return ",".join((f"d={self.width}", *list(asdict(self).values())[1:]))


def networks(width: int) -> tuple[Network, ...]:
    """Return the curves of the figure for a width, and a gaussian linear network in both precisions."""
    published = [
        Network(width, activation, normalization, "uniform", dtype)
        for activation, normalization, dtype in product(("linear", "relu"), NORMALIZATIONS, ("float64", "float32"))
    ]
    return (*published, *(Network(width, "linear", "rescale", "gaussian", dtype) for dtype in ("float64", "float32")))


@dataclass(frozen=True)
class Curve:
    """What was measured on one network: values (chains, depths) by measure."""

    network: Network
    depths: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    degenerate_rows: int
    flags: str

    @cached_property
    def late(self) -> NDArray[np.bool_]:
        """Which depths belong to the last decade."""
        return np.asarray(self.depths > self.depths[-1] / 10)

    @property
    def late_layers(self) -> str:
        """Those depths in words."""
        return f"layers {self.depths[self.late][0]:,} to {self.depths[-1]:,}"

    def at_the_end(self, measure: str) -> tuple[float, float]:
        """Return mean and half-width of the 95 % interval over runs, each averaged over the last decade of depths."""
        middle, half_width = mean_interval(self.values[measure][:, self.late].mean(axis=1))
        return float(middle), float(half_width)

    def at(self, depth: int, measure: str) -> float:
        """Return the mean over runs at the recorded depth next to ``depth``."""
        return float(self.values[measure][:, np.abs(self.depths - depth).argmin()].mean())

    def points(self) -> dict[str, object]:
        """Return means and half-widths of 95 % intervals over runs at each depth, ready for JSON."""
        means = {name: mean_interval(values) for name, values in self.values.items()}
        return {
            "network": str(self.network),
            "depth": self.depths,
            "mean": {name: mean for name, (mean, _) in means.items()},
            "half_width": {name: half_width for name, (_, half_width) in means.items()},
        }


def measured(network: Network, runs: Sequence[Run]) -> Curve:
    """Return the curve of a network from the runs of its stretches, see `stretch_jobs`."""
    last = runs[-1]
    return Curve(
        network=network,
        depths=recorded_depths(last.depth),
        values={name: joined(runs, measure) for name, measure in MEASURES.items()},
        degenerate_rows=int(last.events["degenerate_rows"].sum()),
        flags="; ".join(dict.fromkeys(flag for estimate in last.values() for flag in estimate.flags)),
    )
