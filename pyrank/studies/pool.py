"""Processes of this machine: each does its batch cell by cell, so that one that dies costs only the cell it was at.

`concurrent.futures.ProcessPoolExecutor` gives up as a whole when one of its processes dies, and does not say at which
task. Here every process has a pipe of its own; its end says who died, and the results before it say at what.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from typing import Any

from pyrank.studies.crew import Event, Lost, Part
from pyrank.studies.store import Outcome
from pyrank.studies.work import Job, run_job, use_one_thread

PART_SECONDS = 0.5
"""Between two reports on how far a cell is."""

GRACE, SAVING = 1.0, 20.0
"""Seconds that cells have to end, and then to save, when a study is stopped."""

FALSE_STARTS = 3
"""Workers in a row that die before they have begun: none will ever begin."""


class CannotStartError(RuntimeError):
    """Workers die before they do anything."""


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    ready: bool = False
    jobs: list[Job] = field(default_factory=list)


SAFE_PATH = "PYTHONSAFEPATH"


def context_with(modules: Sequence[str]) -> Any:
    """Return how processes are started: forked from one that has imported ``modules``, where there are forks.

    That one would look for them in the working folder first (Python 3.11 does), where this process may not; in a
    checkout of a package, this is its source.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        forkserver.ensure_running()
    finally:
        _set_safe_path(before)
    return context


def _set_safe_path(value: str | None) -> None:
    if value is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = value


class Pool:
    """A number of processes, as a crew."""

    defers = True

    def __init__(self, size: int, modules: Sequence[str]) -> None:
        """``modules`` are imported once, by the process from which all workers are forked, where there is one."""
        self._context: Any = context_with([__name__, *modules])
        self.size = size
        self._false_starts = 0
        self._workers: list[_Worker] = []

    def hands(self) -> int:
        """Return how many batches it can take now."""
        return self.size - sum(bool(worker.jobs) for worker in self._workers)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Give a batch to a worker that has none."""
        idle = next((worker for worker in self._workers if not worker.jobs), None) or self._start()
        idle.jobs = list(jobs)
        _tell(idle.pipe, idle.jobs)

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, at once or within some seconds."""
        pipes = {worker.pipe: worker for worker in self._workers}
        events: list[Event] = []
        for pipe in wait(list(pipes), seconds):
            events += self._hear(pipes[pipe])  # type: ignore[index]
        return events

    def close(self, *, now: bool) -> list[Event]:
        """End all workers, ``now`` in the middle of what they do, once they have saved; return what they still said."""
        events: list[Event] = []
        for worker in self._workers:
            _tell(worker.pipe, None)
        ending = time.monotonic() + GRACE
        terminated = False
        while self._workers and (now or any(worker.jobs for worker in self._workers)):
            events += self.wait(0.05)
            if time.monotonic() > ending:
                if terminated:
                    break
                for worker in self._workers:
                    worker.process.terminate()
                terminated, ending = True, ending + SAVING
        for worker in self._workers:
            if now:
                worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()
        return [event for event in events if isinstance(event, Outcome)]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, os.environ.get(SAFE_PATH)), daemon=False,
                                        name="pyrank study")  # fmt: skip
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> list[Event]:
        """Return what a worker says now, which may be that it is dead."""
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._bury(worker)
        if said is None:
            worker.ready, self._false_starts = True, 0
            return []
        if isinstance(said, Outcome):
            worker.jobs = [job for job in worker.jobs if job.key != said.key]
        return [said]

    def _bury(self, worker: _Worker) -> list[Event]:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if not worker.jobs:
            return []
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                raise CannotStartError(
                    f"workers end before they begin ({_ending(worker.process.exitcode)}); in a script, call "
                    "study.run below `if __name__ == '__main__':`, as multiprocessing asks"
                )
            return [Lost((), tuple(worker.jobs), "")]
        return [Lost(tuple(worker.jobs[:1]), tuple(worker.jobs[1:]), _ending(worker.process.exitcode))]


def _ending(code: int) -> str:
    try:
        name = signal.Signals(-code).name
        return f"its process was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    except ValueError:
        return f"its process ended with status {code}"


def _tell(pipe: Connection, what: object) -> None:
    """Send something, unless nobody listens any more, which whoever waits for an answer will find."""
    with suppress(OSError):
        pipe.send(what)


def _serve(pipe: Connection, safe_path: str | None) -> None:
    """Run the batches that come through a pipe until there are no more, or nobody to send them."""
    _set_safe_path(safe_path)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the study hears it, too, and decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    use_one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _tell(pipe, None)
        while (jobs := pipe.recv()) is not None:
            for number, job in enumerate(jobs):
                if number and pipe.poll():  # in the middle of a batch nothing comes but that it is to end
                    return
                pipe.send(run_job(job, job.threads, _reporter(pipe, job.key)))
    except (KeyboardInterrupt, EOFError, OSError):
        return


def _reporter(pipe: Connection, key: str) -> Any:
    last = time.monotonic()
    done = 0.0

    def report(part: float) -> None:
        nonlocal last, done
        done = part
        if time.monotonic() - last > PART_SECONDS:
            last = time.monotonic()
            _tell(pipe, Part(key, done))

    return report


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
