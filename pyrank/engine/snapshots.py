"""Records snapshot measures along a run, in memory that does not grow with depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank.engine import saved
from pyrank.estimate import Accumulator, Estimate, estimate
from pyrank.reference.activations import activate
from pyrank.reference.snapshots import snapshot
from pyrank.specs.plan import Plan
from pyrank.support import memory
from pyrank.support.ambient import one_thread
from pyrank.support.errors import invalid

PREFIX = "snapshot_"
"""What distinguishes the arrays of this record in a checkpoint."""


@dataclass
class Snapshots:
    """The record of all snapshot measures of a run; a measure of several numbers has a record for each.

    Attributes
    ----------
    sizes
        How many numbers each measure gives; None for one that gives a plain number.
    """

    plan: Plan
    sizes: tuple[int | None, ...]
    accumulator: Accumulator

    @classmethod
    def empty(cls, plan: Plan, state: Tensor, layer: int) -> Snapshots:
        """Return a record of nothing; the measures are tried on H_layer, to learn how many numbers they give.

        Where the width varies, it is cut or filled with zeros to the width of the next state that will be recorded.
        """
        answers = _answers(plan, state, plan.snapshot_schedule.next(layer) + 1)
        sizes = tuple(None if values.ndim == 1 else values.shape[1] for values in answers)
        flags = [what.is_rank for what, size in zip(plan.snapshots, sizes, strict=True) for _ in range(size or 1)]
        bins = min(state.shape[-2:]) + 1
        given = {"numbers": len(flags), "chains": plan.chains, "trace": plan.trace}
        record = Accumulator.size(len(flags), sum(flags), plan.chains, bins, plan.trace)
        memory.require(2 * record, given, memory.SMALLER_RECORD)  # the result holds a copy
        return cls(plan, sizes, Accumulator.empty(flags, plan.chains, bins, plan.trace))

    @property
    def names(self) -> list[str]:
        """Name of each number: ``"stable_rank"``, or ``"singular_values(2)[0]"``, ``"singular_values(2)[1]"``."""
        names = []
        for what, size in zip(self.plan.snapshots, self.sizes, strict=True):
            names += [str(what)] if size is None else [f"{what}[{i}]" for i in range(size)]
        return names

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of the record by name, not copied."""
        return {PREFIX + name: array for name, array in self.accumulator.arrays().items()}

    def resume(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over the arrays of a record that was saved at ``path``.

        Raises
        ------
        ArgumentError
            If they hold another number of measures: a function of the same name gave other numbers then.
        CheckpointError
            If they cannot be those of such a record.
        """
        then = arrays[PREFIX + "rank_index"].size if PREFIX + "rank_index" in arrays else self.accumulator.measures
        if then != self.accumulator.measures and any(measure.function for measure in self.plan.snapshots):
            wanted = f"functions that give {then} numbers in all, as when the checkpoint was written"
            raise invalid("measures", self.names, wanted, "choose another checkpoint file")
        found = saved.matching(path, arrays, self.accumulator.arrays(), PREFIX)
        self.accumulator = Accumulator.from_arrays(found)

    def record(self, state: Tensor, layer: int) -> None:
        """Record ``state`` (chains, d, N), which layer ``layer`` gave, if that layer is one of the schedule."""
        schedule = self.plan.snapshot_schedule
        if not self.plan.snapshots or not schedule.records(layer):
            return
        answers = [values.reshape(self.plan.chains, -1) for values in _answers(self.plan, state, layer + 1)]
        if [values.shape[1] for values in answers] != [size or 1 for size in self.sizes]:
            given = [tuple(values.shape) for values in answers]
            raise invalid("measures", given, f"as many numbers as at first, {self.sizes}", "let it return those")
        self.accumulator.push(torch.cat(answers, dim=1).T.numpy(), schedule.recorded(layer))

    def estimates(self, depth: int) -> dict[str, Estimate]:
        """Return the estimate of each number by name, at the end of ``depth`` layers."""
        count = self.plan.snapshot_schedule.recorded(depth)
        return {name: estimate(self.accumulator, m, count) for m, name in enumerate(self.names)}


@one_thread()
def _answers(plan: Plan, state: Tensor, layer: int) -> list[Tensor]:
    """Measure H_layer, which stands in the first rows of ``state``."""
    H = state[:, : plan.chain.width_at(layer)]
    seen = activate(H, plan.chain.activation) if plan.observe == "activation" else H
    return [snapshot(seen, what) for what in plan.snapshots]
