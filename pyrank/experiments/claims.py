"""What a paper claims, what was measured about it, and whether it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrank.support.errors import as_choice
from pyrank.support.text import plus_minus

VERDICTS = ("holds", "fails", "undecided")


@dataclass(frozen=True)
class Claim:
    """A published statement, what was measured about it, and whether it stands.

    Attributes
    ----------
    statement
        What is claimed, as a formula where possible.
    source
        Where: paper and theorem or figure.
    value
        The measured number.
    error
        Half-width of its 95 % interval; None for a number without sampling error, such as an observed minimum.
    verdict
        ``"holds"``, ``"fails"``, or ``"undecided"`` if the interval allows both.
    note
        What a reader must know to weigh the verdict; may be empty.
    """

    statement: str
    source: str
    value: float
    error: float | None
    verdict: str
    note: str = ""

    def __post_init__(self) -> None:
        as_choice("verdict", self.verdict, VERDICTS)

    @property
    def measured(self) -> str:
        """The measured value ± error."""
        return f"{self.value:.4g}" if self.error is None else plus_minus(self.value, self.error)


def at_least(low: float, high: float, bound: float) -> str:
    """Return the verdict on ``value >= bound`` for a value that lies in [low, high]; NaN decides nothing."""
    if bound <= low <= high:
        return "holds"
    return "fails" if low <= high < bound else "undecided"


def at_most(low: float, high: float, bound: float) -> str:
    """Return the verdict on ``value <= bound`` for a value that lies in [low, high]; NaN decides nothing."""
    if low <= high <= bound:
        return "holds"
    return "fails" if bound < low <= high else "undecided"


def close_to(low: float, high: float, wanted: float, margin: float) -> str:
    """Return the verdict on ``|value - wanted| <= margin`` for a value in [low, high]; NaN decides nothing.

    The margin is what still counts as equal, such as half a unit of the last digit printed in a paper.
    """
    if wanted - margin <= low <= high <= wanted + margin:
        return "holds"
    return "fails" if low <= high < wanted - margin or wanted + margin < low <= high else "undecided"


def provisional(what: str, flagged: Sequence[object]) -> str:
    """Return the note of a claim that rests on flagged estimates, such as those at ``"width"`` 8 and 16; or nothing."""
    return f"provisional: flagged at {what} {', '.join(map(str, flagged))}, see the table" if flagged else ""


def claims_text(claims: Sequence[Claim]) -> str:
    """Write claims, each with its measured value, verdict and source."""
    lines = []
    for claim in claims:
        lines.append(f"{claim.verdict.upper()}: {claim.statement}")
        lines.append(f"    measured {claim.measured}  ({claim.source})")
        if claim.note:
            lines.append(f"    {claim.note}")
    return "\n".join(lines)
