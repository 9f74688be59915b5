"""What came of all experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    def claims(self) -> list[Claim]:
        """Those of all experiments."""
        return [claim for outcome in self.outcomes if outcome.result for claim in outcome.result.claims]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The experiments that raised an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.result is None)

    def __str__(self) -> str:
        """Return a sentence on all published claims, and a line for each experiment."""
        head = (*VERDICTS, "extensions", "seconds", "experiment")
        return f"{text_table(head, [_line(outcome) for outcome in self.outcomes])}\n\n{count_sentence(self.claims)}"


def _line(outcome: Outcome) -> tuple[str, ...]:
    seconds = f"{outcome.seconds:.1f}"
    if outcome.result is None:
        return (*["-"] * (1 + len(VERDICTS)), seconds, f"{outcome.name} (failed to run)")
    found = [claim.verdict for claim in of_kind("published", outcome.result.claims)]
    counts = [str(found.count(verdict)) for verdict in VERDICTS]
    extensions = str(len(of_kind("extension", outcome.result.claims)))
    return (*counts, extensions, seconds, outcome.name + (" (finished earlier)" if outcome.earlier else ""))
