"""How a study runs: batches go out, outcomes come back and are on the disk before anything else is done with them."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from warnings import warn

from pyrank.studies.batches import Queue
from pyrank.studies.crew import Crew, Event, Lost
from pyrank.studies.store import Outcome, Store
from pyrank.studies.task import Task
from pyrank.studies.work import Job
from pyrank.support.files import NotWritten, not_written
from pyrank.support.signals import Listener, Stopped, deferred

COMMIT_SECONDS, WAIT = 0.5, 0.2
"""Between two transactions, and between two looks at the clock and at signals."""

LONG_SECONDS = 5.0
"""Cells that are predicted to take longer save to a file of their own on the way."""

TRIES = 3
"""How often a cell is begun whose worker is lost."""

CHECKPOINTS = "checkpoints"


class Running:
    """One run of a study: cells that are still to be done, and who does them."""

    def __init__(
        self, store: Store, cells: Mapping[str, Task], crew: Crew, watch: Callable[[Event], object],
        make_again: Callable[[], object],
    ) -> None:  # fmt: skip
        """``watch`` is told of all events; ``make_again`` makes the file of the store, should it vanish."""
        self._make_again = make_again
        self._store, self._cells, self._crew, self._watch = store, cells, crew, watch
        self._queue = Queue(list(cells.items()), crew.size)
        self._tries: Counter[str] = Counter()
        self._folder = store.folder / CHECKPOINTS
        self._sign = self._folder / f"{uuid.uuid4().hex}.here"
        self._open = len(cells)
        self.hidden = 0
        """Long cells whose workers could not see the folder."""
        self.told = ""
        """Why results are not on the disk, in one line."""
        self.unwritten: dict[str, Outcome] = {}
        """What came back and is not on the disk yet."""

    def run(self) -> None:
        """Run all cells.

        Raises
        ------
        KeyboardInterrupt
            If a signal asked to end; what came back is on the disk then.
        """
        stopped = True
        with self._signed():
            try:
                with deferred() if self._crew.defers else nullcontext() as listener:
                    self._until_done(listener)
                stopped = False
            finally:
                with deferred():
                    for event in self._crew.close(now=stopped):
                        self._take(event)
                    self._commit()

    def _until_done(self, listener: Listener | None) -> None:
        saved = time.monotonic()
        while self._open:
            self._send()
            for event in self._crew.wait(WAIT):
                self._take(event)
            if listener is not None and listener.signal is not None:
                raise Stopped(number=listener.signal)
            if time.monotonic() - saved > COMMIT_SECONDS:
                self._commit()
                saved = time.monotonic()

    def _send(self) -> None:
        while self._queue and self._crew.hands() > 0:
            jobs = [job for key, task in self._queue.take() if (job := self._job(key, task))]
            if jobs:
                self._crew.submit(jobs)

    def _job(self, key: str, task: Task) -> Job | None:
        """Return the job of a cell; if it cannot be sent, that is what came of it."""
        seconds = self._queue.seconds(task)
        long = seconds is None or seconds > LONG_SECONDS
        try:
            checkpoint = self.checkpoint(key) if long else None
            threads = self._queue.threads(task)
            return Job.of(key, task, checkpoint, self._sign, sent=self._crew.defers, threads=threads)
        except Exception as error:  # what pickle raises has no common name
            self._take(Outcome.failed(key, f"it cannot be sent to a worker ({type(error).__name__}: {error})"))
            return None

    def _take(self, event: Event) -> None:
        """Take note of what has happened."""
        if isinstance(event, Lost):
            self._queue.back(self._named(event.others), alone=False)
            self._blame(event)
        elif isinstance(event, Outcome):
            self._open -= 1
            self.hidden += event.hidden
            self.unwritten[event.key] = event
            if event.error is None:
                self._queue.learn(self._cells[event.key], event.seconds)
        self._watch(event)

    def _blame(self, lost: Lost) -> None:
        """Begin the cells anew that may have ended their worker, each by itself, but not for ever."""
        if len(lost.suspects) == 1:
            (job,) = lost.suspects
            self._tries[job.key] += 1
            if self._tries[job.key] >= TRIES:
                self._take(Outcome.failed(job.key, f"{lost.reason}, {TRIES} times"))
                return
        self._queue.back(self._named(lost.suspects), alone=True)

    def _named(self, jobs: Iterable[Job]) -> list[tuple[str, Task]]:
        return [(job.key, self._cells[job.key]) for job in jobs]

    def _commit(self) -> None:
        """Write what came back; what cannot be written now is tried again, and the first time told."""
        if not self.unwritten:
            return
        try:
            self._put()
        except OSError as error:
            if not self.told:
                self.told = not_written([self._store.path], error)
                warn(f"{self.told}; the study goes on and tries again", NotWritten, stacklevel=2)
            return
        for key, outcome in self.unwritten.items():
            if outcome.error is None:
                self._remove(key)
        self.unwritten.clear()
        self.told = ""

    def _put(self) -> None:
        try:
            self._store.put(self.unwritten.values(), self.hidden)
        except FileNotFoundError:
            self._make_again()
            self._store.put(self.unwritten.values(), self.hidden)

    def checkpoint(self, key: str) -> Path:
        """Return the file in which a long cell saves."""
        return self._folder / f"{key}.ckpt"

    def _remove(self, key: str) -> None:
        for path in (self.checkpoint(key), Path(f"{self.checkpoint(key)}.previous")):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    @contextmanager
    def _signed(self) -> Iterator[None]:
        """Put a file into the folder of checkpoints, by which workers see whether they see it."""
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            self._sign.touch()
        try:
            yield
        finally:
            with suppress(OSError):
                self._sign.unlink(missing_ok=True)
                self._folder.rmdir()  # unless something is saved in it
