"""Ranks of ReLU(W X) against the stream's own weights and the rank of X, verdicts both ways."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from pyrank import Chain, draw_weights, numerical_rank
from pyrank.experiments.chains.random_relu_rank import EXPERIMENT, GRID, Setting, Settings, grow, layers, rows
from pyrank.experiments.declaration import Found
from pyrank.experiments.tables import Row

PLANE = Setting(samples=6, features=2, opposite=False, seeds=12, per_sample=5)
PAIRS = dataclasses.replace(PLANE, opposite=True)
SMALL = Settings(
    tuple(
        Setting(8, features, opposite, seeds=100, per_sample=16 if opposite else 64)
        for features in (2, 4)
        for opposite in (False, True)
    )
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return EXPERIMENT.find(SMALL, tmp_path_factory.mktemp("ranks"))


def test_features_are_those_of_the_stream():
    chain = Chain((2, 6), dtype="float64")
    for setting in (PLANE, PAIRS):
        X = draw_weights(chain, 4, 1, 3).numpy()
        X = np.concatenate([X[:, :3], -X[:, :3]], axis=1) if setting.opposite else X
        blocks = list(layers(setting, seed=4))
        assert len(blocks) == 5
        for number, block in enumerate(blocks):
            expected = np.maximum(draw_weights(chain, 4, 2 * number, 3).numpy() @ X, 0)
            np.testing.assert_allclose(block[3] / GRID**2, expected, atol=1e-5)  # both rounded to 2^-21


def test_ranks_are_those_of_the_features():
    for setting in (PLANE, PAIRS):
        ranks, _ = grow(setting, seed=4)
        features = torch.from_numpy(np.concatenate(list(layers(setting, seed=4)), axis=1).astype(float))
        for count in (1, 3, 5, 8, 30):
            np.testing.assert_array_equal(ranks[:, count - 1], numerical_rank(features[:, :count]))
        assert len({tuple(growth) for growth in ranks.tolist()}) > 3


def test_inputs_have_the_rank_they_should():
    """Without ReLU the rank is that of X; with it, it grows to N, and with pairs to N / 2 + rank X."""
    for features in (2, 3):
        setting = Setting(samples=8, features=features, opposite=True, seeds=20, per_sample=40)
        assert grow(setting, seed=5)[0].max() == 4 + features
        first = torch.from_numpy(next(layers(setting, seed=5)).astype(float))
        assert torch.all(numerical_rank(first[:, :, :4] - first[:, :, 4:]) == features)
    plain = Setting(samples=8, features=2, opposite=False, seeds=20, per_sample=400)
    assert np.all(grow(plain, seed=6)[0][:, -1] == 8)


def test_numerical_rank_agrees_and_says_why(found):
    for row in found.rows:
        assert row.agree == row.seeds
        assert row.counted > 1e-10
        assert row.ignored < 1e-14


def test_row_counts_the_rows_needed():
    setting = Setting(samples=2, features=2, opposite=False, seeds=4, per_sample=4)
    ranks = np.array([[1, 2, 2, 2, 2, 2, 2, 2], [0, 1, 1, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1, 2], [0] * 7 + [1]])
    (row,) = rows(Settings((setting,)), [(ranks, {"agree": 4})])
    assert (row["reached"], row["one_by_one"], row["largest"], row["agree"]) == (3, 1, 2, 4)
    assert (row["early"], row["median"], row["late"]) == (4, 8, math.inf)  # the next higher of 2, 4, 8 and never


def test_each_setting_has_a_seed_of_its_own():
    tasks = EXPERIMENT.tasks(dataclasses.replace(SMALL, seed=7))
    assert [task.arguments["seed"] for task in tasks] == [7, 8, 9, 10]
    assert len({task.name for task in tasks}) == 4


def changed(row, **values):
    return Row(**{**vars(row), **values})


def test_verdicts(found):
    def judged(*some):
        return [(claim.kind, claim.verdict) for claim in EXPERIMENT.claims(Found(SMALL, [], some))]

    plane, pairs, space, pairs_in_space = found.rows
    for claim in EXPERIMENT.claims(found)[:2]:
        assert claim.reading.endswith("Theorem 3 are not at hand and taken to be this growth")
    growth = [("published", "holds")] * 2
    assert judged(*found.rows) == [*growth, ("extension", "fails"), ("extension", "holds")]
    assert pairs_in_space.largest == 8  # four independent x and their opposites: nothing is lost
    few = changed(plane, reached=80, one_by_one=100)
    assert judged(few, pairs) == [("published", "fails"), ("extension", "holds"), ("extension", "holds")]
    assert judged(few, plane, space, pairs)[:2] == [
        ("published", "fails"),
        ("published", "holds"),
    ]  # the worst N counts
    for largest in (5, 7):
        assert judged(plane, pairs_in_space, changed(pairs, largest=largest))[-1] == ("extension", "fails")
    assert judged(changed(plane, reached=96), pairs)[0] == ("published", "undecided")


def test_files_are_complete(tmp_path):
    settings = Settings((PLANE, PAIRS), seed=4)
    result = EXPERIMENT.run(settings, tmp_path)
    assert all(path.stat().st_size for path in result.files)
    assert "Seeds: 4 to 5." in result.caption
    assert EXPERIMENT.run(settings, tmp_path) == result
