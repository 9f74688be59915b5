"""The curves of rank-vs-depth: networks, normalised or not, three kinds of rank of their states, and the drawing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrank import plotting, theory
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments.chains.decades import Course
from pyrank.experiments.declaration import Found
from pyrank.plotting import Panel
from pyrank.reference.spectral import singular_values
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAU = 0.5
NORMALIZATIONS = {"none": "vanilla", "rescale": "BN (rescale)", "batch": "BN (recentre, rescale)"}


def soft_rank_at_trace_d(H: Tensor) -> Tensor:
    """Return rank_tau of each state (chains, d, N), brought to Tr M = d: eigenvalues of M as shares of their sum."""
    eigenvalues = singular_values(H).square()
    return (H.shape[-2] * eigenvalues >= TAU * eigenvalues.sum(dim=-1, keepdim=True)).sum(dim=-1)


MEASURES = {
    "numerical_rank": Measure("numerical_rank"),
    "soft_rank": Measure("soft_rank_at_trace_d", function=soft_rank_at_trace_d),
    "r": Measure("participation_ratio"),
}
HEADINGS = {"numerical_rank": "numerical rank", "soft_rank": f"rank_{TAU:g}", "r": "r"}


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

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.activation}, {NORMALIZATIONS[self.normalization]}, {self.dtype}, d = {self.width}"

    def __str__(self) -> str:
        return ",".join((f"d={self.width}", *list(asdict(self).values())[1:]))


def networks(width: int) -> tuple[Network, ...]:
    """Return the curves of the figure for a width, and a gaussian linear network in both precisions."""
    shown = [
        Network(width, activation, normalization, "uniform", dtype)
        for activation, normalization, dtype in product(("linear", "relu"), NORMALIZATIONS, ("float64", "float32"))
    ]
    return (*shown, *(Network(width, "linear", "rescale", "gaussian", dtype) for dtype in ("float64", "float32")))


def points(network: Network, course: Course) -> dict[str, object]:
    """Return means and half-widths of 95 % intervals over runs at each depth, ready for JSON."""
    means = {HEADINGS[name]: mean_interval(values) for name, values in course.values.items()}
    return {
        "network": str(network),
        "depth": course.depths,
        "mean": {name: mean for name, (mean, _) in means.items()},
        "half_width": {name: half_width for name, (_, half_width) in means.items()},
    }


def panels(found: Found) -> list[Panel]:
    """Return a row of panels for each width and activation, and in it one for each kind of rank."""
    kinds = list(found.rows_by("width", "activation"))
    return [
        Panel(partial(draw, name=name, width=width, activation=activation), xscale="log",
              title="" if number else heading.replace(f"_{TAU:g}", f"$_{{{TAU:g}}}$"),
              ylabel=f"{activation}, d = {width}" if heading == HEADINGS["numerical_rank"] else "",
              xlabel="depth (layers)" if number == len(kinds) - 1 else "")
        for number, (width, activation) in enumerate(kinds)
        for name, heading in HEADINGS.items()
    ]  # fmt: skip


def draw(axes: Axes, found: Found, name: str, width: int, activation: str) -> None:
    """Draw one kind of rank against depth: with its interval in float64, and dashed in float32."""
    some = {n: course for n, course in found.data.items() if (n.width, n.activation) == (width, activation)}
    for network, course in some.items():
        if network.weights != "uniform" or (network.dtype == "float32" and name != "numerical_rank"):
            continue
        number, at = list(NORMALIZATIONS).index(network.normalization), course.log_spaced()
        middle, half_width = mean_interval(course.values[name][:, at])
        if network.dtype == "float32":
            axes.plot(course.depths[at], middle, "--", color=plotting.colour(number), linewidth=1)
        else:
            low, label = np.maximum(middle - half_width, 1.0), NORMALIZATIONS[network.normalization]  # no rank is less
            plotting.band(axes, course.depths[at], middle, low, middle + half_width, number, label)
    path = np.geomspace(float(course.depths[0]), float(course.depths[-1]), 400)
    if name == "numerical_rank":
        axes.plot([], [], "--", color="0.2", linewidth=1, label="the same in float32")
    if name == "numerical_rank" and activation == "linear":
        expected = theory.ginibre_numerical_rank(width, path, width * float(np.finfo("float64").eps))
        axes.plot(path, expected, ":", color="black", linewidth=1.4, label="vanilla by Lyapunov exponents")
    plotting.guide(axes, path[[0, -1]], [math.sqrt(width)] * 2, r"$\sqrt{d}$")
    plotting.log_ticks(axes.yaxis, [2.0**power for power in range(int(math.log2(width)) + 1)])
