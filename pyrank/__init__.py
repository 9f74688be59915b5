"""Exact, accelerated simulation of very deep random networks: how many directions survive, layer by layer.

>>> import math, pyrank
>>> chain = pyrank.Chain(width=32, gamma=math.inf)
>>> run = pyrank.simulate(chain, depth=10_000, chains=16, seed=0)
>>> run["soft_rank(0.5)"].mean  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrank._version import __version__
from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank import data, networks, optimization, reference, theory
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
    from pyrank.studies import Study, Task, grid
    from pyrank.support.errors import ArgumentError, GpuError
    from pyrank.support.files import NotWritten

_HOMES = {
    "": "data networks optimization reference theory",
    "_version": "__version__",
    "engine.checkpoint": "CheckpointError",
    "engine.config": "show_config",
    "engine.lyapunov": "LyapunovSpectrum lyapunov_spectrum",
    "engine.run": "Run",
    "engine.simulation": "Interrupted simulate",
    "estimate": "Estimate",
    "ops": "layer_step participation_ratio",
    "reference": "draw_weights effective_rank frobenius_norm isometry_gap numerical_rank orthogonality_gap "
    "outlier pairwise_angles rank_bound_margin singular_values soft_rank stable_rank trace",
    "specs.chain": "Chain",
    "specs.measures": "Measure",
    "specs.normalization": "Normalization",
    "specs.weights": "Weights",
    "studies": "Study Task grid",
    "support.errors": "ArgumentError GpuError",
    "support.files": "NotWritten",
}

__all__ = [
    "ArgumentError",
    "Chain",
    "CheckpointError",
    "Estimate",
    "GpuError",
    "Interrupted",
    "LyapunovSpectrum",
    "Measure",
    "Normalization",
    "NotWritten",
    "Run",
    "Study",
    "Task",
    "Weights",
    "__version__",
    "data",
    "draw_weights",
    "effective_rank",
    "frobenius_norm",
    "grid",
    "isometry_gap",
    "layer_step",
    "lyapunov_spectrum",
    "networks",
    "numerical_rank",
    "optimization",
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

__getattr__, __dir__ = names_of(__name__, _HOMES)
