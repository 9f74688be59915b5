"""Estimates as a table, for a terminal, for a notebook and as data: one list of columns for all three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pyrank.estimate import Estimate
from pyrank.support.text import text_table

NUMBERS = ("mean", "stderr", "ess", "rhat", "std", "min", "max", "count")
"""The numbers of an estimate that data hold."""


@dataclass(frozen=True)
class Column:
    """A number of an estimate, or of what else has a row, and how it is printed."""

    number: str
    heading: str
    form: str

    def cell(self, estimate: Any) -> str:
        """Return the number as text."""
        return format(getattr(estimate, self.number), self.form)


MEAN = Column("mean", "mean", ">12.6g")
STDERR = Column("stderr", "stderr", ">9.2g")
ESS = Column("ess", "ess", ">10.4g")
RHAT = Column("rhat", "r-hat", ">6.3f")


def numbers(estimate: Estimate) -> dict[str, Any]:
    """Return the numbers of an estimate by name."""
    return {name: getattr(estimate, name) for name in NUMBERS}


@dataclass(frozen=True)
class Report:
    """Lines of text, a table of estimates, and lines below it.

    ``rows`` are the estimates, or anything with these numbers, by name; their flags are the last column.
    """

    above: Sequence[str]
    corner: str
    rows: Mapping[str, Any]
    columns: Sequence[Column]
    below: Sequence[str] = ()

    def text(self) -> str:
        """Return the report for a terminal."""
        parts = ["\n".join(self.above), self._text_table(), "\n".join(self.below)]
        return "\n\n".join(part for part in parts if part)

    def html(self) -> str:
        """Return the report for a notebook, in the font and the colours of what is around it."""
        above, below = ("".join(f"<div>{escape(line)}</div>" for line in lines) for lines in (self.above, self.below))
        return f'<div style="line-height: 1.5; overflow-x: auto">{above}{self._html_table()}{below}</div>'

    def _cells(self) -> list[list[str]]:
        """Return the heading and the rows, as text."""
        heading = [self.corner, *(column.heading for column in self.columns), "flags"]
        return [heading] + [
            [
                name,
                *(format(getattr(e, column.number), column.form) for column in self.columns),
                ", ".join(e.flags) or "-",
            ]
            for name, e in self.rows.items()
        ]

    def _text_table(self) -> str:
        if not self.rows:
            return ""
        cells = self._cells()
        wide = max(len(name) for name, *_ in cells)
        heading, *rows = ([name.ljust(wide), *others] for name, *others in cells)
        return text_table(heading, rows)

    def _html_table(self) -> str:
        if not self.rows:
            return ""
        heading, *rows = (_html_row(row, "th" if number == 0 else "td") for number, row in enumerate(self._cells()))
        style = "font: inherit; font-variant-numeric: tabular-nums; border-collapse: collapse; margin: 0.6em 0"
        return (
            f'<table style="{style}">'
            f'<thead style="border-bottom: 1px solid">{heading}</thead><tbody>{"".join(rows)}</tbody></table>'
        )


def _html_row(cells: Sequence[str], tag: str) -> str:
    """Return a row of a table: numbers to the right, the name before and the flags after them to the left."""
    sides = ["left", *("right" for _ in cells[2:]), "left"]
    return "<tr>{}</tr>".format("".join(
        f'<{tag} style="text-align: {side}; padding: 0.1em 0.8em; white-space: nowrap">{escape(cell.strip())}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    ))  # fmt: skip
