"""What an experiment computes: simulations and other computations, each a task of a study in the output folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from pyrank import studies
from pyrank.specs.chain import Chain
from pyrank.support.files import prepare_folder


class TaskError(RuntimeError):
    """A task has failed; the others have not."""


class How(TypedDict, total=False):
    """How tasks are run, as in `reproduce`: nothing that a result depends on."""

    device: str
    progress: bool | None
    workers: int | None


@dataclass(frozen=True)
class Simulation:
    """One call of `pyrank.simulate`; its result is the run.

    Attributes
    ----------
    name
        For people, such as ``"d=64,gamma=1"``.
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

    def cell(self, device: str) -> studies.Task:
        """Return it as a cell of a study, or raise ArgumentError if it cannot run on the device."""
        from pyrank.engine import backends  # with torch, which declaring an experiment does not need
        from pyrank.studies import runs

        backends.choose(self.chain, device)
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

    def cell(self, device: str) -> studies.Task:
        """Return it as a cell of a study; it runs on the CPU, whatever the device for chains."""
        return studies.Task(self.function, self.arguments, self.cost)

    def result(self, kept: Any) -> Any:
        """Return what the function returned."""
        kind = get_type_hints(self.function).get("return") if isinstance(kept, dict) else None
        return kind(**kept) if isinstance(kind, type) and is_dataclass(kind) else kept


Task = Simulation | Computation


def run_tasks(
    tasks: Sequence[Task], folder: Path, device: str = "cpu", progress: bool | None = None, workers: int | None = None
) -> list[Any]:
    """Run tasks as a study in this folder; return their results in their order.

    Raises
    ------
    ArgumentError
        If the folder cannot be written to, or one of them cannot run on the device, before the first does.
    TaskError
        If one fails; the same call tries it again.
    """
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
