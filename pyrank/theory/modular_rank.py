"""Ranks of integer matrices, counted exactly: rows are eliminated modulo a prime, without a tolerance.

Such a rank is never too high, and too low only where a minor happens to be a multiple of the prime: with a chance of
about 1e-9 for each row of matrices that do not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

PRIME = 2**31 - 1
"""Products of two residues fit into 64 bits."""


def rank_growth(blocks: Iterable[Integers], shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Return the rank of the first 1, 2, ... rows of several matrices.

    Parameters
    ----------
    blocks
        The rows of all matrices, piece by piece: each of shape (matrices, some rows, columns). Pieces are taken until
        every matrix has full rank.
    shape
        How many matrices, rows and columns.

    Returns
    -------
    ndarray, shape (matrices, rows)
    """
    matrices, rows, columns = shape
    ranks = np.full((matrices, rows), columns, dtype=np.int16)
    basis = np.zeros((matrices, columns, columns), dtype=np.int64)
    rank = np.zeros(matrices, dtype=np.int64)
    done = 0
    for values in blocks:
        active = np.flatnonzero(rank < columns)
        some = basis[active]
        for row in range(values.shape[1]):
            rank[active] += extend(some, values[active, row])
            ranks[active, done + row] = rank[active]
        basis[active] = some
        done += values.shape[1]
        if rank.min() == columns:
            break
    return ranks


def extend(basis: Integers, row: Integers) -> NDArray[np.bool_]:
    """Add a row to each of several bases modulo `PRIME`, in place; tell which of them it made larger.

    Parameters
    ----------
    basis
        Shape (matrices, columns, columns): row j is zero, or its first entry that is not zero is a 1 at j.
    row
        Shape (matrices, columns).
    """
    row = row % PRIME
    for j in range(row.shape[1]):
        row[:, j:] = (row[:, j:] - row[:, j : j + 1] * basis[:, j, j:]) % PRIME
    larger: NDArray[np.bool_] = (row != 0).any(axis=1)
    grew = np.flatnonzero(larger)
    pivot = (row[grew] != 0).argmax(axis=1)
    basis[grew, pivot] = row[grew] * inverse(row[grew, pivot])[:, None] % PRIME
    return larger


def inverse(values: Integers) -> Integers:
    """Return v^(p - 2), the inverse of v modulo p = `PRIME` (Fermat)."""
    power, result, exponent = values, np.ones_like(values), PRIME - 2
    while exponent:
        if exponent & 1:
            result = result * power % PRIME
        power = power * power % PRIME
        exponent >>= 1
    return result
