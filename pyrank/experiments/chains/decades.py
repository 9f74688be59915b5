"""Chains looked at as evenly over log depth as a constant stride allows: a stretch for each decade of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrank.engine.run import Run
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.tasks import Simulation
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure
from pyrank.support.errors import as_integer

PER_DECADE = 100
"""The last of so many states ends a stretch; those that an earlier stretch has seen are left out."""


@dataclass(frozen=True)
class Stretch:
    """A run to ``depth`` of which layer ``burn_in`` and then each ``every``-th is recorded.

    Stretches of one seed belong to the same chains: a later one goes through the layers of the earlier again, which
    costs a tenth more in all.
    """

    burn_in: int
    every: int
    depth: int

    @property
    def depths(self) -> NDArray[np.int64]:
        """The l of each recorded state H_l."""
        return np.arange(self.burn_in + 1, self.depth + 1, self.every)


def stretches(depth: int) -> tuple[Stretch, ...]:
    """Return the stretches that lead to ``depth``: all of the first 100 layers, each tenth up to 1000, and so on.

    Raises
    ------
    ArgumentError
        If there is less than one layer.
    """
    depth = as_integer("depth", depth, 1, 2**32, "give the number of layers")
    parts = [Stretch(0, 1, min(depth, PER_DECADE))]
    while parts[-1].depth < depth:
        seen, every = parts[-1].depth, 10 * parts[-1].every
        parts.append(Stretch(seen + every - 1, every, min(depth, 10 * seen)))
    return tuple(parts)


def stretch_tasks(name: str, chain: Chain, depth: int, options: Mapping[str, Any]) -> list[Simulation]:
    """Return a task for each stretch; ``options`` are the arguments of `pyrank.simulate` that all of them share."""
    return [
        Simulation(
            name=f"{name},depth={part.depth}",
            chain=chain,
            depth=part.depth,
            options={**options, "burn_in": part.burn_in, "every": part.every, "trace": 2 * len(part.depths)},
            cost=(part.depth + 30 * len(part.depths)) * chain.width**2,
        )
        for part in stretches(depth)
    ]


@dataclass(frozen=True, eq=False)
class Course:
    """What the stretches recorded of the same chains, joined.

    Attributes
    ----------
    depths
        The l of all recorded states H_l.
    values
        By name, (chains, depths).
    degenerate_rows
        Zero lines that the normalisation met, in all chains.
    flags
        Of the estimates within the last stretch.
    """

    depths: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    degenerate_rows: int = 0
    flags: str = ""

    @property
    def late(self) -> NDArray[np.int64]:
        """The depths of the last decade."""
        return np.asarray(self.depths[self.depths > self.depths[-1] / 10])

    def nearest(self, depth: float) -> int:
        """Return the position of the recorded depth next to one."""
        return int(np.abs(self.depths - depth).argmin())

    def over(self, name: str, first: int, last: int) -> NDArray[np.float64]:
        """Return the mean of each chain over the recorded depths from first to last, (chains,)."""
        chosen = (self.depths >= first) & (self.depths <= last)
        return np.asarray(self.values[name][:, chosen].mean(axis=1))

    def at_the_end(self, name: str) -> NDArray[np.float64]:
        """Return the mean of each chain over the last decade of depths, (chains,)."""
        return self.over(name, *self.late[[0, -1]])

    def log_spaced(self, per_decade: int = 15) -> NDArray[np.int64]:
        """Return the positions of those depths that draw a clean line over a logarithmic axis; 0 is none of them."""
        wanted = np.arange(0, np.log10(self.depths[-1]) + 1e-9, 1 / per_decade)
        drawn = np.flatnonzero(self.depths)
        nearest = np.abs(np.log10(self.depths[drawn])[:, None] - wanted).argmin(axis=0)
        return np.asarray(drawn[np.unique(np.append(nearest, len(drawn) - 1))])


def courses(runs: Sequence[Run], measures: Mapping[str, str | Measure]) -> list[Course]:
    """Join the runs of the stretches of each law, given in the order of their tasks; measures get the names given."""
    starts = [number for number, run in enumerate(runs) if run.plan.burn_in == 0]
    return [_joined(runs[start:end], measures) for start, end in zip(starts, [*starts[1:], len(runs)], strict=True)]


def _joined(runs: Sequence[Run], measures: Mapping[str, str | Measure]) -> Course:
    last = runs[-1]
    return Course(
        depths=np.concatenate([part.depths for part in stretches(last.depth)]),
        values={name: np.concatenate([trace(run, str(measure)) for run in runs], axis=1)
                for name, measure in measures.items()},
        degenerate_rows=int(last.events["degenerate_rows"].sum()),
        flags="; ".join(dict.fromkeys(flag for estimate in last.values() for flag in estimate.flags)),
    )  # fmt: skip
