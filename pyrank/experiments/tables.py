"""Tables: one list of columns makes the record, the CSV file, the text and its legend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from types import SimpleNamespace
from typing import Any

from pyrank.support.text import plus_minus, text_table

LINE = 118
NEGLIGIBLE = 1e-5
"""Share of a value below which its error is not written: a few times the rounding of single precision."""


class Row(SimpleNamespace):
    """A line of a table: the values by the names of its columns, as attributes."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name
        Of the value in a row, in the CSV file and in the JSON file; empty for a column that is only written as text.
    heading
        Above the text; without one, the column is kept in the files alone.
    form
        How a value is written: a format such as ``".3f"``, or a function that writes it from the row.
    error
        Name of the column that holds the error of this one: both are written as ``7.041 ± 0.002``, an error of no more
        than rounding is left out.
    meaning
        What it is, in a few words, with units; for the legend.
    """

    name: str
    heading: str = ""
    form: str | Callable[[Row], str] = ""
    error: str = ""
    meaning: str = ""

    def text(self, row: Row) -> str:
        """Write the value in a row; what is not there, an empty text or NaN, is a dash."""
        if callable(self.form):
            return self.form(row)
        value = getattr(row, self.name)
        if value == "" or value != value:
            return "-"
        if isinstance(value, str):
            return value
        if self.error and not getattr(row, self.error) <= NEGLIGIBLE * abs(value):  # NaN is written
            return plus_minus(value, getattr(row, self.error))
        return format(value, self.form or ("," if isinstance(value, int) else ".4g"))


def records(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return rows that hold exactly what the columns name, in their order; anything else is a slip, a KeyError."""
    names = [column.name for column in columns if column.name]
    found = []
    for values in rows:
        if set(values) != set(names):
            raise KeyError(f"columns {', '.join(sorted(set(values) ^ set(names)))}: in a row or declared, not in both")
        found.append(Row(**{name: values[name] for name in names}))
    return found


def written(columns: Sequence[Column], rows: Sequence[Row], note: str = "") -> str:
    """Write a table as text: aligned, with a note and the meanings of its headings below."""
    shown = [column for column in columns if column.heading]
    body = text_table([column.heading for column in shown], [[column.text(row) for column in shown] for row in rows])
    meanings = "; ".join(f"{column.heading}: {column.meaning}" for column in shown if column.meaning)
    below = [fill(text, LINE) for text in (note, f"{meanings}." if meanings else "") if text]
    return "\n".join([body, *below])
