"""What is claimed, what was measured about it, and whether it stands.

There are two kinds. A **published** claim is what a paper says, as its authors would word it, at its own parameters;
words without a number ("quickly", "about", "most") are read as the authors would accept, and the reading is stated. An
**extension** is what is asked here beyond that: other sizes, constants, closed forms, stronger readings. It tells how
far a result reaches, and nobody is right or wrong by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyrank.estimate.intervals import Interval
from pyrank.experiments.papers import Source
from pyrank.support.errors import as_choice

KINDS = ("published", "extension")
VERDICTS = ("holds", "fails", "undecided")
NEUTRAL = {"holds": "as expected", "fails": "differs", "undecided": "undecided"}
"""The verdicts in the words for an extension."""


@dataclass(frozen=True)
class Wanted:
    """The values at which a claim holds, from ``low`` to ``high``, and these in words."""

    low: float
    high: float
    text: str

    def verdict(self, measured: Interval) -> str:
        """Return ``"holds"``, ``"fails"``, or ``"undecided"`` if the interval allows both; NaN decides nothing."""
        if self.low <= measured.low <= measured.high <= self.high:
            return "holds"
        outside = measured.low <= measured.high < self.low or self.high < measured.low <= measured.high
        return "fails" if outside else "undecided"


def at_least(bound: float) -> Wanted:
    """Return all values from ``bound`` on."""
    return Wanted(bound, math.inf, f"at least {bound:.4g}")


def at_most(bound: float) -> Wanted:
    """Return all values up to ``bound``."""
    return Wanted(-math.inf, bound, f"at most {bound:.4g}")


def close_to(value: float, margin: float) -> Wanted:
    """Return the values that count as equal; the margin is for example half a unit of the last digit in a paper."""
    return Wanted(value - margin, value + margin, f"{value:.4g} to within {margin:.4g}" if margin else f"{value:.4g}")


def between(low: float, high: float) -> Wanted:
    """Return the values from ``low`` to ``high``."""
    return Wanted(low, high, f"{low:.4g} to {high:.4g}")


@dataclass(frozen=True)
class Claim:
    """A statement, what was measured about it, and whether it stands; see `published` and `extension`.

    Attributes
    ----------
    kind
        ``"published"`` or ``"extension"``.
    statement
        What is claimed, as a formula where possible.
    source
        Where: paper and theorem or figure; for an extension what it follows from.
    value, error
        The measured number and the half-width of its 95 % interval; None for a number without sampling error.
    measured
        Both as text.
    expected
        The values at which the claim holds, as text.
    verdict
        ``"holds"``, ``"fails"``, or ``"undecided"`` if the interval allows both.
    reading
        How words of a published claim that name no number were read.
    note
        What a reader must know to weigh the verdict.
    """

    kind: str
    statement: str
    source: str
    value: float
    error: float | None
    measured: str
    expected: str
    verdict: str
    reading: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        as_choice("kind", self.kind, KINDS)
        as_choice("verdict", self.verdict, VERDICTS)

    @property
    def remarks(self) -> list[str]:
        """What is said below it: the source of an extension, how words were read, and the note, as far as given."""
        source = self.source if self.kind == "extension" else ""
        return [*filter(None, (source, self.reading and f"read as: {self.reading}", self.note))]

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Claim:
        """Return a claim from its fields as JSON has them: numbers that are not finite are words there."""
        numbers = {key: None if fields[key] is None else float(fields[key]) for key in ("value", "error")}
        return cls(**{**fields, **numbers})


def published(
    statement: str, source: Source, measured: Interval, wanted: Wanted, *, reading: str = "", note: str = ""
) -> Claim:
    """Return what a paper says in its authors' sense, with the verdict on it.

    ``measured`` is the number that decides, ``wanted`` is where it has to lie: `at_least`, `at_most`, `close_to` or
    `between`. The other arguments are attributes of the `Claim`.
    """
    return Claim("published", statement, str(source), *_judged(measured, wanted), reading, note)


def extension(statement: str, source: Source | str, measured: Interval, wanted: Wanted, *, note: str = "") -> Claim:
    """Return what pyrank asks beyond the papers; the arguments are those of `published`."""
    return Claim("extension", statement, str(source), *_judged(measured, wanted), note=note)


def _judged(measured: Interval, wanted: Wanted) -> tuple[float, float | None, str, str, str]:
    """Return the fields of a `Claim` from its value to its verdict."""
    error = None if measured.low == measured.value == measured.high else measured.error
    return measured.value, error, str(measured), wanted.text, wanted.verdict(measured)


def provisional(what: str, flagged: Sequence[object]) -> str:
    """Return the note of a claim that rests on flagged estimates, such as those at ``"width"`` 8 and 16; or nothing."""
    return f"provisional: flagged at {what} {', '.join(map(str, flagged))}, see the table" if flagged else ""


def of_kind(kind: str, claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims of one kind."""
    return [claim for claim in claims if claim.kind == kind]


def count_sentence(claims: Sequence[Claim]) -> str:
    """Say how many published claims there are, and how many of them hold, fail and stay undecided."""
    verdicts = [claim.verdict for claim in of_kind("published", claims)]
    if not verdicts:
        return "Goes beyond what is published."
    holds, fails, undecided = (verdicts.count(verdict) for verdict in VERDICTS)
    return (
        f"Of {len(verdicts)} published claim{'s' * (len(verdicts) != 1)} {holds} hold{'s' * (holds == 1)}, "
        f"{fails} fail{'s' * (fails == 1)} and {undecided} stay{'s' * (undecided == 1)} undecided."
    )


def claims_text(claims: Sequence[Claim]) -> str:
    """Write the published claims, each with its verdict, and below how far the result reaches."""
    lines = []
    for claim in of_kind("published", claims):
        lines.append(f"{claim.verdict.upper()}: {claim.statement}")
        lines.append(f"    measured {claim.measured}, wanted {claim.expected}  ({claim.source})")
        lines += [f"    {remark}" for remark in claim.remarks]
    if beyond := of_kind("extension", claims):
        lines += [""] * bool(lines) + ["How far it reaches:"]
    for claim in beyond:
        lines.append(f"  * {claim.statement}")
        lines.append(f"    expected {claim.expected}, measured {claim.measured}: {NEUTRAL[claim.verdict]}")
        lines.append(f"    {'; '.join(claim.remarks)}")
    return "\n".join(lines)
