"""What is measured on a state: names, arguments and how they are written."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyrank.support.errors import as_integer, as_number, invalid

if TYPE_CHECKING:
    from torch import Tensor

SCALAR_MEASURES = ("participation_ratio", "frobenius_norm", "trace")
THRESHOLD_MEASURES = ("soft_rank", "rank_bound_margin")
KERNEL_MEASURES = SCALAR_MEASURES + THRESHOLD_MEASURES
"""Measures that the kernels take at every layer, in the order of the compiled list."""

SNAPSHOT_MEASURES = (
    "numerical_rank", "stable_rank", "effective_rank", "singular_values", "isometry_gap", "orthogonality_gap",
    "pairwise_angles", "outlier_angle", "outlier_ratio",
)  # fmt: skip
"""Measures that need a decomposition or the angles of a state, and are taken in torch."""

MEASURES = KERNEL_MEASURES + SNAPSHOT_MEASURES

RESERVED = ("chain", "draw", "layer", "snapshot", "snapshot_layer")
"""Dimensions and coordinates of `pyrank.Run.to_xarray`, which no measure can be called."""

_CALL = re.compile(r"\s*(\w+)\s*(?:\(\s*(?:\w+\s*=\s*)?([^()\s]+)\s*\))?\s*")


@dataclass(frozen=True)
class Measure:
    """One or several numbers taken from the states of chains.

    Parameters
    ----------
    name
        Taken from ``M = H H^T / N`` by the kernels, at every recorded layer:
        ``"participation_ratio"``: Tr(M)^2 / ||M||_F^2, the r(H) of Daneshmand et al. 2020;
        ``"frobenius_norm"``: ||M||_F; ``"trace"``: Tr M;
        ``"soft_rank"``: the number of eigenvalues of M that are >= tau;
        ``"rank_bound_margin"``: soft_rank(tau) - (1 - tau)^2 participation_ratio, which Lemma 1 of the same paper
        proves to be >= 0 for 0 < tau <= 1 and a state with Tr M = d.
        Taken in torch, every ``snapshot_every`` layers, by the function of this name in `pyrank`:
        ``"numerical_rank"``, ``"stable_rank"``, ``"effective_rank"``, ``"isometry_gap"``, ``"orthogonality_gap"``;
        and several numbers at once: ``"singular_values"`` and ``"pairwise_angles"`` (samples i < j, row by row);
        ``"outlier_angle"`` and ``"outlier_ratio"`` are two answers of `pyrank.outlier`.
    argument
        The threshold tau > 0 of ``soft_rank`` and ``rank_bound_margin`` (there at most 1); the relative tolerance of
        ``numerical_rank`` and ``isometry_gap``, which may be left out; the power, 1 or 2, of ``effective_rank``, 1 if
        left out; how many ``singular_values``, all if left out. None for the others.
    function
        Your own measure instead: it is called with the states (chains, d, N) and returns (chains,) or (chains, k)
        numbers. Its name must be none of those above, and none of the dimensions and coordinates of `Run.to_xarray`;
        checkpoints know it by that name alone.

    Raises
    ------
    ArgumentError
        If the name is unknown, or the argument is missing, superfluous, or out of range.
    """

    name: str
    argument: float | None = None
    function: Callable[[Tensor], Tensor] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if self.function is not None:
            self._check_function()
        elif not isinstance(self.name, str) or self.name not in MEASURES:
            raise invalid("measure", self.name, f"one of {', '.join(MEASURES)}, or a function", "check the spelling")
        else:
            object.__setattr__(self, "argument", _checked(self.name, self.argument))

    def _check_function(self) -> None:
        if not callable(self.function):
            raise invalid("measure.function", self.function, "a function of a tensor (chains, d, N)", "pass a function")
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name in MEASURES + RESERVED:
            wanted = f"a name of its own, made of letters, digits and _, not {', '.join(RESERVED)}"
            raise invalid("measure", self.name, wanted, "write Measure('my_name', function=f)")
        if self.argument is not None:
            raise invalid("measure", str(self), "a function without an argument", "bind it with functools.partial")

    @classmethod
    def parse(cls, text: str | Measure | Callable[[Tensor], Tensor]) -> Measure:
        """Return the measure written as ``text``: ``"soft_rank(1)"`` is ``soft_rank(1.0)``; a function is its own."""
        if isinstance(text, Measure):
            return text
        if callable(text):
            return cls(getattr(text, "__name__", type(text).__name__), function=text)
        match = _CALL.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise invalid("measure", text, "a name such as 'trace' or 'soft_rank(0.5)'", "see pyrank.Measure")
        name, argument = match.groups()
        remedy = f"write for example '{name}(0.5)'"
        number = None if argument is None else as_number("argument", argument, -math.inf, math.inf, remedy)
        return cls(name, number)

    @property
    def is_snapshot(self) -> bool:
        """Whether it is taken in torch, at its own stride, rather than by the kernels."""
        return self.name not in KERNEL_MEASURES

    @property
    def is_rank(self) -> bool:
        """Whether the values are integers between 0 and min(d, N), and a histogram is kept."""
        return self.name in ("soft_rank", "numerical_rank")

    def numbers(self, width: int, batch: int) -> int | None:
        """Return how many numbers it gives for a state (width, batch); None for a function of the user's own."""
        if self.function is not None:
            return None
        if self.name == "pairwise_angles":
            return batch * (batch - 1) // 2
        if self.name == "singular_values":
            return min(width, batch) if self.argument is None else int(self.argument)
        return 1

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}({self.argument!r})"


def _checked(name: str, argument: float | None) -> float | None:
    """Return the argument of a built-in measure in the form in which it is written and used, or raise."""
    example = {"numerical_rank": "1e-6", "isometry_gap": "1e-6", "effective_rank": "2", "singular_values": "3"}
    if name in THRESHOLD_MEASURES:
        if argument is None:
            raise invalid("measure", name, "a threshold tau", f"write for example '{name}(0.5)'")
        highest = 1.0 if name == "rank_bound_margin" else sys.float_info.max
        return as_number("tau", argument, sys.float_info.min, highest, f"write for example '{name}(0.5)'")
    if argument is None:
        return None
    if name not in example:
        raise invalid("measure", f"{name}({argument!r})", f"{name} without an argument", f"write {name!r}")
    remedy = f"write for example '{name}({example[name]})'"
    if name == "effective_rank":
        return as_integer("power", argument, 1, 2, remedy)
    if name == "singular_values":
        return as_integer("k", argument, 1, 2**20, remedy)
    return as_number("rtol", argument, 0.0, 1.0, remedy)


def parse_measures(measures: Iterable[str | Measure | Callable[[Tensor], Tensor]]) -> tuple[Measure, ...]:
    """Return the measures in order, each once.

    Raises
    ------
    ArgumentError
        If two functions share a name.
    """
    if isinstance(measures, str | Measure) or callable(measures):
        measures = [measures]
    if not isinstance(measures, Iterable):
        raise invalid("measures", measures, "a list of measures", "write for example ['soft_rank(0.5)'], or []")
    different = tuple(dict.fromkeys(Measure.parse(measure) for measure in measures))
    names = [str(measure) for measure in different]
    for name in names:
        if names.count(name) > 1:
            raise invalid("measures", name, "functions of different names", "write Measure('my_name', function=f)")
    return different
