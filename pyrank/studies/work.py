"""What a worker does: one cell after the other, each turned into an outcome, whatever goes wrong in it."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrank.studies.store import Outcome
from pyrank.studies.task import Task
from pyrank.studies.values import pack
from pyrank.support.locks import HeldError

EXTRAS = ("threads", "checkpoint", "report")
"""Arguments that a function is given if it takes them and its cell does not name them: see `Task`."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

Report = Callable[[float], object]


@dataclass(frozen=True)
class Job:
    """A cell on its way to a worker.

    ``call`` is the function and its arguments, pickled for other processes, which are of this study alone; ``place``
    the folder of its file, if that is in no package. ``checkpoint`` is a file for it, and ``sign`` one that is there if
    the folder is the study's: both empty for cells that are not long. ``threads`` is how many a process of this machine
    gives it.
    """

    key: str
    call: bytes | tuple[Callable[..., Any], dict[str, Any]]
    place: str = ""
    checkpoint: str = ""
    sign: str = ""
    threads: int = 1

    @classmethod
    def of(
        cls, key: str, task: Task, checkpoint: Path | None, sign: Path, *, sent: bool = True, threads: int = 1
    ) -> Job:
        """Return the job for a task; raises whatever keeps it from being sent."""
        saves = checkpoint is not None and "checkpoint" in extras(task.function)
        where = (str(checkpoint), str(sign)) if saves else ("", "")
        call = (task.function, dict(task.parameters))
        if not sent:
            return cls(key, call, "", *where, threads)
        file = getattr(sys.modules.get(task.function.__module__), "__file__", None)
        place = str(Path(file).parent.resolve()) if file and "." not in task.function.__module__ else ""
        return cls(key, pickle.dumps(call), place, *where, threads)


@functools.cache
def extras(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return which of `EXTRAS` a function takes by name."""
    try:
        taken = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin
        return ()
    return tuple(name for name in EXTRAS if name in taken)


def run_batch(jobs: Sequence[Job], number: int) -> list[Outcome]:
    """Run some cells, telling each to use one thread: what an executor is given to do, whose process is not ours.

    ``number`` tells two calls with the same cells apart: Dask would answer the second with what came of the first.
    """
    return [run_job(job, 1) for job in jobs]


def run_job(job: Job, threads: int | None, report: Report = lambda part: None) -> Outcome:
    """Run one cell; an error is part of its outcome, but for what asks to end."""
    began = time.perf_counter()
    seen = bool(job.checkpoint) and Path(job.sign).exists()
    result, arrays, error, told = None, None, None, None
    try:
        result, arrays = pack(_call(job, threads, Path(job.checkpoint) if seen else None, report))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # SystemExit, too
        error = " ".join(f"{type(problem).__name__}: {problem}".split())
        told = traceback.format_exc()
    hidden = bool(job.checkpoint) and not seen
    return Outcome(job.key, time.perf_counter() - began, result, arrays, error, told, hidden)


def _call(job: Job, threads: int | None, checkpoint: Path | None, report: Report) -> Any:
    if job.place and job.place not in sys.path:
        sys.path.append(job.place)
    # what is unpickled was written by this study a moment ago, and is in no file
    function, parameters = pickle.loads(job.call) if isinstance(job.call, bytes) else job.call  # noqa: S301
    given: dict[str, Any] = {"threads": threads, "checkpoint": checkpoint, "report": report}
    more = {name: given[name] for name in extras(function) if name not in parameters}
    try:
        return function(**parameters, **more)
    except HeldError:  # by a worker that has not yet noticed the death of its study
        if checkpoint is None:
            raise
        return function(**parameters, **more | {"checkpoint": None})


def use_one_thread() -> None:
    """Let the libraries of this process compute on one thread, those that come later, too."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
