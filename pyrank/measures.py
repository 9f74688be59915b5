"""What is measured on a state: names, thresholds and how they are written."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from pyrank.errors import as_number, invalid

SCALAR_MEASURES = ("participation_ratio", "frobenius_norm", "trace")
THRESHOLD_MEASURES = ("soft_rank", "rank_bound_margin")
KERNEL_MEASURES = SCALAR_MEASURES + THRESHOLD_MEASURES

_CALL = re.compile(r"\s*(\w+)\s*(?:\(\s*(?:tau\s*=\s*)?([^()\s]+)\s*\))?\s*")


@dataclass(frozen=True)
class Measure:
    """A number taken from ``M = H H^T / N`` at every recorded layer.

    Parameters
    ----------
    name
        ``"participation_ratio"``: Tr(M)^2 / ||M||_F^2, the r(H) of Daneshmand et al. 2020;
        ``"frobenius_norm"``: ||M||_F; ``"trace"``: Tr M;
        ``"soft_rank"``: the number of eigenvalues of M that are >= tau;
        ``"rank_bound_margin"``: soft_rank(tau) - (1 - tau)^2 participation_ratio, which Lemma 1 of the same paper
        proves to be >= 0 for 0 < tau <= 1 and a state with Tr M = d.
    tau
        Threshold of the last two, > 0 and, for the margin, at most 1; None for the others.

    Raises
    ------
    ArgumentError
        If the name is unknown, or tau is missing, superfluous, not finite or not positive.
    """

    name: str
    tau: float | None = None

    def __post_init__(self) -> None:
        if self.name not in KERNEL_MEASURES:
            raise invalid("measure", self.name, f"one of {', '.join(KERNEL_MEASURES)}", "check the spelling")
        if self.name in SCALAR_MEASURES:
            if self.tau is not None:
                raise invalid("measure", str(self), f"{self.name} without a threshold", f"write {self.name!r}")
            return
        if self.tau is None:
            raise invalid("measure", self.name, "a threshold tau", f"write for example '{self.name}(0.5)'")
        highest = 1.0 if self.name == "rank_bound_margin" else sys.float_info.max
        remedy = f"write for example '{self.name}(0.5)'"
        tau = as_number("tau", self.tau, sys.float_info.min, highest, remedy)
        object.__setattr__(self, "tau", tau)

    @classmethod
    def parse(cls, text: str | Measure) -> Measure:
        """Return the measure written as ``text``: ``"soft_rank(1)"`` is ``soft_rank(1.0)``."""
        if isinstance(text, Measure):
            return text
        match = _CALL.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise invalid("measure", text, "a name such as 'trace' or 'soft_rank(0.5)'", "see pyrank.Measure")
        name, tau = match.groups()
        remedy = f"write for example '{name}(0.5)'"
        return cls(name, None if tau is None else as_number("tau", tau, -math.inf, math.inf, remedy))

    @property
    def is_rank(self) -> bool:
        """Whether the values are integers between 0 and min(d, N), and a histogram is kept."""
        return self.name == "soft_rank"

    def __str__(self) -> str:
        return self.name if self.tau is None else f"{self.name}({self.tau!r})"


def parse_measures(measures: Iterable[str | Measure]) -> tuple[Measure, ...]:
    """Return the measures in order, each once."""
    if isinstance(measures, str | Measure):
        measures = [measures]
    if not isinstance(measures, Iterable):
        raise invalid("measures", measures, "a list of measures", "write for example ['soft_rank(0.5)'], or []")
    return tuple(dict.fromkeys(Measure.parse(measure) for measure in measures))
