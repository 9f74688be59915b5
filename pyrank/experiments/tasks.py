"""What an experiment computes: simulations and other computations, each a task of a study in the output folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import numpy as np
from numpy.typing import NDArray

from pyrank import studies
from pyrank.specs.chain import Chain
from pyrank.support.files import prepare_folder


class TaskError(RuntimeError):
    """A task has failed; the others have not."""


class Task(Protocol):
    """A piece of work."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def seed(self) -> int | None:
        """That of its random numbers, if it has one."""

    def check(self, device: str) -> None:
        """Raise ArgumentError if it cannot run on a device."""

    def cell(self, device: str) -> studies.Task:
        """Return it as a cell of a study."""

    def result(self, kept: Any) -> Any:
        """Return its result from what the study has kept."""


@dataclass(frozen=True)
class Simulation:
    """One call of `pyrank.simulate`; its result is the run.

    Attributes
    ----------
    name
        For people and for the checkpoint's file name, such as ``"d=64,gamma=1"``.
    chain, depth
        As in `pyrank.simulate`.
    options
        Its other arguments that the result depends on: chains, seed, measures, burn_in, ...
    cost
        Predicted time in units of your choice; the same for all tasks of an experiment.
    """

    name: str
    chain: Chain
    depth: int
    options: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0

    @property
    def seed(self) -> int | None:
        """That of the weights, if it is given."""
        return self.options.get("seed")

    def check(self, device: str) -> None:
        """Raise ArgumentError if it cannot run on a device."""
        from pyrank.engine import backends  # with torch, which declaring an experiment does not need

        backends.choose(self.chain, device)

    def cell(self, device: str) -> studies.Task:
        """Return it as a cell of a study."""
        from pyrank.studies import runs

        parameters = {"chain": self.chain, "depth": self.depth, "options": dict(self.options), "device": device}
        return studies.Task(runs.whole_run, parameters, self.cost)

    def result(self, kept: Any) -> Any:
        """Return the run."""
        from pyrank.studies import runs

        return runs.restored(self.chain, self.options, kept)


@dataclass(frozen=True)
class Computation:
    """One call of a function, ``function(**arguments)``; its result is what that returns.

    The function stands at the top of a module. It returns numbers, texts and arrays, or lists, tuples and dicts of
    such; or a dataclass of such, which its return annotation names.
    """

    name: str
    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0

    @property
    def seed(self) -> int | None:
        """The argument of this name, if there is one."""
        return self.arguments.get("seed")

    def check(self, device: str) -> None:
        """Do nothing: it runs on the CPU wherever chains are simulated."""

    def cell(self, device: str) -> studies.Task:
        """Return it as a cell of a study."""
        return studies.Task(self.function, self.arguments, self.cost)

    def result(self, kept: Any) -> Any:
        """Return what the function returned."""
        kind = get_type_hints(self.function).get("return") if isinstance(kept, dict) else None
        return kind(**kept) if isinstance(kind, type) and is_dataclass(kind) else kept


def run_tasks(
    tasks: Sequence[Task],
    folder: Path,
    *,
    device: str = "cpu",
    progress: bool | None = None,
    workers: int | None = None,
) -> list[Any]:
    """Run tasks as a study in this folder; return their results in their order.

    Raises
    ------
    ArgumentError
        If the folder cannot be written to, or one of them cannot run on this ``device``, before the first does.
    TaskError
        If one fails; the same call tries it again.
    KeyboardInterrupt
        On Ctrl-C, or on SIGTERM while chains are simulated; the same call continues.
    """
    for task in tasks:
        task.check(device)
    if not tasks:
        return []
    cells = [task.cell(device) for task in tasks]
    prepare_folder("out", folder)
    study = studies.Study(folder, cells)
    if study.run(workers, progress=progress, retry_failed=True)["waiting"]:
        study.run(workers, progress=progress)  # the folder has vanished meanwhile, and what was in it
    for task, cell in zip(tasks, cells, strict=True):
        if error := study.error(cell):
            raise TaskError(f"{task.name} failed: {error}")
    return [task.result(study.result(cell)) for task, cell in zip(tasks, cells, strict=True)]


def trace(run: Any, measure: str) -> NDArray[np.float64]:
    """Return what a run recorded of a measure, (chains, samples)."""
    values = run[measure].trace
    assert values is not None, "the simulation kept no trace"
    return np.asarray(values)
