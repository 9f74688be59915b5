"""Real networks: what becomes of the rank of a representation, layer by layer, and what to do about it."""

from typing import TYPE_CHECKING

from pyrank.support.lazy import names_of

if TYPE_CHECKING:
    from pyrank.networks.gradients import GradientAlignment, gradient_alignment
    from pyrank.networks.monitor import RankMonitor

_HOMES = {
    "gradients": "GradientAlignment gradient_alignment",
    "monitor": "RankMonitor",
}

__all__ = [
    "GradientAlignment",
    "RankMonitor",
    "gradient_alignment",
]

__getattr__, __dir__ = names_of(__name__, _HOMES)
