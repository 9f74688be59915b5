"""The one entry: run chains to a depth, in constant memory, with progress, interruption and checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from signal import SIGINT
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from pyrank.engine import backends
from pyrank.engine import checkpoint as checkpoint_file
from pyrank.engine.request import best_stride, checkpoint_path, plan_of
from pyrank.engine.run import Run
from pyrank.engine.standing import Standing, begin_or_resume
from pyrank.estimate import estimate
from pyrank.specs.chain import Chain
from pyrank.specs.measures import Measure
from pyrank.specs.plan import EVENTS, Plan
from pyrank.support.ambient import unmoved
from pyrank.support.errors import as_integer, invalid
from pyrank.support.files import NotWritten, not_written
from pyrank.support.locks import sole_writer
from pyrank.support.progress import report_to
from pyrank.support.signals import Stopped, deferred

DEFAULT_MEASURES = ("participation_ratio", "soft_rank(0.5)")
CHECKPOINT_SECONDS = 30.0


class Interrupted(Stopped):
    """Ctrl-C or SIGTERM during a simulation.

    Attributes
    ----------
    run : Run
        What was recorded so far.
    signal : int
        The number of the signal.
    unsaved : str
        Why there is no checkpoint of it, in one line; empty if there is one, or none was asked for.
    """

    def __init__(self, message: str, run: Run, signal: int = SIGINT, unsaved: str = "") -> None:
        super().__init__(message, signal, unsaved)
        self.args = (message, run, int(signal), unsaved)  # of which a copy is made, as for another process
        self.run = run


@unmoved
def simulate(
    chain: Chain,
    depth: int,
    *,
    chains: int = 16,
    seed: int = 0,
    measures: Iterable[str | Measure | Callable[[Tensor], Tensor]] = DEFAULT_MEASURES,
    observe: str = "state",
    initial: str | ArrayLike | Tensor = "gaussian",
    burn_in: int = 0,
    every: int | str = 1,
    snapshot_every: int | None = None,
    trace: int = 4096,
    device: str = "cpu",
    backend: str = "auto",
    threads: int | None = None,
    progress: bool | Callable[[int], object] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Run:
    """Run independent chains to a depth and measure them on the way.

    Memory does not grow with depth. The result depends on the chain, the seed, the measures and the backend alone:
    not on threads, on how many other chains run, or on where a run was interrupted and resumed.

    Parameters
    ----------
    chain
        The law of the network.
    depth
        Number of layers, up to 2**32.
    chains
        Number of independent chains, numbered from 0.
    seed
        0 <= seed < 2**64.
    measures
        Names such as ``"soft_rank(0.5)"``, `Measure` objects, or functions that take the states (chains, d, N) and
        return (chains,) or (chains, k) numbers; ``[]`` runs the chain alone.
    observe
        What is measured: ``"state"``, H, or ``"activation"``, F(H).
    initial
        H_0: ``"gaussian"``, ``"identity"``, ``"collinear"``, ``"collinear(p)"``, or a tensor or array (d, N) or
        (chains, d, N).
    burn_in
        That many first layers run unrecorded.
    every
        Of the layers after burn-in, the first and then each ``every``-th is recorded. ``"auto"`` takes the stride that
        gives the smallest standard error in a given time, judged by what recording costs on this machine and by how
        fast the measures forget, in a pilot run of about a second; ``run.plan.every`` tells it, and reproduces the run.
    snapshot_every
        The same for the measures that are taken in torch, which cost a decomposition each: see `Measure`; ``every`` if
        not given.
    trace
        Capacity of the thinned trace kept for each chain and measure, even; 0 for none.
    device
        ``"cpu"``, ``"cuda"`` (all GPUs share the chains) or ``"cuda:1"`` (that one). The state of the result is in the
        memory of the CPU either way.
    backend
        ``"auto"``, ``"cpu"`` or ``"cuda"`` (compiled), or ``"reference"`` (pure torch, float64).
    threads
        Threads of the compiled backend for the CPU; all cores if not given.
    progress
        Whether to show a progress bar (by tqdm; none without it); if not given, only on a terminal. Or a function,
        which is called with the number of layers of each step, first with those found in the checkpoint.
    checkpoint
        A file written every half minute and at the end. If it exists and belongs to this run, the run continues from
        it, also to a larger depth.

    Returns
    -------
    Run

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or the checkpoint belongs to another run or is being written by one.
    FloatingPointError
        If the state stops being finite.
    Interrupted
        On Ctrl-C or SIGTERM, within a second, after the checkpoint was written; a KeyboardInterrupt.

    Warns
    -----
    NotWritten
        If the checkpoint cannot be written at the end, for example on a full disk; the run is returned.
    """
    automatic = isinstance(every, str) and every == "auto"
    stride = 1 if automatic else every
    plan = plan_of(chain, chains, seed, measures, observe, initial, burn_in, stride, snapshot_every, trace)
    depth = as_integer("depth", depth, 1, 2**32, "give the number of layers")
    if plan.burn_in >= depth:
        raise invalid("burn_in", burn_in, f"fewer layers than depth = {depth}", "raise depth or lower burn_in")
    engine = backends.choose(chain, device, backend, threads)
    path = checkpoint_path(checkpoint)
    with sole_writer("checkpoint", path):
        if path is not None:
            checkpoint_file.check_writable(path)
        if automatic:
            stride = best_stride(plan, engine, initial, path)
            chosen = plan.snapshots and snapshot_every is not None
            plan = replace(plan, every=stride, snapshot_every=plan.snapshot_every if chosen else stride)
        now = begin_or_resume(plan, depth, engine, initial, path)
        signal, unsaved = _advance(plan, now, depth, engine, progress, path)
    run = _result(plan, now, engine)
    if signal is not None:
        raise Interrupted(_how_to_resume(now.layer, depth, path, unsaved), run, signal, unsaved)
    if unsaved:
        warn(unsaved, NotWritten, stacklevel=3)
    return run


def _advance(
    plan: Plan, now: Standing, depth: int, engine: backends.Backend,
    progress: bool | Callable[[int], object] | None, path: Path | None,
) -> tuple[int | None, str]:  # fmt: skip
    """Go on to ``depth``, or to where a signal asks to end; return the signal and why the checkpoint is not written."""
    begun, saved, unsaved = now.layer, time.monotonic(), ""
    with deferred() as listener, report_to(progress, depth, now.layer) as report:
        layers = 1
        while now.layer < depth and listener.signal is None:
            stretch = min(layers, _until_snapshot(plan, now.layer, depth))
            began = time.perf_counter()
            engine.advance(plan, now.state, now.layer, stretch, now.accumulator, now.counters)
            elapsed = time.perf_counter() - began
            if not np.isfinite(now.state.numpy()).all():
                raise FloatingPointError(_not_finite(plan, now.layer, stretch))
            now.layer += stretch
            now.seconds += elapsed
            now.snapshots.record(now.state, now.layer - 1)
            report(stretch)
            layers = max(1, min(16 * layers, int(stretch * engine.call_seconds / max(elapsed, 1e-9))))
            if path is not None and time.monotonic() - saved > CHECKPOINT_SECONDS and now.layer < depth:
                told, unsaved = unsaved, _save(now, path, plan, engine)
                if unsaved and not told:
                    warn(f"layer {now.layer:,}: {unsaved}; the run goes on and tries again", stacklevel=4)
                saved = time.monotonic()
        if path is not None and now.layer > begun:
            unsaved = _save(now, path, plan, engine)
        return listener.signal, unsaved


def _save(now: Standing, path: Path, plan: Plan, engine: backends.Backend) -> str:
    """Write the checkpoint, or return why it could not be."""
    try:
        now.save(path, plan, engine)
    except OSError as error:
        return not_written([path], error)
    return ""


def _until_snapshot(plan: Plan, layer: int, depth: int) -> int:
    """Layers that may be taken at once: to the end, or to just after the next layer whose state is looked at."""
    return min(depth, plan.snapshot_schedule.next(layer) + 1 if plan.snapshots else depth) - layer


def _result(plan: Plan, now: Standing, engine: backends.Backend) -> Run:
    count = plan.schedule.recorded(now.layer)
    estimates = {str(what): estimate(now.accumulator, m, count) for m, what in enumerate(plan.measures)}
    estimates |= now.snapshots.estimates(now.layer)
    return Run(
        plan=plan,
        depth=now.layer,
        state=now.state[:, : plan.chain.width_at(now.layer)],
        estimates=estimates,
        events=dict(zip(EVENTS, now.counters[: len(EVENTS)], strict=True)),
        exponent=now.counters[len(EVENTS)],
        backend=engine.name,
        reason=engine.reason,
        seconds=now.seconds,
    )


def _not_finite(plan: Plan, layer: int, layers: int) -> str:
    where = f"between layers {layer} and {layer + layers}"
    normalization = plan.chain.normalization
    if not (normalization.rescale or normalization.whiten):
        return f"the state overflowed {where}: a chain without rescaling grows; use a smaller weights.scale or depth"
    return f"the state is not finite {where}; use dtype='float64' or a smaller weights.scale"


def _how_to_resume(layer: int, depth: int, path: Path | None, unsaved: str) -> str:
    where = f"interrupted at layer {layer:,} of {depth:,}"
    if path is None:
        return f"{where}; with checkpoint=... a run can be resumed"
    return f"{where}; {unsaved or f'run the same again to resume from {path}'}"
