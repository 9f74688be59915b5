"""Who computes: this process, processes of this machine, or any executor; all of them look alike to a study."""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pyrank.studies.store import Outcome
from pyrank.studies.work import Job, run_batch, run_job

IN_HAND = 64
"""Batches that an executor is given ahead, if it does not say how many workers it has."""


@dataclass(frozen=True)
class Lost:
    """Cells that did not come back: one of ``suspects`` is the reason, ``others`` were only with them."""

    suspects: tuple[Job, ...]
    others: tuple[Job, ...]
    reason: str


@dataclass(frozen=True)
class Part:
    """A cell is done up to this part."""

    key: str
    part: float


Event = Outcome | Lost | Part


class Crew(Protocol):
    """Those who compute; ``size`` of them. ``defers``: signals take effect between two calls of `wait` only."""

    size: int
    defers: bool

    def hands(self) -> int:
        """Return how many batches it can take now."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take a batch."""

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, at once or within some seconds."""

    def close(self, *, now: bool) -> list[Event]:
        """End, ``now`` in the middle of all; return what was still heard."""


class Here:
    """The process of the study: a cell for each `wait`, on all threads. Ctrl-C ends the cell."""

    size = 1
    defers = False

    def __init__(self, report: Callable[[Part], object]) -> None:
        self._jobs: deque[Job] = deque()
        self._report = report

    def hands(self) -> int:
        """Return 1 if there is nothing to do."""
        return int(not self._jobs)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take a batch."""
        self._jobs.extend(jobs)

    def wait(self, seconds: float) -> list[Event]:
        """Run the next cell."""
        if not self._jobs:
            return []
        job = self._jobs.popleft()
        return [run_job(job, None, lambda part: self._report(Part(job.key, part)))]

    def close(self, *, now: bool) -> list[Event]:
        """Do nothing."""
        return []


class Elsewhere:
    """An executor with the interface of `concurrent.futures.Executor`, such as that of a Dask client."""

    defers = True

    def __init__(self, executor: concurrent.futures.Executor, workers: int | None) -> None:
        self._executor = executor
        self.size = workers or getattr(executor, "_max_workers", None) or IN_HAND
        self._batches: dict[concurrent.futures.Future[list[Outcome]], tuple[Job, ...]] = {}
        self._submitted = 0
        self._lost: set[str] = set()
        self._doubtful: tuple[Job, ...] = ()

    def hands(self) -> int:
        """Return how many batches it can take now: one to work on and one to go on with for each worker.

        None at the side of a cell that was lost before: an executor tells of all that were with a worker that died, and
        alone it is clear which was the reason.
        """
        return 0 if self._doubtful else 2 * self.size - len(self._batches)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand a batch over, or take it until the others are back."""
        if self._lost.intersection(job.key for job in jobs):
            self._doubtful = tuple(jobs)
        else:
            self._hand_over(tuple(jobs))

    def wait(self, seconds: float) -> list[Event]:
        """Return what has come back."""
        if self._doubtful and not self._batches:
            self._hand_over(self._doubtful)
        done = concurrent.futures.wait(self._batches, seconds, concurrent.futures.FIRST_COMPLETED).done
        events: list[Event] = []
        for future in done:
            jobs = self._batches.pop(future)
            if jobs == self._doubtful:
                self._doubtful = ()
            try:
                events += future.result()
            except concurrent.futures.BrokenExecutor:
                self._batches[future] = jobs
                raise
            except (Exception, concurrent.futures.CancelledError) as error:  # a worker is lost, Dask's KilledWorker
                self._lost.update(job.key for job in jobs)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                events.append(Lost(jobs, (), f"its worker was lost ({reason})"))
        return events

    def _hand_over(self, jobs: tuple[Job, ...]) -> None:
        self._submitted += 1
        self._batches[self._executor.submit(run_batch, jobs, self._submitted)] = jobs

    def close(self, *, now: bool) -> list[Event]:
        """Cancel what has not begun."""
        for future in self._batches:
            future.cancel()
        self._batches.clear()
        return []


def crew_of(
    workers: int | None, executor: concurrent.futures.Executor | None, modules: Sequence[str],
    report: Callable[[Part], object],
) -> Crew:  # fmt: skip
    """Return those who compute for a study, with functions of some ``modules``.

    ``report`` is told how far a cell is that runs in this process.
    """
    if executor is not None:
        return Elsewhere(executor, workers)
    if workers in (None, 1):
        return Here(report)
    from pyrank.studies.pool import Pool

    assert workers is not None
    return Pool(workers, modules)
