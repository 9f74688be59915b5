"""What is done in a study as points with error bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrank.estimate.blocks import half_width
from pyrank.plotting.rendering import require
from pyrank.plotting.sweeps import Series, sweep
from pyrank.studies.tables import Line
from pyrank.support.errors import as_choice, invalid

if TYPE_CHECKING:
    import matplotlib.figure

REPEATED = "seed"
"""The axis whose values are repetitions of one experiment."""

MOST_PANELS = 12
LEVEL = 0.95

Number = tuple[float, float, float]
"""A value, its standard error and the degrees of freedom of that; NaN for what is not known."""


def picture(lines: Sequence[Line], axes: Sequence[str], x: str, y: str, hue: str | None) -> matplotlib.figure.Figure:
    """Draw ``y`` over the axis ``x``: see `pyrank.Study.plot`."""
    require()
    as_choice("x", x, tuple(axes))
    if hue is not None:
        as_choice("hue", hue, tuple(axes))
    found = [(line.axes, number) for line in lines if (number := _number(line, y)) is not None]
    if not found:
        names = sorted({name for line in lines for part in line.parts() for name in part})
        raise invalid("y", y, f"one of {', '.join(names) or 'nothing yet'}", "run the study, or name what it returns")
    others = [name for name in axes if name not in (x, hue, REPEATED)]
    others = [name for name in others if len({str(point[name]) for point, _ in found}) > 1]
    panels = _grouped(found, others)
    if len(panels) > MOST_PANELS:
        wanted = f"at most {MOST_PANELS} combinations of {', '.join(others)}, not {len(panels)}"
        raise invalid("x, hue", (x, hue), wanted, "open the study with fewer cells")
    drawn = {}
    for title, some in panels.items():
        colours = _grouped(some, [hue] if hue else [])
        drawn[title] = [_series(label, each, x) for label, each in colours.items()]
    repeated = len({str(point.get(REPEATED)) for point, _ in found})
    seeds = f" over up to {repeated} seeds" if repeated > 1 else ""
    caption = f"{len(found):,} cells; {LEVEL:.0%} intervals{seeds}."
    return sweep(drawn, x=x, y=y, title=f"{y} by {x}", caption=caption)


def _number(line: Line, y: str) -> Number | None:
    whole, measures = line.parts()
    if y in measures and "mean" in measures[y]:
        own = measures[y]
        return float(own["mean"]), float(own.get("stderr", math.nan)), float(own.get("dof", math.inf))
    value = whole.get(y)
    return None if value is None or isinstance(value, str) else (float(value), math.nan, math.nan)


def _grouped(found: Sequence[tuple[Mapping[str, Any], Number]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the numbers by the values on some axes, as text."""
    groups: dict[str, list[Any]] = {}
    for point, number in found:
        groups.setdefault(", ".join(f"{name} = {point[name]}" for name in names), []).append((point, number))
    return groups


def _series(label: str, found: Sequence[tuple[Mapping[str, Any], Number]], x: str) -> Series:
    values = dict.fromkeys(point[x] for point, _ in found)
    numbers = [_together([number for point, number in found if point[x] == value]) for value in values]
    return Series(label, list(values), [mean for mean, _ in numbers], [error for _, error in numbers])


def _together(numbers: Sequence[Number]) -> tuple[float, float]:
    """Return the mean of repetitions and the half-width of its interval.

    The scatter of the repetitions decides, and where each has an error of its own, at least these errors together.
    """
    values, errors, dofs = np.array(numbers).T
    count = len(values)
    if count == 1:
        return float(values[0]), half_width(errors[0], dofs[0], LEVEL)
    scatter = float(values.std(ddof=1)) / math.sqrt(count)
    if np.isnan(errors).any():
        return float(values.mean()), half_width(scatter, count - 1, LEVEL)
    own = float(np.sqrt((errors**2).sum())) / count
    return float(values.mean()), half_width(max(own, scatter), float(dofs.sum()), LEVEL)
