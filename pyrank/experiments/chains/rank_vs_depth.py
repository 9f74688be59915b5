"""Does batch normalisation keep the rank that a vanilla network loses with depth? It does, by three kinds of rank.

Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: "Batch normalization provably avoids ranks
collapse for randomly initialised deep networks", NeurIPS 2020, arXiv:2003.01652. Figure 2, and Theorem 2 for its linear
half.

Linear and ReLU networks of width 32 without skip connection, H' = BN(W F(H)), with a batch of as many gaussian samples
and uniform weights, as torch initialises them (a common scale of the weights does not matter here). BN rescales only,
as in the paper's equations, or recentres first, as libraries do; "vanilla" is without. Ten runs of each; all curves
see the same weights, so that the float32 and the float64 curve belong to the same networks.

Three ranks are shown, because they answer differently. The numerical rank counts singular values > max(d, N) eps
sigma_max, eps being the unit of the dtype: it is the usual one, but partly a property of the arithmetic. A linear layer
with N = d, BN without recentring and continuous weights cannot lose rank at all: det H' = det(D) det(W) det(H) with the
diagonal D of the row sizes, and none of these is 0. What is lost lies below rounding. The soft rank of Theorem 2,
rank_tau at tau = 1/2, and the participation ratio r do not have this defect. For the soft rank every state is brought
to Tr M = d, the trace that BN gives and a vanilla state lacks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, at_least, close_to, publish
from pyrank.experiments.chains.decades import log_spaced, run_stretches, stretch_jobs
from pyrank.experiments.chains.rank_curves import MEASURES, NORMALIZATIONS, TAU, Curve, Network, measured, networks
from pyrank.support.text import plus_minus, text_table
from pyrank.theory import ginibre_lyapunov_exponents

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "rank-vs-depth"
PAPER = "Daneshmand et al. 2020"


@dataclass(frozen=True)
class Settings:
    """The curves, and how deep and how often each is run."""

    networks: tuple[Network, ...]
    depth: int
    chains: int = 10
    seed: int = 0


PRESETS = {
    "quick": Settings(networks(32), depth=10_000),
    "paper": Settings(networks(32) + networks(128), depth=100_000),
}


@dataclass(frozen=True)
class Row:
    """A line of the table: means over the last decade of depths; errors are half-widths of 95 % intervals."""

    width: int
    activation: str
    normalization: str
    weights: str
    dtype: str
    tolerance: float
    first_layer: int
    last_layer: int
    numerical_rank: float
    numerical_rank_error: float
    soft_rank: float
    soft_rank_error: float
    r: float
    r_error: float
    degenerate_rows: int
    flags: str


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    options = {"chains": settings.chains, "seed": settings.seed, "measures": tuple(MEASURES.values())}
    jobs = [stretch_jobs(str(network), network.chain, settings.depth, options) for network in settings.networks]
    runs = run_stretches(jobs, out, device=device, progress=progress)
    curves = [measured(network, some) for network, some in zip(settings.networks, runs, strict=True)]
    rows = [_row(curve) for curve in curves]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows, settings),
        claims=judge(curves),
        figure=_figure(curves, caption),
        caption=caption,
        data={"curves": [curve.points() for curve in curves]},
    )


def _row(curve: Curve) -> Row:
    numerical, soft, ratio = (curve.at_the_end(measure) for measure in MEASURES)
    first, last = curve.depths[curve.late][[0, -1]].tolist()
    return Row(
        **asdict(curve.network), tolerance=curve.network.tolerance, first_layer=first, last_layer=last,
        numerical_rank=numerical[0], numerical_rank_error=numerical[1], soft_rank=soft[0], soft_rank_error=soft[1],
        r=ratio[0], r_error=ratio[1], degenerate_rows=curve.degenerate_rows, flags=curve.flags,
    )  # fmt: skip


def judge(curves: Sequence[Curve]) -> tuple[Claim, ...]:
    """Return the claims of the figure, and what the numerical rank says of a rank that is known."""
    claims = []
    for curve in curves:
        network = curve.network
        if (network.weights, network.dtype) != ("uniform", "float64"):
            continue
        if network.normalization == "none":
            claims.append(_collapse(curve))
        else:
            claims += [_survival(curve, measure) for measure in ("numerical rank", f"rank_{TAU:g}")]
    exact = [curve for curve in curves if curve.network.weights == "gaussian"]
    return (*claims, *(_rounding(*pair) for pair in zip(exact[::2], exact[1::2], strict=True)))


def _title(network: Network) -> str:
    return f"{network.activation}, {NORMALIZATIONS[network.normalization]}, d = {network.width}"


def _collapse(curve: Curve) -> Claim:
    rank, error = curve.at_the_end("numerical rank")
    return Claim(
        statement=f"numerical rank = 1 deep down: {_title(curve.network)}",
        source=f"{PAPER}, Fig. 2",
        value=rank,
        error=error,
        verdict=close_to(rank - error, rank + error, 1.0, 0.5),
        note=f"mean of {curve.late_layers}; there r = {curve.at_the_end('r')[0]:.6f}, and what exceeds 1 is "
        f"rounding noise above the tolerance {curve.network.tolerance:.1g}{_delay(curve.network)}",
    )


def _delay(network: Network) -> str:
    """Say when the second singular value of a linear chain is expected to fall below the tolerance."""
    if network.activation != "linear":
        return ""
    first, second = ginibre_lyapunov_exponents(network.width)[:2]
    return f", which sigma_2 passes after about {-math.log(network.tolerance) / (first - second):,.0f} layers (Newman)"


def _survival(curve: Curve, measure: str) -> Claim:
    rank, error = curve.at_the_end(measure)
    root = math.sqrt(curve.network.width)
    ratio = curve.at_the_end("r")
    return Claim(
        statement=f"{measure} >= sqrt(d) = {root:.2f}: {_title(curve.network)}",
        source=f"{PAPER}, Fig. 2",
        value=rank,
        error=error,
        verdict=at_least(rank - error, rank + error, root),
        note=f"mean of {curve.late_layers}; r = {plus_minus(*ratio)} = {ratio[0] / root:.2f} sqrt(d)",
    )


def _rounding(double: Curve, single: Curve) -> Claim:
    width, measure = double.network.width, "numerical rank"
    rank, error = double.at_the_end(measure)
    first = [next(iter(c.depths[(c.values[measure] < width).any(axis=0)]), "-") for c in (single, double)]
    return Claim(
        statement=f"numerical rank = rank = d: {_title(double.network)}, gaussian W",
        source="det H' = det(D) det(W) det(H)",
        value=rank,
        error=error,
        verdict=close_to(rank - error, rank + error, width, 0.5),
        note=f"the rank is {width} at every depth, almost surely; what a numerical rank shows is rounding. The same "
        f"networks at layer 100: {single.at(100, measure):.1f} in float32, {double.at(100, measure):.1f} in float64; "
        f"a run first shows less than {width} at layer {first[0]} in float32, {first[1]} in float64; at the end "
        f"float32 shows {plus_minus(*single.at_the_end(measure))}",
    )


def _cell(value: float, error: float) -> str:
    return f"{value:.4g}" if error < 1e-4 else plus_minus(value, error)


def _table(rows: Sequence[Row], settings: Settings) -> str:
    head = ("d = N", "F", "normalization", "weights", "dtype", "tolerance", "numerical rank", f"rank_{TAU:g}", "r",
            "zero rows", "flags")  # fmt: skip
    lines = [
        (str(row.width), row.activation, row.normalization, row.weights, row.dtype, f"{row.tolerance:.1e}",
         _cell(row.numerical_rank, row.numerical_rank_error), _cell(row.soft_rank, row.soft_rank_error),
         _cell(row.r, row.r_error), str(row.degenerate_rows), row.flags or "-")
        for row in rows
    ]  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        f"Means over layers {rows[0].first_layer:,} to {rows[0].last_layer:,} of {settings.chains} runs; ± half of the "
        "95 % interval over runs (Student), left out below 1e-4.",
        "tolerance: share of sigma_max above which a singular value counts for the numerical rank, max(d, N) eps.",
        f"rank_{TAU:g}: of M brought to Tr M = d; zero rows: met by the normalisation, in all runs.",
        "flags: of the estimates within runs from a few correlated layers, or of a constant; the intervals do without.",
    ])  # fmt: skip


def _figure(curves: Sequence[Curve], caption: str) -> Figure:
    panels = list(dict.fromkeys((curve.network.width, curve.network.activation) for curve in curves))
    figure, axes = plotting.sheet(
        title="Rank against depth, with and without batch normalisation",
        caption=caption,
        rows=len(MEASURES),
        columns=len(panels),
        size=(5.5 * len(panels), 9),
        sharex=True,
        sharey="row",
    )
    for place, axis in enumerate(axes):
        measure, panel = list(MEASURES)[place // len(panels)], panels[place % len(panels)]
        _draw(axis, [c for c in curves if (c.network.width, c.network.activation) == panel], measure)
        if place < len(panels):
            axis.set_title(f"{panel[1]}, d = {panel[0]}", fontsize=11)
        if place % len(panels) == 0:
            axis.set_ylabel(measure.replace(f"_{TAU:g}", f"$_{{{TAU:g}}}$"))
        if place >= len(panels) * (len(MEASURES) - 1):
            axis.set_xlabel("depth (layers)")
    plotting.legend(figure)
    return figure


def _draw(axis: Axes, curves: Sequence[Curve], measure: str) -> None:
    for curve in curves:
        network = curve.network
        if network.weights != "uniform" or (network.dtype == "float32" and measure != "numerical rank"):
            continue
        number = list(NORMALIZATIONS).index(network.normalization)
        some = log_spaced(curve.depths)
        depths, (middle, half_width) = curve.depths[some], mean_interval(curve.values[measure][:, some])
        if network.dtype == "float32":
            axis.plot(depths, middle, "--", color=plotting.colour(number), linewidth=1)
        else:
            label = NORMALIZATIONS[network.normalization]
            low = np.maximum(middle - half_width, 1.0)  # no rank is less
            plotting.band(axis, depths, middle, low, middle + half_width, number, label)
    width, ends = curves[0].network.width, curves[0].depths[[0, -1]]
    if measure == "numerical rank":
        axis.plot([], [], "--", color="0.2", linewidth=1, label="the same in float32")
        if curves[0].network.activation == "linear":
            path = np.geomspace(float(ends[0]), float(ends[1]), 400)
            label = "vanilla by Lyapunov exponents"
            axis.plot(path, _expected_rank(width, path), ":", color="black", linewidth=1.4, label=label)
    plotting.guide(axis, ends, [math.sqrt(width)] * 2, r"$\sqrt{d}$")
    axis.set_xscale("log")
    plotting.log_ticks(axis.yaxis, [2.0**power for power in range(int(math.log2(width)) + 1)])


def _expected_rank(width: int, depths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the exponents whose lag behind the first has not yet brought sigma_k / sigma_1 below float64's tolerance.

    The exponents are those of gaussian weights, from which those of other laws of the same variance differ little.
    """
    exponents = ginibre_lyapunov_exponents(width)
    lag = (exponents[0] - exponents)[:, None] * depths
    return np.asarray((lag <= -math.log(width * np.finfo(np.float64).eps)).sum(axis=0), dtype=float)


def _caption(settings: Settings) -> str:
    networks = settings.networks
    tolerances = {n.dtype: n.tolerance for n in networks if n.width == networks[0].width}
    counted = ", ".join(f"{tolerance:.1e} ({dtype})" for dtype, tolerance in tolerances.items())
    return (
        f"After {PAPER}, Fig. 2. H' = BN(W F(H)), uniform W, batch N = d, gaussian input, no skip connection. Lines: "
        f"mean of {settings.chains} runs at a depth; bands: its 95 % interval (Student); seed {settings.seed}, the "
        "same weights for all curves. Numerical rank: singular values > max(d, N) eps sigma_max, that is "
        f"{counted} for d = {networks[0].width}; rank$_{{{TAU:g}}}$: eigenvalues >= {TAU:g} of M = H Hᵀ / N, brought "
        "to Tr M = d; r = (Tr M)² / ||M||². Bands are float64. Dotted: number of Lyapunov exponents (gaussian W) whose "
        "lag behind the first leaves sigma_k above the tolerance."
    )
