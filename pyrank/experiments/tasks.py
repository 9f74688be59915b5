"""What an experiment computes: simulations, each with its own checkpoint, and other computations, under one bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from pyrank.specs.chain import Chain
from pyrank.support.errors import ArgumentError
from pyrank.support.files import NotWritten, prepare_folder
from pyrank.support.locks import HeldError
from pyrank.support.progress import percent_bar
from pyrank.support.signals import Stopped


class Task(Protocol):
    """A piece of work."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def cost(self) -> float:
        """Its predicted time in arbitrary units."""

    @property
    def seed(self) -> int | None:
        """That of its random numbers, if it has one."""

    def check(self, device: str) -> None:
        """Raise ArgumentError if it cannot run on a device."""

    def run(self, folder: Path, device: str, report: Callable[[float], object]) -> Any:
        """Return its result; ``folder`` is for checkpoints, and ``report`` is told shares of the whole."""


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

    def run(self, folder: Path, device: str, report: Callable[[float], object]) -> Any:
        """Simulate, or read the checkpoint of a run that is finished; ``report`` takes shares of the whole."""
        from pyrank.engine import checkpoint, simulation

        path = folder / f"{self.name}.ckpt"
        known = checkpoint.exists(path)
        try:
            checkpoint.check_writable(path)
            writable = True
        except ArgumentError as error:  # although it was when the experiment began
            warn(f"{error}; {self.name} goes on without it", NotWritten, stacklevel=2)
            writable = False
        try:
            return simulation.simulate(
                self.chain, self.depth, **self.options, device=device, checkpoint=path if writable else None,
                progress=lambda layers: report(layers / self.depth),
            )  # fmt: skip
        except ArgumentError as error:
            if not known or isinstance(error, HeldError):
                raise
            out = f"out = {str(folder.parent)!r}"
            raise ArgumentError(f"{out} holds a run with other settings; give another folder ({error})") from None


@dataclass(frozen=True)
class Computation:
    """One call of a function, ``function(**arguments)``; its result is what that returns."""

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

    def run(self, folder: Path, device: str, report: Callable[[float], object]) -> Any:
        """Call the function."""
        result = self.function(**self.arguments)
        report(1.0)
        return result


def run_tasks(tasks: Sequence[Task], out: Path, *, device: str = "cpu", progress: bool | None = None) -> list[Any]:
    """Run tasks in order, with checkpoints in ``out/checkpoints``; return their results in that order.

    Raises
    ------
    ArgumentError
        If ``out`` cannot be written to, or holds the checkpoints of other tasks; or if one of them cannot run on this
        ``device``, before the first does.
    KeyboardInterrupt
        On Ctrl-C, or on SIGTERM while chains are simulated; the same call continues.
    """
    for task in tasks:
        task.check(device)
    folder = out / "checkpoints"
    prepare_folder("out", folder)
    total = sum(task.cost for task in tasks)
    results = []
    with percent_bar(progress) as shown:
        for number, task in enumerate(tasks, start=1):
            shown.set_description(f"{number}/{len(tasks)} {task.name}")
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)  # if it has vanished meanwhile
            try:
                results.append(task.run(folder, device, _scaled(shown.update, 100 * task.cost / total)))
            except KeyboardInterrupt as stop:
                where = f"interrupted in task {number} of {len(tasks)} ({task.name})"
                raise Stopped.after(stop, f"{where}; the same command continues from {folder}") from stop
    return results


def trace(run: Any, measure: str) -> NDArray[np.float64]:
    """Return what a run recorded of a measure, (chains, samples)."""
    values = run[measure].trace
    assert values is not None, "the simulation kept no trace"
    return np.asarray(values)


def _scaled(update: Callable[[float], object], factor: float) -> Callable[[float], object]:
    return lambda share: update(share * factor)
