"""Angles with and without recentring: measured ones against numpy and theory, verdicts both ways."""

import json

import numpy as np
import pytest
import torch

from pyrank import theory
from pyrank.experiments.chains.recentering_angles import (
    EXPERIMENT,
    Settings,
    mean_after,
    mean_before,
    pairs_after,
)
from pyrank.experiments.declaration import Found
from pyrank.experiments.tables import Row

from tolerances import SIGMAS

TINY = Settings(batches=(5, 8), shown=5, width=256, chains=32, seed=3)
HALF_WIDTHS_TO_SIGMAS = SIGMAS / 2.04  # a half width of 32 chains is 2.04 standard errors


def angles_by_numpy(features):
    unit = features / np.linalg.norm(features, axis=0)
    return np.degrees(np.arccos(np.clip(unit.T @ unit, -1, 1)))[np.triu_indices(features.shape[1], 1)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("angles")
    return EXPERIMENT.run(TINY, folder), EXPERIMENT.find(TINY, folder)


def test_measures_equal_numpy():
    H = np.random.default_rng(4).normal(size=(3, 20, 6))
    for number, h in enumerate(H):
        assert mean_before(torch.tensor(H))[number] == pytest.approx(angles_by_numpy(h).mean(), rel=1e-9)
        expected = angles_by_numpy(np.maximum(h, 0))
        assert mean_after(torch.tensor(H))[number] == pytest.approx(expected.mean(), rel=1e-9)
        np.testing.assert_allclose(pairs_after(torch.tensor(H))[number], expected, rtol=1e-9)


def test_rows_are_those_of_the_last_states(finished):
    for run, row in zip(finished[1].data, finished[1].rows, strict=True):
        assert (row.normalization == "batch") == run.plan.chain.normalization.recentre
        states = run.state.double().numpy()
        assert row.batch == states.shape[-1]
        before, after = (
            [angles_by_numpy(f(h)).mean() for h in states] for f in (np.asarray, lambda h: np.maximum(h, 0))
        )
        assert row.before == pytest.approx(np.mean(before), rel=1e-6)  # states are kept in single precision
        assert row.after == pytest.approx(np.mean(after), rel=1e-6)


def test_angles_are_those_of_infinite_width(finished):
    for row in finished[1].rows:
        finite_width = 40.0 / TINY.width  # degrees: the leading correction is of the order of a radian / d
        for value, exact, half_width in ((row.before, row.before_exact, row.before_half_width),
                                         (row.after, row.after_exact, row.after_half_width)):  # fmt: skip
            assert value == pytest.approx(exact, abs=finite_width + HALF_WIDTHS_TO_SIGMAS * half_width)
            assert half_width < 1.0


def test_pairs_of_the_shown_batch_are_kept(finished):
    (path,) = (path for path in finished[0].files if path.suffix == ".json")
    pairs = json.loads(path.read_text())["pairs"]
    for run in finished[1].data[:2]:
        before, last = pairs["batch" if run.plan.chain.normalization.recentre else "rescale"]
        np.testing.assert_allclose(last, angles_by_numpy(np.maximum(run.state[0].double().numpy(), 0)), rtol=1e-6)
        assert np.mean(before) == pytest.approx(
            np.mean(last), abs=8
        )  # ten pairs, each off by about 4 / sqrt(256) radians
        assert before != last


def made_up(after, half_width=0.01, normalization="batch", batch=5):
    exact = theory.settled_angles(batch, normalization == "batch")[1]
    return Row(normalization=normalization, batch=batch, after=after, after_half_width=half_width, after_exact=exact)


def judged(*rows):
    """Published claims first, then other N, then infinite width."""
    return [(claim.kind, claim.verdict) for claim in EXPERIMENT.claims(Found(TINY, [], rows))]


def test_verdicts_follow_the_numbers():
    exact = [made_up(theory.settled_angles(8, recentre)[1], batch=8, normalization=kind)
             for kind, recentre in (("rescale", False), ("batch", True))]  # fmt: skip
    shown = [made_up(61.0, normalization="rescale"), made_up(76.0)]
    assert judged(*shown, *exact)[:2] == [("published", "holds")] * 2
    assert judged(*exact) == [("extension", "holds")] * 4  # N = 8 is not the batch that is shown
    assert judged(made_up(78.0))[0] == ("published", "fails")
    assert judged(made_up(72.0))[0] == ("published", "fails")
    assert judged(made_up(77.4, half_width=0.3))[0] == ("published", "undecided")


def test_other_batches_and_infinite_width_are_extensions():
    good = made_up(theory.settled_angles(8, True)[1], batch=8)
    small = made_up(theory.settled_angles(5, True)[1])
    assert judged(good, small)[1:] == [("extension", "fails"), ("extension", "holds")]  # 78.5 degrees at N = 5, exactly
    off = made_up(theory.settled_angles(8, True)[1] + 0.6, batch=8)
    assert judged(good, off) == [("extension", "holds"), ("extension", "fails")]


def test_caption_says_what_was_run(finished):
    assert "N = 5" in finished[0].caption
    assert "Seeds: 3 to 6" in finished[0].caption
