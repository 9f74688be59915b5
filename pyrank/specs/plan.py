"""What a run computes, apart from how far it goes: the identity that checkpoints and backends share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure

EVENTS = ("degenerate_rows", "flagged", "ambiguous")
"""Lines found to be zero by rescaling; eigenvalue counts redone in double; counts that stay undecided."""

COUNTERS = (*EVENTS, "exponent")
"""Rows of the counters of a run: the events, and the powers of two taken off a drifting state."""

POINTS = ("state", "activation")
"""What is measured: H, which the next layer takes, or F(H)."""


@dataclass(frozen=True)
class Schedule:
    """Which layers are recorded: number ``burn_in`` and then each ``every``-th."""

    burn_in: int
    every: int

    def records(self, layer: int) -> bool:
        """Whether layer ``layer`` is recorded."""
        return layer >= self.burn_in and (layer - self.burn_in) % self.every == 0

    def recorded(self, depth: int) -> int:
        """Return how many of the layers 0 .. depth - 1 are recorded."""
        return max(0, -(-(depth - self.burn_in) // self.every))

    def next(self, layer: int) -> int:
        """Return the first recorded layer from ``layer`` on."""
        return self.burn_in + self.recorded(layer) * self.every


@dataclass(frozen=True)
class Plan:
    """Chains 0 .. chains - 1 of one law, one seed, and what is recorded of them.

    Layer l takes H_l to H_{l+1}; what is recorded "at layer l" is measured on H_{l+1}, or on F(H_{l+1}).
    """

    chain: Chain
    seed: int
    chains: int
    measures: tuple[Measure, ...]
    burn_in: int
    every: int
    trace: int
    initial: str
    observe: str = "state"
    snapshots: tuple[Measure, ...] = ()
    snapshot_every: int = 1

    @property
    def schedule(self) -> Schedule:
        """When the kernels measure."""
        return Schedule(self.burn_in, self.every)

    @property
    def snapshot_schedule(self) -> Schedule:
        """When snapshots are taken."""
        return Schedule(self.burn_in, self.snapshot_every)

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-friendly values."""
        return {
            "chain": self.chain.to_dict(),
            "seed": self.seed,
            "chains": self.chains,
            "measures": [str(measure) for measure in self.measures],
            "burn_in": self.burn_in,
            "every": self.every,
            "trace": self.trace,
            "initial": self.initial,
            "observe": self.observe,
            "snapshots": [str(measure) for measure in self.snapshots],
            "snapshot_every": self.snapshot_every,
        }
