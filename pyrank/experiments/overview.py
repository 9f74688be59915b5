"""What came of all experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyrank.experiments.catalogue import by_chapter
from pyrank.experiments.claims import VERDICTS, Claim, count_sentence, of_kind
from pyrank.experiments.results import Result
from pyrank.support.text import text_table


@dataclass(frozen=True)
class Outcome:
    """What came of one experiment: its result, or the error that it raised, in one line.

    ``seconds`` is how long it took now; ``earlier`` tells that it was finished before and only read.
    """

    name: str
    seconds: float
    result: Result | None = None
    error: str = ""
    earlier: bool = False


@dataclass(frozen=True)
class Overview:
    """What came of all experiments so far: outcomes of those that ended, names of those missing, and the page.

    ``written`` tells whether the page could be written.
    """

    preset: str
    seconds: float
    outcomes: tuple[Outcome, ...]
    missing: tuple[str, ...]
    page: Path
    written: bool = True

    @property
    def chapters(self) -> dict[str, list[Outcome]]:
        """The outcomes by the titles of their chapters."""
        outcomes = {outcome.name: outcome for outcome in self.outcomes}
        return {title: [outcomes[name] for name in names] for title, names in by_chapter(outcomes).items()}

    @property
    def claims(self) -> list[Claim]:
        """Those of all experiments."""
        return [claim for outcome in self.outcomes if outcome.result for claim in outcome.result.claims]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The experiments that raised an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.result is None)

    def __str__(self) -> str:
        """Return a line for each experiment, under the title of its chapter, and a sentence on all published claims."""
        head = (*VERDICTS, "extensions", "seconds", "experiment")
        lines = iter(text_table(head, [_line(outcome) for outcome in self.outcomes]).splitlines())
        told = [next(lines)]
        for title, outcomes in self.chapters.items():
            told += [title] * bool(title) + [next(lines) for _ in outcomes]
        return "\n".join([*told, "", count_sentence(self.claims)])


def _line(outcome: Outcome) -> tuple[str, ...]:
    seconds = f"{outcome.seconds:.1f}"
    if outcome.result is None:
        return (*["-"] * (1 + len(VERDICTS)), seconds, f"{outcome.name} (failed to run)")
    found = [claim.verdict for claim in of_kind("published", outcome.result.claims)]
    counts = [str(found.count(verdict)) for verdict in VERDICTS]
    extensions = str(len(of_kind("extension", outcome.result.claims)))
    return (*counts, extensions, seconds, outcome.name + (" (finished earlier)" if outcome.earlier else ""))
