"""What can be measured on a layer: the measures of chains that give one number, and the explained rank."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from pyrank.specs.measures import Measure, parse_measures
from pyrank.support.errors import as_number, invalid

_CALL = re.compile(r"\s*explained_rank\s*(?:\(\s*(?:\w+\s*=\s*)?([^()\s]+)\s*\))?\s*")
_SEVERAL = ("singular_values", "pairwise_angles")


@dataclass(frozen=True)
class ExplainedRank:
    """The number of directions that hold a share of Tr M; with ``centre=True`` of the variance: "saturation"."""

    argument: float
    name: str = "explained_rank"

    def __str__(self) -> str:
        return f"{self.name}({self.argument!r})"


NetworkMeasure: TypeAlias = Measure | ExplainedRank


def parse(measures: Iterable[object]) -> tuple[NetworkMeasure, ...]:
    """Return measures in order, each once.

    Raises
    ------
    ArgumentError
        If one is unknown, or gives several numbers, or there is none.
    """
    given = [measures] if isinstance(measures, str | Measure | ExplainedRank) or callable(measures) else list(measures)
    if not given:
        raise invalid("measures", given, "at least one measure", "write for example ['participation_ratio']")
    parsed = tuple(dict.fromkeys(_parsed(measure) for measure in given))
    parse_measures([measure for measure in parsed if isinstance(measure, Measure)])  # refuses two of one name
    return parsed


def _parsed(measure: object) -> NetworkMeasure:
    if isinstance(measure, ExplainedRank):
        return measure
    if isinstance(measure, str) and (call := _CALL.fullmatch(measure)):
        remedy = "write for example 'explained_rank(0.99)'"
        if call[1] is None:
            raise invalid("measure", measure, "a share of the variance", remedy)
        return ExplainedRank(as_number("share", call[1], 1e-6, 1.0, remedy))
    known = Measure.parse(measure)  # type: ignore[arg-type]
    if known.name in _SEVERAL:
        raise invalid("measure", str(known), "a measure of one number", "take for example 'stable_rank'")
    return known
