"""Ranks of ReLU(W X) against elimination in fractions, against the stream's own weights, verdicts both ways."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch

from pyrank import Chain, draw_weights, numerical_rank
from pyrank.experiments.chains import random_relu_rank as relu_rank

PLANE = relu_rank.Setting(samples=6, features=2, opposite=False, seeds=12, per_sample=5)
PAIRS = dataclasses.replace(PLANE, opposite=True)


def rational_ranks(matrix):
    """Rank of the first 1, 2, ... rows, by elimination in fractions."""
    basis, ranks = {}, []
    for row in matrix.tolist():
        left = [Fraction(value) for value in row]
        for pivot in range(len(left)):
            if left[pivot] and pivot in basis:
                factor = left[pivot]
                left = [a - factor * b for a, b in zip(left, basis[pivot], strict=True)]
            elif left[pivot]:
                basis[pivot] = [a / left[pivot] for a in left]
                break
        ranks.append(len(basis))
    return ranks


@pytest.mark.parametrize("setting", [PLANE, PAIRS])
def test_ranks_are_the_rational_ones(setting):
    ranks = relu_rank.rank_growth(setting, seed=4)
    values = np.concatenate(list(relu_rank.layers(setting, seed=4)), axis=1)
    expected = [rational_ranks(matrix) for matrix in values]
    np.testing.assert_array_equal(ranks, expected)
    assert len({tuple(growth) for growth in expected}) > 3  # they differ, so there is something to get wrong


def test_rows_that_depend_on_others_add_nothing():
    basis = np.zeros((2, 3, 3), dtype=np.int64)
    rows = [([0, 2, 4], [5, 0, 0]), ([0, 1, 2], [-5, 0, 1]), ([1, 0, 0], [0, 0, 7]), ([3, -1, -2], [0, 0, 0])]
    grew = [relu_rank.extend(basis, np.array(row)).tolist() for row in rows]
    assert grew == [[True, True], [False, True], [True, False], [False, False]]


def test_inverses():
    values = np.random.default_rng(1).integers(1, relu_rank.PRIME, size=1000)
    assert np.all(values * relu_rank._inverse(values) % relu_rank.PRIME == 1)


def test_features_are_those_of_the_stream():
    chain = Chain((2, 6), dtype="float64")
    for setting in (PLANE, PAIRS):
        X = draw_weights(chain, 4, 1, 3).numpy()
        X = np.concatenate([X[:, :3], -X[:, :3]], axis=1) if setting.opposite else X
        blocks = list(relu_rank.layers(setting, seed=4))
        assert len(blocks) == 5
        for number, block in enumerate(blocks):
            expected = np.maximum(draw_weights(chain, 4, 2 * number, 3).numpy() @ X, 0)
            np.testing.assert_allclose(block[3] / relu_rank.GRID**2, expected, atol=1e-5)  # both rounded to 2^-21


def test_inputs_have_the_rank_they_should():
    """Without ReLU the rank is that of X; with it, it grows to N, and with pairs to N / 2 + rank X."""
    for features in (2, 3):
        setting = relu_rank.Setting(samples=8, features=features, opposite=True, seeds=20, per_sample=40)
        ranks = relu_rank.rank_growth(setting, seed=5)
        assert ranks.max() == 4 + features
        first = torch.from_numpy(next(relu_rank.layers(setting, seed=5)).astype(float))
        assert torch.all(numerical_rank(first[:, :, :4] - first[:, :, 4:]) == features)
    plain = relu_rank.Setting(samples=8, features=2, opposite=False, seeds=20, per_sample=400)
    assert np.all(relu_rank.rank_growth(plain, seed=6)[:, -1] == 8)


@pytest.fixture(scope="module")
def rows():
    return [
        relu_rank._row(setting, relu_rank.rank_growth(setting, number), number)
        for number, setting in enumerate(relu_rank._grid((8,), seeds=100, per_sample=64))
    ]


def test_numerical_rank_agrees_and_says_why(rows):
    for row in rows:
        assert row.agree == row.seeds
        assert row.counted > 1e-10
        assert row.ignored < 1e-14


def test_row_counts_the_rows_needed():
    setting = relu_rank.Setting(samples=2, features=2, opposite=False, seeds=4, per_sample=4)
    ranks = np.array([[1, 2, 2, 2, 2, 2, 2, 2], [0, 1, 1, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 1, 2], [0] * 7 + [1]])
    row = relu_rank._row(setting, ranks, seed=1)
    assert (row.reached, row.one_by_one, row.largest) == (3, 1, 2)
    assert (row.early, row.median, row.late) == (4, 8, np.inf)  # the next higher of 2, 4, 8 and never


def test_verdicts(rows):
    def verdicts(*changed):
        return [claim.verdict for claim in relu_rank._judge(changed)]

    plane, pairs, space, pairs_in_space = rows
    assert verdicts(*rows) == ["holds", "holds", "fails", "fails", "holds"]
    assert pairs_in_space.largest == 8  # four independent x and their opposites: nothing is lost
    assert verdicts(plane, pairs, space) == ["holds", "holds", "fails", "holds", "holds"]
    few = dataclasses.replace(plane, reached=80, one_by_one=100)
    more = dataclasses.replace(pairs, largest=7)
    assert verdicts(few, more) == ["fails", "holds", "holds", "fails"]
    assert verdicts(dataclasses.replace(plane, reached=96), pairs)[0] == "undecided"


def test_files_are_complete(tmp_path):
    settings = relu_rank.Settings((PLANE, PAIRS), seed=4)
    result = relu_rank.reproduce(settings, tmp_path, progress=False)
    assert all(path.stat().st_size for path in result.files)
    assert "Seeds 4 to 5" in result.caption.replace("\n", " ")
    assert relu_rank.reproduce(settings, tmp_path, progress=False) == result
