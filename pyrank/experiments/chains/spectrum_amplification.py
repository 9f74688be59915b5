"""How does batch normalisation lift the spectrum of an almost collinear batch? Layer by layer, all eigenvalues rise.

Hadi Daneshmand, Jonas Kohler, Francis Bach, Thomas Hofmann, Aurelien Lucchi: "Batch normalization provably avoids ranks
collapse for randomly initialised deep networks", NeurIPS 2020, arXiv:2003.01652. Figure 3b.

The columns of H_0 are one gaussian vector plus 1e-5 times independent ones, N = d = 50. They go through the linear
chain ``H' = BN(H + gamma W H)`` with gaussian W and rescaling only, in float64. Shown are the first, second and tenth
eigenvalue of ``M = H H^T / N``. Tr M = d, so what the others gain the first one loses.

The published script sets gamma = 0.01 but multiplies W by 100, which is gamma = 1. Both are shown: gamma = 1, which is
the published figure, and gamma = 0.01 taken literally. The claims are numbers read off the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pyrank import plotting
from pyrank.engine import initial
from pyrank.engine.run import Run
from pyrank.estimate.intervals import mean_interval
from pyrank.experiments import Claim, Result, at_most, close_to, publish
from pyrank.experiments.chains.decades import joined, log_spaced, recorded_depths, run_stretches, stretch_jobs
from pyrank.reference.spectral import singular_values
from pyrank.specs.chain import Chain
from pyrank.support.text import plus_minus, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "spectrum-amplification"
FIGURE = "Daneshmand et al. 2020, Fig. 3b"
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


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (chains, depths) of M by their number, for one gamma; depth 0 is H_0."""

    gamma: float
    depths: NDArray[np.int64]
    eigenvalues: dict[int, NDArray[np.float64]]

    def mean(self, k: int, first: int, last: int) -> tuple[float, float]:
        """Return mean and error of lambda_k over the layers from first to last."""
        return _mean(self._layers(self.eigenvalues[k], first, last))

    def log_mean(self, k: int, first: int, last: int) -> tuple[float, float]:
        """Return mean and error of log10 lambda_k over the layers from first to last."""
        return _mean(self._layers(np.log10(self.eigenvalues[k]), first, last))

    def passage(self, k: int, level: float) -> tuple[float, float]:
        """Return mean and error of the first recorded depth with lambda_k >= level; NaN if some chain has none."""
        above = self.eigenvalues[k] >= level
        return _mean(np.where(above.any(axis=1), self.depths[above.argmax(axis=1)], np.nan))

    def _layers(self, values: NDArray[np.float64], first: int, last: int) -> NDArray[np.float64]:
        chosen = values[:, (self.depths >= first) & (self.depths <= last)]
        return np.asarray(chosen.mean(axis=1))


def _mean(samples: NDArray[np.float64]) -> tuple[float, float]:
    middle, half_width = mean_interval(samples)
    return float(middle), float(half_width)


@dataclass(frozen=True)
class Row:
    """A line of the table; errors are half-widths of 95 % intervals over chains."""

    gamma: float
    chains: int
    depth: int
    log10_lambda_2_start: float
    lambda_2_passage: float
    lambda_2_passage_error: float
    lambda_1_late: float
    lambda_1_late_error: float
    lambda_2_late: float
    lambda_2_late_error: float
    lambda_10_late: float
    lambda_10_late_error: float


def reproduce(settings: Settings, out: Path, *, device: str = "cpu", progress: bool | None = None) -> Result:
    """Simulate, judge, and write data, table and figure into ``out``: see `pyrank.experiments.reproduce`."""
    options = {
        "chains": settings.chains,
        "seed": settings.seed,
        "initial": START,
        "measures": (f"singular_values({max(SHOWN)})",),
    }
    jobs = [stretch_jobs(f"gamma={gamma:g}", settings.chain(gamma), depth, options) for gamma, depth in settings.depths]
    runs = run_stretches(jobs, out, device=device, progress=progress)
    spectra = [_spectrum(settings, gamma, some) for (gamma, _), some in zip(settings.depths, runs, strict=True)]
    rows = [_row(spectrum) for spectrum in spectra]
    caption = _caption(settings)
    return publish(
        NAME,
        out,
        settings=settings,
        rows=rows,
        table=_table(rows),
        claims=[claim for spectrum in spectra for claim in judge(spectrum, settings.width)],
        figure=_figure(spectra, caption),
        caption=caption,
        data={
            "medians": [
                {"gamma": s.gamma, "depth": s.depths,
                 **{f"lambda_{k}": np.median(s.eigenvalues[k], axis=0) for k in SHOWN}}
                for s in spectra
            ]
        },
    )  # fmt: skip


def _spectrum(settings: Settings, gamma: float, runs: Sequence[Run]) -> Spectrum:
    chain = settings.chain(gamma)
    start = singular_values(initial.state(START, chain, settings.chains, settings.seed, torch.float64)).numpy()
    eigenvalues = {}
    for k in SHOWN:
        sigma = joined(runs, f"singular_values({max(SHOWN)})[{k - 1}]")
        eigenvalues[k] = np.concatenate([start[:, k - 1 : k], sigma], axis=1) ** 2 / chain.batch
    return Spectrum(gamma, np.append(0, recorded_depths(runs[-1].depth)), eigenvalues)


