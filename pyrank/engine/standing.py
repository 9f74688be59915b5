"""Where a run stands: everything that changes while it goes on, new or as a checkpoint kept it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from warnings import warn

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrank._version import __version__
from pyrank.engine import backends, saved
from pyrank.engine import checkpoint as checkpoint_file
from pyrank.engine import initial as initial_state
from pyrank.engine.snapshots import Snapshots
from pyrank.estimate import Accumulator
from pyrank.specs.plan import COUNTERS, Plan
from pyrank.support.errors import ArgumentError, invalid


@dataclass
class Standing:
    """Everything that changes during a run, and that a checkpoint keeps."""

    layer: int
    seconds: float
    state: Tensor
    accumulator: Accumulator
    snapshots: Snapshots
    counters: NDArray[np.int64]

    def save(self, path: Path, plan: Plan, backend: backends.Backend) -> None:
        """Write the checkpoint."""
        header = {"plan": plan.to_dict(), "layer": self.layer, "seconds": self.seconds, "version": __version__,
                  "backend": backend.identity}  # fmt: skip
        arrays = {"state": self.state.numpy(), "counters": self.counters, **self.accumulator.arrays()}
        checkpoint_file.save(path, header, arrays | self.snapshots.arrays())


def begin_or_resume(
    plan: Plan, depth: int, engine: backends.Backend, start: str | ArrayLike | Tensor, path: Path | None
) -> Standing:
    """Return where a run to ``depth`` begins: at layer 0, or where a checkpoint at ``path`` ends."""
    if path is not None and checkpoint_file.exists(path):
        return _resume(plan, depth, engine, path)
    accumulator, counters = _nothing(plan)
    state = initial_state.state(start, plan.chain, plan.chains, plan.seed, engine.state_dtype, engine.normals)
    return Standing(
        layer=0,
        seconds=0.0,
        state=state,
        accumulator=accumulator,
        snapshots=Snapshots.empty(plan, state, 0),
        counters=counters,
    )


def _resume(plan: Plan, depth: int, engine: backends.Backend, path: Path) -> Standing:
    header, arrays = saved.read(path)
    if differences := checkpoint_file.differences(header["plan"], plan.to_dict()):
        raise ArgumentError(f"checkpoint = {str(path)!r} belongs to another run ({'; '.join(differences)}); "
                            "choose another file, or ask for the same run")  # fmt: skip
    if header["layer"] > depth:
        raise invalid("depth", depth, f"at least the {header['layer']} layers in the checkpoint",
                      "raise depth or choose another file")  # fmt: skip
    for what, now in (("version", __version__), ("backend", engine.identity)):
        if header[what] != now:
            warn(f"resumed with {what} {now}, begun with {header[what]}: the result is as valid, but not promised to "
                 "be that of an uninterrupted run to the last bit", stacklevel=5)  # fmt: skip
    shape = (plan.chains, plan.chain.width, plan.chain.batch)
    state = torch.from_numpy(saved.state_of(path, arrays, shape).copy()).to(engine.state_dtype)
    snapshots = Snapshots.empty(plan, state, header["layer"])
    snapshots.resume(path, arrays)
    accumulator, counters = _nothing(plan)
    return Standing(
        layer=header["layer"],
        seconds=header["seconds"],
        state=state,
        accumulator=Accumulator.from_arrays(saved.matching(path, arrays, accumulator.arrays())),
        snapshots=snapshots,
        counters=saved.matching(path, arrays, {"counters": counters})["counters"].copy(),
    )


def _nothing(plan: Plan) -> tuple[Accumulator, NDArray[np.int64]]:
    """Return the record and the counters of no layer."""
    flags = [measure.is_rank for measure in plan.measures]
    bins = min(plan.chain.width, plan.chain.batch) + 1
    return (
        Accumulator.empty(flags, plan.chains, bins, plan.trace),
        np.zeros((len(COUNTERS), plan.chains), dtype=np.int64),
    )
