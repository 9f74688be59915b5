"""The pure-torch twin of everything compiled, and measures on any tensor: slow, plain, and right."""

from pyrank.reference.chain import advance
from pyrank.reference.geometry import Outlier, orthogonality_gap, outlier, pairwise_angles
from pyrank.reference.layer import layer_step
from pyrank.reference.measures import frobenius_norm, participation_ratio, rank_bound_margin, soft_rank, trace
from pyrank.reference.spectral import effective_rank, isometry_gap, numerical_rank, singular_values, stable_rank
from pyrank.reference.weights import draw_weights

__all__ = [
    "Outlier",
    "advance",
    "draw_weights",
    "effective_rank",
    "frobenius_norm",
    "isometry_gap",
    "layer_step",
    "numerical_rank",
    "orthogonality_gap",
    "outlier",
    "pairwise_angles",
    "participation_ratio",
    "rank_bound_margin",
    "singular_values",
    "soft_rank",
    "stable_rank",
    "trace",
]
