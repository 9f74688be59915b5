"""Exact, accelerated simulation of very deep random networks: how many directions survive, layer by layer.

>>> import math, pyrank
>>> chain = pyrank.Chain(width=32, gamma=math.inf)
>>> run = pyrank.simulate(chain, depth=10_000, chains=16, seed=0)
>>> run["soft_rank(0.5)"].mean  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyrank._version import __version__

if TYPE_CHECKING:
    from pyrank import reference, theory
    from pyrank.engine.checkpoint import CheckpointError
    from pyrank.engine.config import show_config
    from pyrank.engine.lyapunov import LyapunovSpectrum, lyapunov_spectrum
    from pyrank.engine.run import Run
    from pyrank.engine.simulation import Interrupted, simulate
    from pyrank.estimate import Estimate
    from pyrank.ops import layer_step, participation_ratio
    from pyrank.reference import (
        draw_weights,
        effective_rank,
        frobenius_norm,
        isometry_gap,
        numerical_rank,
        orthogonality_gap,
        outlier,
        pairwise_angles,
        rank_bound_margin,
        singular_values,
        soft_rank,
        stable_rank,
        trace,
    )
    from pyrank.specs.chain import Chain
    from pyrank.specs.measures import Measure
    from pyrank.specs.normalization import Normalization
    from pyrank.specs.weights import Weights
    from pyrank.support.errors import ArgumentError

# Names are looked up on first use, so that `pyrank --help` does not wait for torch.
_HOMES = {
    "ArgumentError": "support.errors",
    "Chain": "specs.chain",
    "CheckpointError": "engine.checkpoint",
    "Estimate": "estimate",
    "Interrupted": "engine.simulation",
    "LyapunovSpectrum": "engine.lyapunov",
    "Measure": "specs.measures",
    "Normalization": "specs.normalization",
    "Run": "engine.run",
    "Weights": "specs.weights",
    "draw_weights": "reference",
    "effective_rank": "reference",
    "frobenius_norm": "reference",
    "isometry_gap": "reference",
    "layer_step": "ops",
    "lyapunov_spectrum": "engine.lyapunov",
    "numerical_rank": "reference",
    "orthogonality_gap": "reference",
    "outlier": "reference",
    "pairwise_angles": "reference",
    "participation_ratio": "ops",
    "rank_bound_margin": "reference",
    "show_config": "engine.config",
    "simulate": "engine.simulation",
    "singular_values": "reference",
    "soft_rank": "reference",
    "stable_rank": "reference",
    "trace": "reference",
}

__all__ = [
    "ArgumentError",
    "Chain",
    "CheckpointError",
    "Estimate",
    "Interrupted",
    "LyapunovSpectrum",
    "Measure",
    "Normalization",
    "Run",
    "Weights",
    "__version__",
    "draw_weights",
    "effective_rank",
    "frobenius_norm",
    "isometry_gap",
    "layer_step",
    "lyapunov_spectrum",
    "numerical_rank",
    "orthogonality_gap",
    "outlier",
    "pairwise_angles",
    "participation_ratio",
    "rank_bound_margin",
    "reference",
    "show_config",
    "simulate",
    "singular_values",
    "soft_rank",
    "stable_rank",
    "theory",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name in ("reference", "theory"):
        return import_module(f"pyrank.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'pyrank' has no attribute {name!r}")
    return getattr(import_module(f"pyrank.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
