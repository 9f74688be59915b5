"""The pure-torch twin of everything compiled: slow, plain, and right."""

from pyrank.reference.chain import advance
from pyrank.reference.layer import layer_step
from pyrank.reference.measures import frobenius_norm, participation_ratio, rank_bound_margin, soft_rank, trace
from pyrank.reference.weights import draw_weights

__all__ = [
    "advance",
    "draw_weights",
    "frobenius_norm",
    "layer_step",
    "participation_ratio",
    "rank_bound_margin",
    "soft_rank",
    "trace",
]
