"""An experiment is declared: one object says what is asked, computed, tabulated, claimed and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Unpack

from pyrank.experiments.claims import Claim
from pyrank.experiments.papers import Source, full, short
from pyrank.experiments.results import Result, publish
from pyrank.experiments.tables import Column, Row, records, written
from pyrank.experiments.tasks import How, Task, run_tasks
from pyrank.plotting import Sheet
from pyrank.support.text import span


@dataclass(frozen=True)
class Found:
    """What came of the tasks: what claims, captions, further tables and panels look at.

    Attributes
    ----------
    settings
        What was asked for.
    data
        What `Experiment.analyse` made of the results of the tasks; without it, these results themselves.
    rows
        The lines of the table.
    seeds
        Those of the tasks.
    """

    settings: Any
    data: Any
    rows: Sequence[Row] = ()
    seeds: Sequence[int] = ()

    def rows_by(self, *names: str) -> dict[Any, list[Row]]:
        """Group the rows by one column, or by several as tuples, in the order in which their values first occur."""
        groups: dict[Any, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(attrgetter(*names)(row), []).append(row)
        return groups


@dataclass(frozen=True)
class Table:
    """A further table of an experiment, such as one of fits: its lines are dicts of what its columns name."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Callable[[Found], Iterable[Mapping[str, Any]]]
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """A question, and how it is answered. Data flows one way: settings -> tasks -> data -> rows -> claims and figure.

    Attributes
    ----------
    name
        As it is typed, and the name of its files.
    question
        One sentence.
    sources
        Where the question comes from; may be empty.
    presets
        Settings by name: ``"quick"`` for a minute or less, ``"paper"`` for the published size. They are dataclasses.
    tasks
        From settings to what has to be computed.
    columns, rows
        The table, and its lines: dicts of what the columns name, made from settings and data.
    claims
        From what was found to what stands.
    sheet
        The figure.
    caption
        What is shown and with which parameters. The sources before it, and after it the seeds of the simulations
        and the number of flagged rows, are added.
    analyse
        From settings and the results of the tasks to the data that all that follows looks at.
    note
        Below the table: what the errors are.
    tables
        Further tables.
    more
        What else belongs into the JSON file.
    """

    name: str
    question: str
    sources: tuple[Source, ...]
    presets: Mapping[str, Any]
    tasks: Callable[[Any], Sequence[Task]]
    columns: Sequence[Column]
    rows: Callable[[Any, Any], Iterable[Mapping[str, Any]]]
    claims: Callable[[Found], Sequence[Claim]]
    sheet: Sheet
    caption: Callable[[Found], str]
    analyse: Callable[[Any, Sequence[Any]], Any] = lambda settings, results: results
    note: str = ""
    tables: Sequence[Table] = field(default_factory=tuple)
    more: Callable[[Found], Mapping[str, object]] = lambda found: {}

    def find(self, settings: Any, out: Path, **how: Unpack[How]) -> Found:
        """Run the tasks as a study of the experiment's name in ``out``, and analyse their results."""
        tasks = list(self.tasks(settings))
        data = self.analyse(settings, run_tasks(tasks, out / f"{self.name}.study", **how))
        seeds = [task.seed for task in tasks if task.seed is not None]
        return Found(settings, data, records(self.columns, self.rows(settings, data)), seeds)

    def run(self, settings: Any, out: Path, **how: Unpack[How]) -> Result:
        """Answer the question, and write data, table and figure into ``out``."""
        found = self.find(settings, out, **how)
        caption = self.full_caption(found)
        further = {table.name: records(table.columns, table.rows(found)) for table in self.tables}
        lines = {name: [vars(row) for row in rows] for name, rows in further.items()}
        return publish(
            Result(
                name=self.name,
                question=self.question,
                citation=full(self.sources),
                table=self._text(found, further),
                claims=tuple(self.claims(found)),
                caption=caption,
            ),
            out,
            settings=settings,
            rows=found.rows,
            figure=self.sheet.figure(found, caption),
            more={**lines, **self.more(found)},
        )

    def full_caption(self, found: Found) -> str:
        """Return the caption with sources, seeds and flags."""
        flagged = sum(bool(row.flags) for row in found.rows) if any(c.name == "flags" for c in self.columns) else None
        parts = [
            f"After {short(self.sources)}." if self.sources else "",
            self.caption(found),
            f"Seeds: {span(found.seeds)}." if found.seeds else "",
            "" if flagged is None else f"Flagged rows: {flagged} of {len(found.rows)}.",
        ]
        return " ".join(filter(None, parts))

    def _text(self, found: Found, further: Mapping[str, Sequence[Row]]) -> str:
        text = [written(self.columns, found.rows, self.note)]
        text += [f"{table.title}\n{written(table.columns, further[table.name], table.note)}" for table in self.tables]
        return "\n\n".join(text)
