"""What an escaped sample looks like: columns for a table, and questions to hold against closed forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pyrank.estimate.intervals import Interval
from pyrank.experiments.chains.escape import Ends
from pyrank.experiments.chains.over_chains import mean_columns, means
from pyrank.experiments.claims import Claim, close_to, extension
from pyrank.experiments.tables import Column, Row
from pyrank.theory import escaped_shape

RIGHT = 0.5
"""Degrees within which an angle is a right one."""
SHAPE = {
    "length": ("length/(N-1)", "length of the escaped sample over N - 1 times that of the others", 0.05, 1.0),
    "angle": ("angle", "angle of the escaped sample to the others, degrees", RIGHT, 90.0),
    "cluster": ("cluster", "angle between the others, degrees", 2.0, 0.0),
}
"""By column: heading, meaning, what counts as equal, and the value if the others were in one point."""


def _exact(name: str) -> Callable[[Row], str]:
    return lambda row: f"{getattr(escaped_shape(row.batch), name):.3f}" if row.normalization == "recentre" else "-"


def shape_columns() -> Iterable[Column]:
    """Yield each number, its half width, and what it is in layers of infinite width."""
    for number, (name, (heading, meaning, *_)) in enumerate(SHAPE.items()):
        yield from mean_columns(name, heading, meaning)
        yield Column("", "exact", _exact(name), meaning="" if number else "in layers of infinite width")


def shape(ends: Ends) -> dict[str, float]:
    """Return the means over those that escaped, by column."""
    return means(**{name: getattr(ends, name)[ends.escaped] for name in SHAPE})


def shape_questions(rows: Sequence[Row]) -> Iterable[Claim]:
    """Hold the shapes against two states, in the case that differs most; every row needs two escapes or more."""
    for name, (_, meaning, margin, in_one_point) in SHAPE.items() if rows else ():
        note = "; ".join(f"{where(row)}: {getattr(row, name):.4g}" for row in rows)
        for state, source, expected in (
            ("in infinite width", "escaped_shape", [getattr(escaped_shape(row.batch), name) for row in rows]),
            ("for a cluster in one point", "outlier_gram", [in_one_point] * len(rows)),
        ):
            row, value = max(zip(rows, expected, strict=True), key=lambda pair: abs(getattr(pair[0], name) - pair[1]))
            yield extension(
                f"{meaning}, beside that {state}; the largest difference is at {where(row)}",
                f"pyrank.theory.{source}",
                Interval.around(getattr(row, name), getattr(row, f"{name}_half_width")),
                close_to(value, margin),
                note=note,
            )


def where(row: Row) -> str:
    """Say which case it is."""
    return f"N = {row.batch}, d = {row.width}"
