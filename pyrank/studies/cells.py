"""The cells of a study: tasks, each once, with their places on the axes, and what all of them share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyrank.studies.grids import MOST_CELLS, Grid
from pyrank.studies.store import Entry
from pyrank.studies.task import Task
from pyrank.studies.values import argument_text, pack
from pyrank.support.errors import invalid

Point = dict[str, Any]
"""The values of a cell on the axes."""


class Cells(Mapping[str, Task]):
    """The tasks of a study by their keys, in their order; equal ones are one.

    Raises
    ------
    ArgumentError
        If they are no tasks, none or too many, or two of their functions share a name.
    """

    def __init__(self, cells: Iterable[Task]) -> None:
        self._tasks = cells if isinstance(cells, Grid) else _checked(cells)
        keys = self._tasks.keys() if isinstance(self._tasks, Grid) else (task.key for task in self._tasks)
        self._numbers: dict[str, int] = {}
        for number, key in enumerate(keys):
            self._numbers.setdefault(key, number)

    def __getitem__(self, key: str) -> Task:
        return self._tasks[self._numbers[key]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def axes(self) -> list[str]:
        """The names of the axes; for tasks that are no grid, of all parameters."""
        if isinstance(self._tasks, Grid):
            return list(self._tasks.axes)
        return list(dict.fromkeys(name for task in self._tasks for name in task.parameters))

    def point(self, key: str) -> Point:
        """Return the values of a cell on the axes; what is no number or text as it is written."""
        number = self._numbers[key]
        values = self._tasks.point(number) if isinstance(self._tasks, Grid) else self._tasks[number].parameters
        return {name: value if isinstance(value, PLAIN) else str(value) for name, value in values.items()}

    def entries(self) -> Iterator[Entry]:
        """Yield the cells as they are entered into a store."""
        for key, task in self.items():
            yield Entry(key, pack(self.point(key))[0], task.name, task.content)

    def frame(self) -> dict[str, Any]:
        """Return what makes a study another one: its functions, the names of its axes, and what is fixed."""
        if isinstance(self._tasks, Grid):
            fixed = {name: argument_text(value) for name, value in self._tasks.fixed.items()}
            return {"functions": [self._tasks[0].name], "axes": self.axes, "fixed": fixed}
        return {"functions": sorted({task.name for task in self._tasks}), "axes": self.axes, "fixed": {}}

    @property
    def modules(self) -> list[str]:
        """Where their functions are."""
        return sorted({function.__module__ for function in self._functions()} - {"__main__"})

    def sources(self) -> dict[str, str]:
        """Return hashes of the files that their functions are in, by module; for pyrank's own its version stands."""
        names = [name for name in self.modules if name.partition(".")[0] != "pyrank"]
        files = {name: Path(getattr(sys.modules.get(name), "__file__", None) or "") for name in names}
        return {name: sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}

    def _functions(self) -> list[Callable[..., Any]]:
        return [self._tasks.task] if isinstance(self._tasks, Grid) else [task.function for task in self._tasks]

    def check_workers_find(self) -> None:
        """Refuse functions that exist in an interactive session only, where no other process finds them."""
        for function in self._functions():
            if function.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
                wanted = "functions that other processes can import"
                raise invalid("workers", function.__qualname__, wanted, "move it to a file, or use workers=1")


PLAIN = (bool, int, float, str, type(None))


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return what differs between the frames of two studies, such as "depth: 100 there, 200 here"."""
    found = [f"{name}: {there.get(name)} there, {here[name]} here" for name in ("functions", "axes")
             if there.get(name) != here[name]]  # fmt: skip
    old, new = there.get("fixed", {}), here["fixed"]
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name) and not (name in there.get("axes", []) or name in here["axes"]):
            found.append(f"{name}: {old.get(name, 'no value')} there, {new.get(name, 'no value')} here")
    return found


def _checked(cells: Iterable[Task]) -> Sequence[Task]:
    if not isinstance(cells, Iterable) or isinstance(cells, str | Mapping):
        raise invalid("cells", cells, "a pyrank.grid, or tasks", "write for example pyrank.grid(width=8, depth=100)")
    found: list[Task] = []
    functions: dict[str, Any] = {}
    for task in cells:
        if not isinstance(task, Task):
            raise invalid("cells", task, "a pyrank.Task", "write pyrank.Task(function, {'name': value})")
        if functions.setdefault(task.name, task.function) is not task.function:
            raise invalid("cells", task.name, "functions of different names", "rename one of the two")
        if len(found) == MOST_CELLS:
            raise invalid("cells", "tasks", f"at most {MOST_CELLS:,} of them", "split them into several studies")
        found.append(task)
    if not found:
        raise invalid("cells", [], "at least one task", "add one")
    return found
