"""A study: cells, the folder in which their results are kept, and what can be done with both."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from pyrank._version import __version__
from pyrank.studies import tables
from pyrank.studies.cells import Cells, Point, differences
from pyrank.studies.crew import crew_of
from pyrank.studies.running import Running
from pyrank.studies.showing import Shown
from pyrank.studies.store import Outcome, Store
from pyrank.studies.task import Task
from pyrank.studies.values import unpack
from pyrank.support.errors import as_integer, invalid
from pyrank.support.files import NotWritten, prepare_folder
from pyrank.support.locks import sole_writer
from pyrank.support.signals import Stopped

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd
    import xarray

MOST_WORKERS = 4096


class Study:
    """Many runs, kept in one file: computed in any order, by anyone, interrupted at any time, each result once.

    Parameters
    ----------
    folder
        Where the results are kept. If there is a study in it, this is that study: what is done stays done, and cells
        that are new are added. Nothing is written before `run`.
    cells
        A `pyrank.grid`, or tasks. If they are not given, the study in the folder can be read, but not run.

    Raises
    ------
    ArgumentError
        If two functions have one name, the folder holds another study, which shares no cell with this one, or the file
        in it cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str], cells: Iterable[Task] | None = None) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise invalid("folder", folder, "the path of a folder", "give for example 'sweep'")
        self.folder = Path(folder)
        self._store = Store(self.folder)
        self._unwritten: dict[str, Outcome] = {}
        self._cells = None if cells is None else Cells(cells)
        known = self._store.statuses()
        if self._cells is None:
            if not known:
                raise invalid("folder", str(folder), "the folder of a study", "check the path, or give its cells")
        elif known and known.keys().isdisjoint(self._cells):
            lines = differences(self._store.frame(), self._cells.frame())
            if lines:
                wanted = f"an empty folder, or one of this study ({'; '.join(lines)})"
                raise invalid("folder", str(self.folder), wanted, "give another folder")
        self._keys = list(known if self._cells is None else self._cells)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {status}" for status, count in self.status().items())
        return f"<Study {str(self.folder)!r}: {counts}>"

    def status(self) -> dict[str, int]:
        """Return how many cells are done, have failed, and wait.

        Returns
        -------
        dict
            ``{"done": ..., "failed": ..., "waiting": ...}``; and ``"start over"``, how many long cells ran where the
            folder cannot be seen, and so have nothing saved on the way, if there are any.
        """
        statuses = self._statuses()
        found = [statuses.get(key, "waiting") for key in self._keys]
        counts = {status: found.count(status) for status in ("done", "failed", "waiting")}
        hidden = self._store.frame().get("hidden", 0)
        return counts | ({"start over": hidden} if hidden and counts["waiting"] else {})

    def run(
        self,
        workers: int | None = None,
        executor: Executor | None = None,
        progress: bool | None = None,
        retry_failed: bool = False,
    ) -> dict[str, int]:
        """Run the cells that are not done; return the `status` after that.

        The results do not depend on who computes them, in which order, or how often that was interrupted.

        Parameters
        ----------
        workers
            How many processes, with one thread each; 1, or none given: this process, with all threads. For an
            ``executor``, how many workers it has, if it does not say itself.
        executor
            Anything with the interface of `concurrent.futures.Executor`, Dask's ``client.get_executor()``.
        progress
            Whether to show a progress bar; if not given, only on a terminal.
        retry_failed
            Run cells again that have failed.

        Raises
        ------
        ArgumentError
            If workers is not from 1 to 4096, the folder cannot be written to, or another process runs this study.
        KeyboardInterrupt
            On Ctrl-C or SIGTERM; what is done is kept, and the same call continues.

        Warns
        -----
        NotWritten
            If results cannot be written at the end, for example on a full disk. This object still has them, and the
            same call tries again.
        UserWarning
            If the file of one of the functions, or the version of pyrank, is another one than when the study began.
        """
        if self._cells is None:
            raise invalid("cells", None, "the cells to run", f"open it as Study({str(self.folder)!r}, cells)")
        if workers is not None:
            workers = as_integer("workers", workers, 1, MOST_WORKERS, "give the number of processes")
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise invalid("executor", executor, "a concurrent.futures.Executor", "for Dask: client.get_executor()")
        if workers is not None and executor is None and workers > 1:
            self._cells.check_workers_find()
        prepare_folder("folder", self.folder)
        with sole_writer("folder", self.folder):
            told = self._run(workers, executor, progress, retry_failed)
        if told:
            warn(told, NotWritten, stacklevel=2)
        return self.status()

    def _run(self, workers: int | None, executor: Executor | None, progress: bool | None, retry_failed: bool) -> str:
        """Run what is not done, with the folder to itself; return why results are not on the disk, if they are not."""
        assert self._cells is not None
        known = self._enter()
        ended = {"done"} if retry_failed else {"done", "failed"}
        waiting = {key: self._cells[key] for key in self._keys
                   if known.get(key) not in ended and key not in self._unwritten}  # fmt: skip
        if not waiting and not self._unwritten:
            return ""
        with Shown(progress, waiting, len(self._keys)) as shown:
            crew = crew_of(workers, executor, self._cells.modules, shown.tell)
            running = Running(self._store, waiting, crew, shown.tell, self._make_again)
            running.unwritten = self._unwritten
            try:
                running.run()
            except KeyboardInterrupt as stop:
                left = f"{len(waiting) - shown.ended:,} of {len(self._keys):,} cells are left"
                where = running.told or f"the same again continues in {self.folder}"
                raise Stopped.after(stop, f"interrupted, {left}; {where}") from stop
        return running.told

    def _enter(self) -> dict[str, str]:
        """Enter what is new into the store; return what was known of each cell."""
        assert self._cells is not None
        known, earlier = self._store.statuses(), self._store.frame()
        sources = self._cells.sources()
        frame = self._cells.frame() | {"pyrank": __version__, "sources": sources}
        if (begun := earlier.get("pyrank", __version__)) != __version__:
            warn(f"continued with pyrank {__version__}, begun with {begun}: results are as valid, but not promised to "
                 "be those of one version to the last bit", stacklevel=4)  # fmt: skip
            frame["pyrank"] = begun
        if "done" in known.values():
            first = earlier.get("sources", {})
            if changed := [name for name, source in sources.items() if first.get(name, source) != source]:
                warn(f"the file of {', '.join(changed)} has changed since this study was begun: what is done is kept; "
                     f"to have it computed anew, delete the folder {self.folder}", stacklevel=4)  # fmt: skip
            frame["sources"] = sources | first
        if {name: earlier.get(name) for name in frame} == frame and known.keys() >= self._cells.keys():
            return known
        self._store.enter(self._cells.entries(), frame)
        return known

    def _make_again(self) -> None:
        """Make the folder and its file again, if it has vanished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._enter()

    def _statuses(self) -> dict[str, str]:
        return self._store.statuses() | {key: outcome.status for key, outcome in self._unwritten.items()}

    def _points(self) -> dict[str, Point]:
        """Return the values of each cell on the axes by its key."""
        if self._cells is not None:
            return {key: self._cells.point(key) for key in self._keys}
        return {key: unpack(axes, None) for key, axes in self._store.points().items()}

    def _done(self) -> list[tables.Line]:
        """Return axes, seconds and result of what is done, in the order of the cells."""
        known = {key: (seconds, text) for key, seconds, text in self._store.read("key, seconds, result", "done")}
        known |= {o.key: (o.seconds, o.result) for o in self._unwritten.values() if o.result is not None}
        points = self._points()
        return [tables.Line(points[key], *known[key]) for key in self._keys if key in known]

    def table(self) -> pd.DataFrame:
        """Return what is done as a table.

        Returns
        -------
        pandas.DataFrame
            The values on the axes; then, for simulations, a row for each cell and measure with ``measure``, ``mean``,
            ``stderr``, ``ess``, ``rhat``, ``std``, ``min``, ``max``, ``count`` and ``flags``; for tasks of your own, a
            row for each cell with the numbers it returned, and one for each dict among them; and ``seconds``.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        return tables.table(self._done(), self._axis_names())

    def dataset(self) -> xarray.Dataset:
        """Return what is done on the grid of the axes.

        Returns
        -------
        xarray.Dataset
            The axes are its dimensions; there is a variable for each measure and statistic, such as
            ``soft_rank(0.5)_mean``, and for each number that a task of your own returned. What is not done is NaN.
            Arrays are not in it: see `results`.

        Raises
        ------
        ArgumentError
            If two cells have the same values on the axes.
        ImportError
            If xarray is missing.
        """
        return tables.dataset(self._done(), tables.points_of(self._points().values()))

    def results(self) -> list[Any]:
        """Return what each task returned, arrays and all, in the order of the cells; None where there is nothing yet.

        Dataclasses are dicts of their fields.
        """
        return list(map(self._result, self._keys))

    def result(self, cell: Task) -> Any:
        """Return what a task returned, or None."""
        return self._result(cell.key)

    def error(self, cell: Task) -> str | None:
        """Return the error of a task that has failed in one line, or None."""
        if outcome := self._unwritten.get(cell.key):
            return outcome.error
        return self._store.error_of(cell.key)

    def _result(self, key: str) -> Any:
        if key in self._unwritten:
            outcome = self._unwritten[key]
            return None if outcome.result is None else unpack(outcome.result, outcome.arrays)
        found = self._store.result_of(key)
        return None if found is None else unpack(*found)

    def failures(self, traceback: bool = False) -> list[tuple[dict[str, Any], str]]:
        """Return the cells that have failed, by their values on the axes, and the error of each.

        Parameters
        ----------
        traceback
            Return the whole traceback instead of one line.
        """
        column = "traceback" if traceback else "error"
        failed = dict(self._store.read(f"key, {column}", "failed"))
        failed |= {o.key: getattr(o, column) for o in self._unwritten.values() if o.error is not None}
        points = self._points()
        return [(points[key], failed[key]) for key in self._keys if key in failed]

    def merge(self, folder: str | os.PathLike[str]) -> None:
        """Take over what is done in another folder: cells that are not here, and results that are missing here.

        Raises
        ------
        ArgumentError
            If there is no study in that folder, or this one is being run.
        OSError
            If this folder cannot be written to.
        """
        other = Study(folder)
        prepare_folder("folder", self.folder)
        with sole_writer("folder", self.folder):
            if self._cells is not None:
                self._enter()
            self._store.merge(other._store)
        if self._cells is None:
            self._keys = list(self._store.statuses())

    def plot(self, x: str, y: str, hue: str | None = None) -> matplotlib.figure.Figure:
        """Draw a first look at what is done.

        Parameters
        ----------
        x
            An axis.
        y
            A measure, or a number that the tasks returned.
        hue
            An axis: a colour for each of its values.

        Returns
        -------
        matplotlib.figure.Figure
            Points with error bars of 95 %: over several values of ``seed`` from the scatter of their means, and for a
            single one from the error of its mean. Each combination of values on the remaining axes has its own panel.
            Axes are logarithmic where that fits.

        Raises
        ------
        ArgumentError
            If there is no such axis or number, or nothing is done.
        ImportError
            If pandas or matplotlib are missing.
        """
        from pyrank.studies.pictures import picture

        return picture(self._done(), self._axis_names(), x, y, hue)

    def _axis_names(self) -> list[str]:
        if self._cells is not None:
            return self._cells.axes
        return list(dict.fromkeys(name for point in self._points().values() for name in point))
