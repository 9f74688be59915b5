"""The Hessian of a user's network, found by name, on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrank.cli.watching import built, takes_vectors
from pyrank.support.errors import as_integer

if TYPE_CHECKING:
    from pyrank.optimization import HessianSpectrum


def sharpness(network: str, data: str, samples: int, seed: int, k: int) -> HessianSpectrum:
    """Build a network, and return the largest eigenvalues of the Hessian of its cross-entropy on a batch."""
    from torch.nn.functional import cross_entropy

    from pyrank.data import load
    from pyrank.optimization import hessian_eigenvalues

    as_integer("--samples", samples, 1, 2**31, "take 1000")
    as_integer("--seed", seed, 0, 2**63 - 1, "take 0")
    as_integer("--k", k, 1, 2**31, "take 10")
    x, y = load(data, samples=samples, seed=seed)
    model = built(network, seed)
    return hessian_eigenvalues(model, cross_entropy, (x.flatten(1) if takes_vectors(model) else x, y), k)
