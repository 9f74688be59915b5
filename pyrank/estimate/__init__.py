"""Streaming estimates: what is kept of a run of any length, and the error bars drawn from it."""

from pyrank.estimate.accumulator import Accumulator
from pyrank.estimate.estimates import Estimate, estimate

__all__ = ["Accumulator", "Estimate", "estimate"]
