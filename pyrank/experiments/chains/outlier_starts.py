"""Where the chains of the experiment outlier-stability start, and where they go in layers of infinite width."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyrank import theory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """A batch, and how it is disturbed.

    Attributes
    ----------
    batch
        N; the outlier is the last sample.
    kind, size
        ``"noise"``: the cluster in one point, each sample with gaussian noise of ``size`` times its length.
        ``"wider"``: the escaped state, but 1 - cosine within the cluster is larger by the factor 1 + ``size``.
        ``"mixture"``: between the symmetric state, ``size`` 0, and the escaped one, ``size`` 1.
    normalization
        Of the chain.
    """

    batch: int
    kind: str
    size: float
    normalization: str = "recentre"

    def features(self, width: int, chains: int, seed: tuple[int, ...]) -> Floats:
        """Return H_0 = F(H_0), shape (chains, width, N), or (width, N) if all chains start alike."""
        if self.kind == "mixture":
            return features_of(mixture(self.batch, self.size), width)
        if self.kind == "wider":
            gram = theory.escaped_gram(self.batch)
            cluster = ~np.eye(self.batch, dtype=bool)
            cluster[-1] = cluster[:, -1] = False
            gram[cluster] = 1.0 - (1.0 + self.size) * (1.0 - gram[cluster])
            return features_of(gram, width)
        exact = features_of(theory.outlier_gram(self.batch), width)
        noise = np.random.default_rng(seed).normal(size=(chains, *exact.shape)) / math.sqrt(width)
        disturbed: Floats = np.maximum(exact + self.size * np.linalg.norm(exact, axis=0) * noise, 0.0)
        return disturbed


def features_of(gram: Floats, width: int) -> Floats:
    """Return features (width, N) without negative entries and of this Gram matrix.

    The unit vectors of the cluster have one cosine c: sqrt(c) on rows that all share and sqrt(1 - c) on rows of their
    own, as far as the outlier goes too.
    """
    batch = len(gram)
    shared, product = math.sqrt(gram[0, 1]), gram[0, -1]
    blocks = np.zeros((batch + 1, batch))
    np.fill_diagonal(blocks[1:], math.sqrt(max(1.0 - gram[0, 1], 0.0)))
    blocks[0] = shared
    blocks[0, -1] = product / shared
    blocks[-1, -1] = math.sqrt(gram[-1, -1] - (product / shared) ** 2)
    rows = width // (batch + 1)
    features = np.zeros((width, batch))
    features[: rows * (batch + 1)] = np.repeat(blocks / math.sqrt(rows), rows, axis=0)
    return features


def mixture(batch: int, weight: float) -> Floats:
    """Return a Gram matrix between the symmetric state, of weight 0, and the escaped one, of weight 1."""
    symmetric = np.full((batch, batch), theory.recentred_relu_cosine(batch))
    np.fill_diagonal(symmetric, 1.0)
    mixed: Floats = weight * theory.escaped_gram(batch) + (1.0 - weight) * symmetric
    return mixed


def critical_mixture(batch: int) -> float:
    """Return the weight of the escaped state below which a mixture ends in the symmetric one, in infinite width."""
    low, high = 1e-6, 1.0
    for _ in range(14):
        weight = math.sqrt(low * high)
        gram = mixture(batch, weight)
        for _ in range(400):
            gram = theory.recentred_relu_gram(gram)
            gram = (gram + gram.T) / (2 * gram[0, 0])
        returned = gram[-1, -1] > mixture(batch, weight)[-1, -1]
        low, high = (low, weight) if returned else (weight, high)
    return math.sqrt(low * high)


def exact_spread(batch: int) -> float:
    """Return the spread of the cluster in the escaped state of infinite width."""
    return math.sqrt((1.0 - theory.escaped_gram(batch)[0, 1]) * (batch - 2) / (batch - 1))
