"""E ||M||_F^2 against d sqrt(d): the mean of the square, an independent simulation, verdicts both ways."""

import math

import numpy as np
import pytest

from pyrank import Chain, frobenius_norm, simulate
from pyrank.experiments import Found, Row
from pyrank.experiments.chains import bound_check as experiment
from pyrank.experiments.chains.scaling_law import Setting
from pyrank.experiments.tasks import run_tasks

from tolerances import SIGMAS, gram_tolerance


def rows_of(folder, *grid, seed=4):
    settings = experiment.Settings(grid, seed=seed)
    return [Row(**row) for row in experiment.rows(settings, run_tasks(experiment.tasks(settings), folder))]


def test_squares_are_averaged_not_norms(tmp_path):
    (row,) = rows_of(tmp_path, Setting(6, 1.0, chains=5, burn_in=20, layers=200, every=2))

    def square(H):
        return frobenius_norm(H.double()) ** 2

    run = simulate(Chain(6, gamma=1.0), 220, chains=5, seed=4, burn_in=20, every=2, measures=[square],
                   progress=False)  # fmt: skip
    assert row.square == pytest.approx(run["square"].mean, rel=2 * gram_tolerance(np.float32, 36))
    assert row.ratio == pytest.approx(row.square / 6**1.5)
    assert row.recorded == 100


def independent_square(rng, layers=600):
    """Mean of ||M||_F^2 over layers of one chain of width 8 without skip connection, in plain numpy."""
    H, squares = rng.normal(size=(8, 8)), []
    for layer in range(layers):
        H = rng.normal(size=(8, 8)) @ H
        H /= np.sqrt((H**2).mean(axis=1, keepdims=True))
        if layer >= 100:
            squares.append(np.linalg.norm(H @ H.T / 8) ** 2)
    return np.mean(squares)


def test_mean_square_agrees_with_numpy(tmp_path):
    (row,) = rows_of(tmp_path, Setting(8, math.inf, chains=32, burn_in=100, layers=2000))
    rng = np.random.default_rng(6)
    expected = np.array([independent_square(rng) for _ in range(24)])
    error = math.hypot(row.square_stderr, expected.std(ddof=1) / math.sqrt(len(expected)))
    assert row.square == pytest.approx(expected.mean(), abs=SIGMAS * error)
    assert row.square > 64 / 2.248  # d^2 E(1/r) > d^2 / E(r), known to be 2.248


def test_a_small_grid_runs_to_the_end(tmp_path):
    grid = tuple(Setting(width, gamma, chains=8, burn_in=50, layers=400) for gamma in (1.0, math.inf)
                 for width in (4, 8, 16))  # fmt: skip
    result = experiment.EXPERIMENT.run(experiment.Settings(grid, seed=7), tmp_path)
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert len(result.claims) == 5
    assert "Seeds: 7 to 12" in result.caption


def made_up(exponent, prefactor, flags=""):
    return Found(None, [], [
        Row(width=d, gamma=1.0, chains=8, recorded=10, square=prefactor * d**exponent,
                       square_stderr=1e-3 * d**exponent, ratio=prefactor * d ** (exponent - 1.5),
                       ratio_half_width=2e-3 * d ** (exponent - 1.5), flags=flags)
        for d in (8, 16, 32, 64)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("exponent", "prefactor", "verdicts"),
    [(1.4, 0.9, ["holds", "holds", "holds"]), (1.4, 2.0, ["holds", "holds", "fails"]),
     (1.6, 2.0, ["fails", "fails", "fails"]), (1.5, 1.0, ["undecided"] * 3)],
)  # fmt: skip
def test_verdicts_go_both_ways(exponent, prefactor, verdicts):
    assert [claim.verdict for claim in experiment.claims(made_up(exponent, prefactor))] == verdicts


def test_flags_make_verdicts_provisional():
    assert (
        "provisional: flagged at width 8, 16, 32, 64" in experiment.claims(made_up(1.4, 1.0, "not converged"))[0].note
    )


def test_settings_use_different_seeds_and_cover_small_gamma():
    for preset in experiment.EXPERIMENT.presets.values():
        assert len({task.options["seed"] for task in experiment.tasks(preset)}) == len(preset.grid)
        assert min(setting.gamma for setting in preset.grid) < 1
