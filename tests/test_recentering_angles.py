"""Angles with and without recentring: measured ones against numpy and theory, verdicts both ways."""

import dataclasses

import numpy as np
import pytest
import torch

from pyrank.experiments.chains import recentering_angles as angles

from tolerances import SIGMAS

TINY = angles.Settings(batches=(5, 8), shown=5, width=256, chains=32, seed=3)
HALF_WIDTHS_TO_SIGMAS = SIGMAS / 2.04  # a half width of 32 chains is 2.04 standard errors


def angles_by_numpy(features):
    unit = features / np.linalg.norm(features, axis=0)
    return np.degrees(np.arccos(np.clip(unit.T @ unit, -1, 1)))[np.triu_indices(features.shape[1], 1)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("angles")
    rows = [angles._row(run) for run in angles.run_all(angles._jobs(TINY), folder)]
    return rows, angles.reproduce(TINY, folder)


def test_measures_equal_numpy():
    H = np.random.default_rng(4).normal(size=(3, 20, 6))
    for number, h in enumerate(H):
        assert angles.mean_before(torch.tensor(H))[number] == pytest.approx(angles_by_numpy(h).mean(), rel=1e-9)
        expected = angles_by_numpy(np.maximum(h, 0))
        assert angles.mean_after(torch.tensor(H))[number] == pytest.approx(expected.mean(), rel=1e-9)
        np.testing.assert_allclose(angles.pairs_after(torch.tensor(H))[number], expected, rtol=1e-9)


def test_angles_are_those_of_infinite_width(finished):
    for row in finished[0]:
        finite_width = 40.0 / TINY.width  # degrees: the leading correction is of the order of a radian / d
        for value, exact, half_width in ((row.before, row.before_exact, row.before_half_width),
                                         (row.after, row.after_exact, row.after_half_width)):  # fmt: skip
            assert value == pytest.approx(exact, abs=finite_width + HALF_WIDTHS_TO_SIGMAS * half_width)
            assert half_width < 1.0


def test_one_layer_by_numpy_gives_the_angles_of_recentring():
    """All samples alike stay so: from orthogonal samples, one wide layer is at the fixed point."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(200_000, 5))
    z -= z.mean(axis=1, keepdims=True)
    z /= z.std(axis=1, keepdims=True)
    assert angles._exact_before("batch", 5) == pytest.approx(angles_by_numpy(z).mean(), abs=0.5)
    assert angles._exact_after("batch", 5) == pytest.approx(angles_by_numpy(np.maximum(z, 0)).mean(), abs=0.5)


def test_pairs_of_the_shown_batch_are_kept(finished):
    pairs = [angles._pairs(run) for run in angles.run_all(angles._jobs(TINY), finished[1].png.parent)[:2]]
    assert np.shape(pairs) == (2, 2, 10)
    assert np.mean(pairs[0]) == pytest.approx(61, abs=4)
    assert np.mean(pairs[1]) == pytest.approx(78, abs=4)


def test_published_angles_hold_at_the_right_batches_only(finished):
    low, high = map(int, angles._valid_batches("rescale").split(" to "))
    assert low <= 8 < 20 <= high < 199  # 60.1 and 59.3 degrees there, 58.75 in the limit
    low, high = map(int, angles._valid_batches("batch").split(" to "))
    assert low <= 8 < 10 <= high < 20  # 75.5, 74.65, 73.0 degrees
    verdicts = {claim.statement: claim.verdict for claim in finished[1].claims}
    assert verdicts["RC + RS + ReLU: samples settle at about 75 degrees, N = 5"] == "fails"


def test_verdicts_follow_the_numbers(finished):
    rows = [dataclasses.replace(row, after=row.after_exact, after_half_width=0.01) for row in finished[0]]
    assert [claim.verdict for claim in angles._judge(rows) if "infinite width" in claim.statement] == ["holds"] * 2
    rows[0] = dataclasses.replace(rows[0], after=rows[0].after_exact + 2)
    assert [claim.verdict for claim in angles._judge(rows)][:1] == ["fails"]