def _row(spectrum: Spectrum) -> Row:
    last = int(spectrum.depths[-1])
    late = [spectrum.mean(k, last // 2, last) for k in SHOWN]
    passage = spectrum.passage(2, 1.0)
    return Row(
        gamma=spectrum.gamma, chains=len(spectrum.eigenvalues[1]), depth=last,
        log10_lambda_2_start=spectrum.log_mean(2, 0, 0)[0],
        lambda_2_passage=passage[0], lambda_2_passage_error=passage[1],
        lambda_1_late=late[0][0], lambda_1_late_error=late[0][1],
        lambda_2_late=late[1][0], lambda_2_late_error=late[1][1],
        lambda_10_late=late[2][0], lambda_10_late_error=late[2][1],
    )  # fmt: skip


def judge(spectrum: Spectrum, width: int) -> list[Claim]:
    """Return the claims of the figure, measured for one gamma."""
    readings = [
        ("lambda_1 = d after the first layer", spectrum.mean(1, 1, 1), width, 0.5, ""),
        ("log10 lambda_2 = -10 to an order of magnitude in H_0", spectrum.log_mean(2, 0, 0), -10.0, 1.0, ""),
        ("10 <= lambda_1 <= 15 from layer 20 to 100", spectrum.mean(1, 20, 100), 12.5, 2.5,
         f"means over chains: {spectrum.mean(1, 20, 20)[0]:.1f} at layer 20, {spectrum.mean(1, 100, 100)[0]:.1f} at "
         "layer 100"),
        ("-1 <= log10 lambda_10 <= 0 from layer 80 to 100", spectrum.log_mean(10, 80, 100), -0.5, 0.5, ""),
    ]  # fmt: skip
    source = FIGURE if spectrum.gamma == 1 else f"{FIGURE}, the gamma of its script without the factor 100 on W"
    claims = [
        Claim(
            statement=f"{statement}, gamma = {spectrum.gamma:g}",
            source=source,
            value=value,
            error=error,
            verdict=close_to(value - error, value + error, wanted, margin),
            note=note,
        )
        for statement, (value, error), wanted, margin, note in readings
    ]
    layer, error = spectrum.passage(2, 1.0)
    claims.append(
        Claim(
            statement=f"lambda_2 passes 1 by layer 7, gamma = {spectrum.gamma:g}",
            source=source,
            value=layer,
            error=error,
            verdict=at_most(layer - error, layer + error, 7.0),
            note="mean over chains of the first recorded layer with lambda_2 >= 1",
        )
    )
    return claims


def _table(rows: Sequence[Row]) -> str:
    head = ("gamma", "chains", "layers", "log10 lambda_2 of H_0", "layer of lambda_2 >= 1", "late lambda_1",
            "late lambda_2", "late lambda_10")  # fmt: skip
    lines = [
        (f"{row.gamma:g}", str(row.chains), f"{row.depth:,}", f"{row.log10_lambda_2_start:.2f}",
         plus_minus(row.lambda_2_passage, row.lambda_2_passage_error),
         plus_minus(row.lambda_1_late, row.lambda_1_late_error),
         plus_minus(row.lambda_2_late, row.lambda_2_late_error),
         plus_minus(row.lambda_10_late, row.lambda_10_late_error))
        for row in rows
    ]  # fmt: skip
    return "\n".join([
        text_table(head, lines),
        "Means over chains, ± half of the 95 % interval (Student); late: also over the second half of the layers.",
    ])  # fmt: skip


def _figure(spectra: Sequence[Spectrum], caption: str) -> Figure:
    figure, axes = plotting.sheet(
        title="Spectrum of an almost collinear batch under linear batch normalisation",
        caption=caption,
        columns=len(spectra),
        sharey=True,
    )
    for axis, spectrum in zip(axes, spectra, strict=True):
        some = 1 + log_spaced(spectrum.depths[1:])
        for number, k in enumerate(SHOWN):
            low, middle, high = np.quantile(spectrum.eigenvalues[k][:, some], (0.05, 0.5, 0.95), axis=0)
            plotting.band(axis, spectrum.depths[some], middle, low, high, number, rf"$\lambda_{{{k}}}$")
        for layers, low, high in (((20, 100), 10, 15), ((80, 100), 0.1, 1)):
            axis.fill_between(layers, low, high, facecolor="none", edgecolor="black", linewidth=1.2, zorder=5)
        axis.plot([7], [1], "*", color="black", markersize=9, zorder=5)
        axis.plot([], [], "*", color="black", markersize=9, label="read off the published figure (star, boxes)")
        axis.set(xscale="log", yscale="log", xlabel="depth (layers)")
        axis.set_title(rf"$\gamma$ = {spectrum.gamma:g}", fontsize=11)
    axes[0].set_ylabel(r"eigenvalue of $M = HH^T/N$")
    plotting.legend(figure)
    return figure


def _caption(settings: Settings) -> str:
    return (
        f"After {FIGURE}: d = N = {settings.width}, H_0 = {START}, gaussian W, rescaling only, float64. Lines: median "
        f"of {settings.chains} chains at a depth; bands: 5 to 95 % of them; seed {settings.seed}. Star: where the "
        "published lambda_2 has passed 1 (layer 7); boxes: the published lambda_1 from layer 20 and lambda_10 at "
        "layers 80 to 100. The published script has gamma = 0.01 with W scaled by 100, which is gamma = 1."
    )
