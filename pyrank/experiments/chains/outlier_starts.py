"""Where the chains of the experiment outlier-stability start."""

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
            return features_of(theory.escaped_mixture(self.batch, self.size), width)
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
