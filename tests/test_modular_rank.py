"""Exact ranks against elimination in fractions."""

from fractions import Fraction

import numpy as np

from pyrank.theory.modular_rank import PRIME, extend, inverse, rank_growth


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


def test_ranks_are_the_rational_ones():
    rng = np.random.default_rng(2)
    values = rng.integers(-(2**40), 2**40, size=(12, 20, 6)) * (rng.random((12, 20, 6)) < 0.3)
    values[::3, 4:] = values[::3, :1] * rng.integers(-5, 5, size=(4, 16, 1))  # matrices that stay below full rank
    expected = [rational_ranks(matrix) for matrix in values]
    np.testing.assert_array_equal(rank_growth(np.split(values, 5, axis=1), values.shape), expected)
    np.testing.assert_array_equal(rank_growth([values], values.shape), expected)
    assert len({tuple(growth) for growth in expected}) > 3  # they differ, so there is something to get wrong


def test_no_more_rows_are_drawn_than_needed():
    blocks = iter([np.array([np.eye(3, dtype=np.int64)] * 2)] * 4)
    assert rank_growth(blocks, (2, 12, 3)).tolist() == [[1, 2, *[3] * 10]] * 2
    assert len(list(blocks)) == 3


def test_rows_that_depend_on_others_add_nothing():
    basis = np.zeros((2, 3, 3), dtype=np.int64)
    rows = [([0, 2, 4], [5, 0, 0]), ([0, 1, 2], [-5, 0, 1]), ([1, 0, 0], [0, 0, 7]), ([3, -1, -2], [0, 0, 0])]
    grew = [extend(basis, np.array(row)).tolist() for row in rows]
    assert grew == [[True, True], [False, True], [True, False], [False, False]]


def test_inverses():
    values = np.random.default_rng(1).integers(1, PRIME, size=1000)
    assert np.all(values * inverse(values) % PRIME == 1)
