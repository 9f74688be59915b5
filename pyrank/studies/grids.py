"""All combinations of some values, as tasks; it knows no chains."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, overload

from pyrank.studies.task import FORMAT, Task, function_name, key_of, parameter_text
from pyrank.support.errors import invalid

MOST_CELLS = 10**7


def grid(task: Callable[..., Any] | None = None, **values: Any) -> Grid:
    """Return the cells of a study: one for each combination of values.

    Lists, tuples and ranges are axes, everything else is fixed; an axis of one value is an axis, too. The last axis
    varies fastest.

    Parameters
    ----------
    task
        A function, which is called with the values by name: see `Task`. If none is given, cells are calls of
        `pyrank.simulate`, and the names are those of `pyrank.Chain` and of `pyrank.simulate`: at least ``width`` and
        ``depth``. There, ``measures`` is a list and no axis, and ``trace`` is 0 if not given.
    **values
        The axes and the fixed values.

    Returns
    -------
    Grid
        A sequence of `Task`.

    Raises
    ------
    ArgumentError
        If a name is unknown, an axis is empty, a value or a combination of them cannot be used, or there are more than
        10^7 cells.
    """
    if task is None:
        from pyrank.studies.simulations import simulation_grid

        return simulation_grid(values)
    function_name(task)
    check_names(values, task)
    axes = axes_of(values)
    return Grid(task, axes, {name: value for name, value in values.items() if name not in axes})


def axes_of(values: Mapping[str, Any], fixed: Sequence[str] = ()) -> dict[str, tuple[Any, ...]]:
    """Return the axes among values: lists, tuples and ranges, but for what is ``fixed`` whatever it is."""
    axes = {name: tuple(value) for name, value in values.items()
            if isinstance(value, list | tuple | range) and name not in fixed}  # fmt: skip
    for name, points in axes.items():
        if not points:
            raise invalid(name, values[name], "at least one value", "add one, or leave the axis out")
    if math.prod(map(len, axes.values())) > MOST_CELLS:
        sizes = " x ".join(f"{name}: {len(points):,}" for name, points in axes.items())
        raise invalid("grid", sizes, f"at most {MOST_CELLS:,} cells", "split it into several studies")
    return axes


def check_names(names: Mapping[str, Any], task: Callable[..., Any]) -> None:
    """Raise ArgumentError if a task does not take one of these names, or needs one that is not there."""
    try:
        taken = inspect.signature(task).parameters
    except (TypeError, ValueError):  # a builtin
        return
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return
    for name, value in names.items():
        if name not in taken:
            raise invalid(
                name, value, f"a name that the task takes: {', '.join(taken) or 'none'}", "check the spelling"
            )
    for name, each in taken.items():
        if each.default is each.empty and each.kind is not each.VAR_POSITIONAL and name not in names:
            raise invalid(name, "missing", f"a value, which {task.__qualname__} needs", f"add {name}=...")


class Grid(Sequence[Task]):
    """The tasks of all combinations of the values of some axes; the last axis varies fastest.

    Attributes
    ----------
    task
        Their function.
    axes
        The values of each axis by its name.
    fixed
        What all of them share.
    """

    def __init__(
        self, task: Callable[..., Any], axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any],
        settle: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda values: {},
        cost: Callable[[Mapping[str, Any]], float] = lambda parameters: 1.0,
    ) -> None:  # fmt: skip
        """``settle`` replaces values of a cell that follow from its others, and ``cost`` predicts its time."""
        self.task, self.axes, self.fixed = task, dict(axes), dict(fixed)
        self._settle, self._cost = settle, cost
        self._texts = {name: [_entry(name, point) for point in points] for name, points in self.axes.items()}
        self._fixed_texts = {name: _entry(name, value) for name, value in self.fixed.items()}

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values()))

    @overload
    def __getitem__(self, number: int) -> Task: ...
    @overload
    def __getitem__(self, number: slice) -> list[Task]: ...
    def __getitem__(self, number: int | slice) -> Task | list[Task]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        values = self.fixed | self.point(number)
        parameters = values | dict(self._settle(values))
        return Task(self.task, parameters, self._cost(parameters))

    def __iter__(self) -> Iterator[Task]:
        return map(self.__getitem__, range(len(self)))

    def point(self, number: int) -> dict[str, Any]:
        """Return the values of a cell on the axes."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"cell {number} of {len(self)}")
        number %= len(self)
        found = {}
        for name in reversed(self.axes):
            number, place = divmod(number, len(self.axes[name]))
            found[name] = self.axes[name][place]
        return {name: found[name] for name in self.axes}

    def keys(self) -> Iterator[str]:
        """Yield the key of each task: what the task itself would say, at a tenth of the time."""
        beginning = f"{FORMAT} {function_name(self.task)} "
        names = sorted([*self.fixed, *self.axes])
        settled: dict[Any, str] = {}
        for point, written in zip(product(*self.axes.values()), product(*self._texts.values()), strict=True):
            values = self.fixed | dict(zip(self.axes, point, strict=True))
            texts = self._fixed_texts | dict(zip(self.axes, written, strict=True))
            for name, value in self._settle(values).items():
                place = (name, type(value), value)
                if place not in settled:
                    settled[place] = _entry(name, value)
                texts[name] = settled[place]
            content = ",".join([texts[name] for name in names])
            yield key_of(f"{beginning}{{{content}}}")

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(points)}" for name, points in self.axes.items())
        return f"<Grid of {len(self):,} cells of {function_name(self.task)} ({sizes or 'no axes'})>"


def _entry(name: str, value: object) -> str:
    return f'"{name}":{parameter_text(name, value)}'
