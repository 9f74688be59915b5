"""Batch normalisation of networks, as torch has it, and what it is compared with."""

from pyrank.specs.normalization import NORMALIZATIONS, Normalization

EPS = 1e-5
BN = Normalization(recentre=True, eps=EPS)
UNCENTRED = Normalization(eps=EPS)
"""BN without mean deduction."""
NONE = NORMALIZATIONS["none"]
