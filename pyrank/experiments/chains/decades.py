"""Runs that are looked at as evenly over log depth as a constant stride allows: a stretch for each decade of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrank.engine.run import Run
from pyrank.experiments.running import Job, run_all
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


def stretch_jobs(name: str, chain: Chain, depth: int, options: Mapping[str, Any]) -> list[Job]:
    """Return a job for each stretch; ``options`` are the arguments of `pyrank.simulate` that all of them share."""
    return [
        Job(
            name=f"{name},depth={part.depth}",
            chain=chain,
            depth=part.depth,
            options={**options, "burn_in": part.burn_in, "every": part.every, "trace": 2 * len(part.depths)},
            cost=(part.depth + 30 * len(part.depths)) * chain.width**2,
        )
        for part in stretches(depth)
    ]


def run_stretches(
    jobs: Sequence[Sequence[Job]], out: Path, *, device: str = "cpu", progress: bool | None = None
) -> list[list[Run]]:
    """Run the stretches of several chains under one progress bar, and return the runs of each chain together."""
    runs = iter(run_all([job for some in jobs for job in some], out, device=device, progress=progress))
    return [[next(runs) for _ in some] for some in jobs]


def joined(runs: Sequence[Run], measure: str | Measure) -> NDArray[np.float64]:
    """Return what the runs of all stretches recorded: (chains, depths)."""
    traces = [run[measure].trace for run in runs]
    return np.concatenate([trace for trace in traces if trace is not None], axis=1)


def recorded_depths(depth: int) -> NDArray[np.int64]:
    """Return the l of all recorded states H_l on the way to ``depth``."""
    return np.concatenate([part.depths for part in stretches(depth)])


def log_spaced(depths: NDArray[np.int64], per_decade: int = 15) -> NDArray[np.int64]:
    """Return the positions of those of increasing ``depths`` that draw a clean line over a logarithmic axis."""
    wanted = np.arange(0, np.log10(depths[-1]) + 1e-9, 1 / per_decade)
    nearest = np.abs(np.log10(depths)[:, None] - wanted).argmin(axis=0)
    return np.unique(np.append(nearest, len(depths) - 1))
