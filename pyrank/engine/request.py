"""What a run is asked for: arguments of `pyrank.simulate` become a plan, or an error that says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from numpy.typing import ArrayLike
from torch import Tensor

from pyrank.engine import backends, saved, thinning
from pyrank.engine import checkpoint as checkpoint_file
from pyrank.engine import initial as initial_state
from pyrank.estimate import Accumulator
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure, parse_measures
from pyrank.specs.plan import POINTS, Plan
from pyrank.support import memory
from pyrank.support.errors import as_choice, as_integer, invalid


def plan_of(
    chain: Chain, chains: int, seed: int, measures: Iterable[str | Measure | Callable[[Tensor], Tensor]], observe: str,
    start: str | ArrayLike | Tensor, burn_in: int, every: int | str, snapshot_every: int | None, trace: int,
) -> Plan:  # fmt: skip
    """Return the plan of checked arguments; ``start`` is H_0."""
    if not isinstance(chain, Chain):
        raise invalid("chain", chain, "a pyrank.Chain", "write for example pyrank.Chain(width=32)")
    chains = as_integer("chains", chains, 1, 2**32, "give the number of independent chains")
    trace = as_integer("trace", trace, 0, 2**30, "give an even number of samples to keep, or 0")
    if trace % 2:
        raise invalid("trace", trace, "an even number", f"use {trace + 1}")
    wanted = parse_measures(measures)
    snapshots = tuple(measure for measure in wanted if measure.is_snapshot)
    every = as_integer("every", every, 1, 2**32, "give a stride in layers, or 'auto'")
    if snapshot_every is None or not snapshots:
        snapshot_every = every
    plan = Plan(
        chain=chain,
        seed=as_integer("seed", seed, 0, 2**64 - 1, "give an integer seed"),
        chains=chains,
        measures=tuple(measure for measure in wanted if not measure.is_snapshot),
        burn_in=as_integer("burn_in", burn_in, 0, 2**32, "give a number of layers"),
        every=every,
        trace=trace,
        initial=initial_state.canonical(start),
        observe=as_choice("observe", observe, POINTS),
        snapshots=snapshots,
        snapshot_every=as_integer("snapshot_every", snapshot_every, 1, 2**32, "give a stride in layers"),
    )
    _check_memory(plan)
    return plan


def _check_memory(plan: Plan) -> None:
    """Refuse sizes that no allocation on this machine can satisfy, before anything is allocated.

    How many numbers a user's own function gives is known only when it has been called: see `Snapshots.empty`.
    """
    chain = plan.chain
    number = 4 if chain.dtype == "float32" else 8
    side = min(chain.width, chain.batch)
    working_sets = 8 * (chain.width * chain.batch + side * side) * number
    states = plan.chains * 3 * chain.width * chain.batch * number + working_sets
    width = chain.width_at(plan.snapshot_schedule.next(0) + 1)
    numbers = len(plan.measures) + sum(measure.numbers(width, chain.batch) or 0 for measure in plan.snapshots)
    ranks = sum(measure.is_rank for measure in plan.measures + plan.snapshots)
    records = 2 * Accumulator.size(numbers, ranks, plan.chains, side + 1, plan.trace)  # the result holds a copy
    sizes = {"width": chain.width, "batch": chain.batch, "chains": plan.chains, "numbers": numbers,
             "trace": plan.trace}  # fmt: skip
    remedy = memory.SMALLER_RECORD if records > states else "run fewer chains at a time or a smaller network"
    memory.require(states + records, sizes, remedy)


def checkpoint_path(checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """Return the path of a checkpoint, or None for none."""
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, str | os.PathLike) or not os.fspath(checkpoint):
        raise invalid("checkpoint", checkpoint, "the path of a file", "give for example 'run.ckpt'")
    return Path(checkpoint)


def best_stride(plan: Plan, engine: backends.Backend, start: str | ArrayLike | Tensor, path: Path | None) -> int:
    """Return the stride that a checkpoint was begun with, or else the best one."""
    if path is not None and checkpoint_file.exists(path):
        header, _ = saved.read(path)
        return int(header["plan"].get("every", 1))
    state = initial_state.state(start, plan.chain, plan.chains, plan.seed, engine.state_dtype, engine.normals)
    return thinning.choose(plan, engine, state)
