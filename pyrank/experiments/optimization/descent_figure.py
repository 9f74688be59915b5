"""The figure of the experiment normalized-least-squares: residuals and paths as in the note, and all races below."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank import plotting, theory
from pyrank.experiments.declaration import Found
from pyrank.experiments.optimization.descent_claims import KAPPAS, LOG_LENGTHS, LOG_RATES
from pyrank.experiments.optimization.descent_steps import WITHIN, Floats, Setting, ideal_steps
from pyrank.optimization.least_squares import Descent, LeastSquares
from pyrank.plotting import Panel, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN, NORMALIZED, AT_ONE = 1, 0, 2
"""Numbers of the series."""
LABELS = {PLAIN: "without BN", NORMALIZED: "BN", AT_ONE: "BN, rate 1"}
SEED = 1
"""Of the problem whose paths are drawn: the median one among those of the race, by steps with normalisation."""


def shown(found: Found, setting: Setting) -> tuple[LeastSquares, dict[int, Descent]]:
    """Return the problem of a setting that is drawn, and its paths by series, until the slower race is done."""
    plain, normalized = found.data.races[setting]
    order = np.argsort(normalized.steps, kind="stable")
    index = int(order[len(order) // 2])
    drawn = setting.draw()
    problem = LeastSquares(drawn.H[index], drawn.u[index])
    slower = max(plain.steps[index], normalized.steps[index])
    length = int(1.2 * slower) if np.isfinite(slower) else found.settings.most
    return problem, {
        PLAIN: problem.descend(False, plain.rate[index], length),
        NORMALIZED: problem.descend(True, normalized.rate[index], length, scale_rate=1.0),
        AT_ONE: problem.descend(True, 1.0, length),
    }


def draw_residuals(axes: Axes, found: Found, features: int, kappa: float) -> None:
    """Draw how the residual of the problem falls."""
    problem, paths = shown(found, found.settings.setting(features, kappa))
    diverged = problem.descend(False, 1.0, 30)
    for number, path in paths.items():
        plotting.curve(axes, 1 + path.steps, np.maximum(path.residual / path.residual[0], 1e-9), number, LABELS[number])
    plotting.curve(axes, 1 + diverged.steps, diverged.residual / diverged.residual[0], 3, "without BN, rate 1")
    plotting.guide(axes, (1, 1 + len(paths[PLAIN].steps)), (WITHIN, WITHIN))
    axes.set(xscale="log", yscale="log", ylim=(1e-8, 1e3), xlabel="1 + step", ylabel="residual / first one",
             title=f"d = {features}, $\\kappa$ = {kappa:g}")  # fmt: skip


def draw_plane(axes: Axes, found: Found, kappa: float) -> None:
    """Draw the paths of two weights over the contours of the loss."""
    problem, paths = shown(found, found.settings.setting(2, kappa))
    points = np.concatenate([path.weights for path in paths.values()] + [np.zeros((1, 2))])
    low, high = points.min(axis=0), points.max(axis=0)
    ends = [np.linspace(a - 0.15 * (b - a), b + 0.15 * (b - a), 201) for a, b in zip(low, high, strict=True)]
    plane = np.stack(np.meshgrid(*ends), axis=-1)
    error = plane - problem.u
    residual = np.sqrt(np.einsum("...i,ij,...j->...", error, problem.H, error))
    axes.contour(*ends, residual, levels=np.linspace(0.0, residual.max(), 13)[1:], colors="0.8", linewidths=0.8)
    for number, path in paths.items():
        _trail(axes, path.weights, number)
    _ends(axes, paths[PLAIN].weights[0], problem.u)
    axes.set(xlabel="$v_1$", ylabel="$v_2$", title=f"paths of v, d = 2, $\\kappa$ = {kappa:g}")
    axes.grid(visible=False)


def draw_space(axes: Any, found: Found, kappa: float) -> None:
    """Draw the paths of three weights."""
    problem, paths = shown(found, found.settings.setting(3, kappa))
    for number, path in paths.items():
        _trail(axes, path.weights, number)
    _ends(axes, paths[PLAIN].weights[0], problem.u)
    axes.set(xlabel="$v_1$", ylabel="$v_2$", zlabel="$v_3$", title=f"paths of v, d = 3, $\\kappa$ = {kappa:g}")
    axes.tick_params(labelsize=7)
    axes.set_box_aspect(None, zoom=0.85)  # the last label finds its room


def _trail(axes: Any, weights: Floats, number: int) -> None:
    axes.plot(
        *weights.T, "-", color=plotting.colour(number), linewidth=0.9, alpha=0.8,
        marker=plotting.marker(number), markersize=3, markevery=slice(0, 12), markerfacecolor="white",
    )  # fmt: skip


def _ends(axes: Any, start: Floats, end: Floats) -> None:
    axes.plot(*start[:, None], "k.", markersize=9, zorder=5, label="start")
    axes.plot(*end[:, None], "k*", markersize=11, zorder=5, label="solution u")


def draw_shares(axes: Axes, found: Found) -> None:
    """Draw in how many problems normalisation needs fewer steps, by condition number."""
    for number, (features, some) in enumerate(found.rows_by("features").items(), start=4):
        share = np.array([row.faster / row.problems for row in some])
        bounds = np.array([(row.faster_low, row.faster_high) for row in some]).T
        error = np.maximum([share - bounds[0], bounds[1] - share], 0.0)
        plotting.points(axes, [row.kappa for row in some], share, error, number, f"d = {features}")
    plotting.guide(axes, (2, 1000), (0.5, 0.5))
    axes.set(xscale="log", ylim=(0, 1), xlabel=r"condition number $\kappa$", ylabel="share of problems: BN faster")


def draw_steps(axes: Axes, found: Found) -> None:
    """Draw the steps of all problems in space over the pseudo-condition number, and what its rate predicts."""
    for kappa, style in zip(KAPPAS, ".+", strict=True):
        setting = found.settings.setting(3, kappa)
        drawn, (plain, normalized) = setting.draw(), found.data.races[setting]
        pseudo = theory.pseudo_condition_number(drawn.H, drawn.g)
        for number, x, steps in (
            (NORMALIZED, pseudo, normalized.steps),
            (PLAIN, np.full(len(pseudo), kappa), plain.steps),
        ):
            axes.plot(x, steps, style, color=plotting.colour(number), alpha=0.4, markersize=5)
    line = np.geomspace(1.2, 1000.0, 100)
    plotting.guide(axes, line, ideal_steps(line), r"$(\kappa - 1) / (\kappa + 1)$ per step")
    axes.set(xscale="log", yscale="log", xlabel="condition number (BN: pseudo-condition number)", ylabel="steps, d = 3")


def draw_growth(axes: Axes, found: Found) -> None:
    """Draw median steps against the condition number, with the middle of the problems."""
    number = 0
    for features, some in found.rows_by("features").items():
        kappas = [row.kappa for row in some]
        for name in ("normalized", "plain"):
            low, middle, high = ([getattr(row, f"{name}{end}") for row in some] for end in ("_low", "", "_high"))
            label = f"{'BN' if name == 'normalized' else 'without BN'}, d = {features}"
            plotting.band(axes, kappas, middle, low, high, number, label)
            number += 1
    axes.set(xscale="log", yscale="log", xlabel=r"condition number $\kappa$", ylabel="steps at the best rate")


def draw_map(axes: Axes, found: Found) -> None:
    """Draw the median of steps by the rate of w and its length at the start."""
    from matplotlib.colors import LogNorm

    setting = found.settings.mapped
    middle = np.median(found.data.named["map"], axis=-1)
    axes.set_facecolor("0.85")
    lengths, rates = 2.0 ** np.array(LOG_LENGTHS), 2.0 ** np.array(LOG_RATES)
    shades = LogNorm(10.0, found.settings.mapped_most)
    mesh = axes.pcolormesh(lengths, rates, np.where(np.isfinite(middle), middle, np.nan), cmap="viridis", norm=shades)
    axes.figure.colorbar(mesh, ax=axes, label="steps, median; grey: not done in time")
    axes.set(xscale="log", yscale="log", xlabel="|w| at the start", ylabel="rate of w",
             title=f"BN, d = {setting.features}, $\\kappa$ = {setting.condition:g}")  # fmt: skip
    axes.grid(visible=False)


def _rows() -> list[Panel]:
    panels = []
    for features in (2, 3):
        for kappa in KAPPAS:
            panels.append(Panel(partial(draw_residuals, features=features, kappa=kappa)))
            panels.append(Panel(partial(draw_plane, kappa=kappa)) if features == 2
                          else Panel(partial(draw_space, kappa=kappa), projection="3d"))  # fmt: skip
    return panels


SHEET = Sheet(
    "Least squares with and without normalisation",
    [*_rows(), Panel(draw_growth), Panel(draw_shares), Panel(draw_steps), Panel(draw_map)],
    columns=4, size=(16, 12),
)  # fmt: skip
