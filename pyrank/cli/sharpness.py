"""The Hessian of a user's network, found by name, on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrank.cli.watching import as_it_takes
from pyrank.support.errors import as_integer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pyrank.optimization import HessianSpectrum


def sharpness(network: str, data: str, samples: int, seed: int, k: int) -> HessianSpectrum:
    """Build a network, and return the largest eigenvalues of the Hessian of its cross-entropy on a batch."""
    import torch
    from torch.nn.functional import cross_entropy

    from pyrank.data import load
    from pyrank.networks.kept import kept
    from pyrank.optimization import hessian_eigenvalues

    as_integer("--samples", samples, 1, 2**31, "take 1000")
    as_integer("--seed", seed, 0, 2**63 - 1, "take 0")
    as_integer("--k", k, 1, 2**31, "take 10")
    x, y = load(data, samples=samples, seed=seed)

    def taken(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
        with kept(model), torch.no_grad():
            model(x)
        return model, x

    model, x = as_it_takes(network, seed, x, taken)
    return hessian_eigenvalues(model, cross_entropy, (x, y.to(x.device)), k)
