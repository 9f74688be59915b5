"""Runs several simulations, each with its own checkpoint, under one progress bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrank.engine import backends, checkpoint
from pyrank.engine.run import Run
from pyrank.engine.simulation import Interrupted, simulate
from pyrank.specs.chain import Chain
from pyrank.support.errors import ArgumentError
from pyrank.support.files import prepare_folder
from pyrank.support.progress import bar


@dataclass(frozen=True)
class Job:
    """One call of `pyrank.simulate`.

    Attributes
    ----------
    name
        For people and for the checkpoint's file name, such as ``"d=64,gamma=1"``.
    chain, depth
        As in `pyrank.simulate`.
    options
        Its other arguments that the result depends on: chains, seed, measures, burn_in, ...
    cost
        Predicted time in units of your choice, for the progress bar.
    """

    name: str
    chain: Chain
    depth: int
    options: Mapping[str, Any]
    cost: float


def percent_bar(progress: bool | None) -> Any:
    """Return a progress bar from 0 to 100, gone at its end within another."""
    look = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}"
    return bar(progress, total=100, unit="%", bar_format=look, leave=None)


def count_bar(total: int, progress: bool | None) -> Any:
    """Return a progress bar over whole things, such as experiments."""
    return bar(progress, total=total, bar_format="{desc} {n}/{total}|{bar}| {elapsed}", leave=None)


def run_all(jobs: Sequence[Job], out: Path, *, device: str = "cpu", progress: bool | None = None) -> list[Run]:
    """Run jobs in order, with a checkpoint for each in ``out/checkpoints``; a finished one is only read.

    Raises
    ------
    ArgumentError
        If ``out`` cannot be written to, or holds the checkpoints of other jobs; or if one of them cannot run on this
        ``device``, before the first does.
    Interrupted
        On Ctrl-C; the same call continues.
    """
    for job in jobs:
        backends.choose(job.chain, device)
    folder = out / "checkpoints"
    prepare_folder("out", folder)
    total = sum(job.cost for job in jobs)
    runs = []
    with percent_bar(progress) as shown:
        for number, job in enumerate(jobs, start=1):
            shown.set_description(f"{number}/{len(jobs)} {job.name}")
            share = 100 * job.cost / total / job.depth
            try:
                runs.append(_run(job, folder, device, _scaled(shown.update, share)))
            except Interrupted as stop:
                where = f"interrupted in run {number} of {len(jobs)} ({job.name})"
                raise Interrupted(f"{where}; the same command continues from {folder}", stop.run) from None
    return runs


def _scaled(update: Callable[[float], object], factor: float) -> Callable[[int], object]:
    return lambda count: update(count * factor)


def _run(job: Job, folder: Path, device: str, report: Callable[[int], object]) -> Run:
    path = folder / f"{job.name}.ckpt"
    known = checkpoint.exists(path)
    try:
        return simulate(job.chain, job.depth, **job.options, device=device, progress=report, checkpoint=path)
    except ArgumentError as error:
        if not known:
            raise
        out = str(folder.parent)
        raise ArgumentError(f"out = {out!r} holds a run with other settings; give another folder ({error})") from None
