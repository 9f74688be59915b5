"""Results as a table of pandas, and as a dataset of xarray on the grid of the axes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank.support import optional
from pyrank.support.errors import invalid

if TYPE_CHECKING:
    import pandas as pd
    import xarray

MOST_POINTS = 10**8
SIMPLE = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Line:
    """What is known of a cell that is done: its values on the axes, how long it took, and its result as JSON."""

    axes: Mapping[str, Any]
    seconds: float
    text: str

    def parts(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Return the numbers and texts of the cell, and those of each measure: each dict that the task returned."""
        result = json.loads(self.text, object_hook=_number)
        entries = result if isinstance(result, dict) and not _is_special(result) else {"value": result}
        measures = {name: _simple(value) for name, value in entries.items()
                    if isinstance(value, dict) and not _is_special(value)}  # fmt: skip
        return _simple(entries), measures

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each measure, with what belongs to the cell, or that alone."""
        whole, measures = self.parts()
        return [{"measure": name} | own | whole for name, own in measures.items()] or [whole]


def table(lines: Iterable[Line], axes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each cell and measure: the axes, what was returned, and the seconds of the cell."""
    library = optional.load("pandas", "a table of a study")
    rows = [{**line.axes, **row, "seconds": line.seconds} for line in lines for row in line.rows()]
    names = dict.fromkeys([*axes, *(name for row in rows for name in row)])
    names.pop("seconds", None)
    return library.DataFrame(rows, columns=[*names, "seconds"])


def dataset(lines: Sequence[Line], points: Mapping[str, Sequence[Any]]) -> xarray.Dataset:
    """Return the variables on the grid of some points on each axis; what is not there is NaN, or an empty text."""
    library = optional.load("xarray", "a dataset of a study")
    shape = tuple(map(len, points.values()))
    if math.prod(shape) > MOST_POINTS:
        raise invalid("axes", dict(zip(points, shape, strict=True)), f"at most {MOST_POINTS:,} points",
                      "use table(), or open the study with fewer cells")  # fmt: skip
    places = {name: {_hashed(value): place for place, value in enumerate(values)} for name, values in points.items()}
    variables: dict[str, Any] = {}
    taken: set[tuple[int, ...]] = set()
    for line in lines:
        place = tuple(places[name][_hashed(line.axes.get(name))] for name in points)
        if place in taken:
            raise invalid("cells", dict(line.axes), "one cell for each combination of values", "use table()")
        taken.add(place)
        for name, value in _named(line):
            if name not in variables:
                text = isinstance(value, str)
                variables[name] = np.full(shape, "", dtype=object) if text else np.full(shape, np.nan)
            variables[name][place] = value
    coordinates = {name: list(values) for name, values in points.items()}
    found: xarray.Dataset = library.Dataset(
        {name: (tuple(points), values) for name, values in variables.items() if name not in points}, coordinates
    )
    return found


def points_of(axes: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values on each axis in the order in which they first occur, None where a cell has none."""
    every = list(axes)
    found: dict[str, dict[Any, Any]] = {name: {} for point in every for name in point}
    for point in every:
        for name, values in found.items():
            values.setdefault(_hashed(point.get(name)), point.get(name))
    return {name: list(values.values()) for name, values in found.items()}


def _named(line: Line) -> Iterator[tuple[str, Any]]:
    """Yield the variables of a cell: ``measure_statistic``, and what belongs to the whole cell."""
    whole, measures = line.parts()
    yield from whole.items()
    for measure, numbers in measures.items():
        yield from ((f"{measure}_{name}", value) for name, value in numbers.items())
    yield "seconds", line.seconds


def _hashed(value: Any) -> Any:
    return "nan" if value != value else (isinstance(value, str), value)


def _simple(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if isinstance(each, SIMPLE)}


def _is_special(value: Mapping[str, Any]) -> bool:
    return any(name.startswith("$") for name in value)


def _number(found: dict[str, Any]) -> Any:
    return float(found["$float"]) if "$float" in found else found
