"""The law from which the weights of a layer are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pyrank.specs.writing import as_call
from pyrank.support.errors import as_choice, as_number, invalid

WEIGHT_LAWS = ("gaussian", "uniform", "rademacher", "orthogonal", "gram")
"""In the order of the compiled list."""
SCALES: dict[str, Callable[[int, int], float]] = {
    "unit": lambda fan_in, fan_out: 1.0,
    "lecun": lambda fan_in, fan_out: math.sqrt(1.0 / fan_in),
    "he": lambda fan_in, fan_out: math.sqrt(2.0 / fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(2.0 / (fan_in + fan_out)),
    "torch": lambda fan_in, fan_out: math.sqrt(1.0 / (3.0 * fan_in)),
}
"""Standard deviations of a weight that depend on the widths before and after it; "torch" is that of `torch.nn.Linear`,
whose weights are uniform on [-1, 1] / sqrt(fan_in)."""


@dataclass(frozen=True)
class Weights:
    """The law of the entries of W: ``mean + scale * w`` with w of mean 0 and variance 1.

    Parameters
    ----------
    law
        Independent entries: ``"gaussian"`` N(0, 1), ``"uniform"`` on [-sqrt 3, sqrt 3], ``"rademacher"`` (+1 or -1 with
        equal chance).
        ``"orthogonal"``: sqrt(d) times a matrix with orthonormal rows or columns from the Haar measure, d being the
        larger side of W (Stewart, SIAM J. Numer. Anal. 17, 403, 1980).
        ``"gram"``: gaussian too, but of W only the product is drawn, ``W F = G R`` with R^T R = F^T F and gaussian G of
        N columns: the same law for d N instead of d^2 numbers, so it pays when the batch is much smaller than the
        width. The states differ from those of ``"gaussian"``; their distribution does not, but for differences of
        samples below sqrt(d 2.2e-16) of their length, which are lost.
    mean, scale
        Mean and standard deviation of an entry; the last two laws have mean 0. Each is a number or ``"unit"``,
        ``"lecun"`` (1 / sqrt fan_in), ``"he"`` (sqrt(2 / fan_in)), ``"xavier"`` (sqrt(2 / (fan_in + fan_out))) or
        ``"torch"`` (1 / sqrt(3 fan_in), the deviation of `torch.nn.Linear`), fan_in and fan_out being the widths before
        and after the layer. So uniform weights of mean ``"lecun"`` and scale ``"torch"`` are on [0, 2 / sqrt fan_in].

    Raises
    ------
    ArgumentError
        If the law or the name of a scale is unknown, a number is not finite, the scale is negative, or a mean other
        than 0 is asked for where there is none.
    """

    law: str = "gaussian"
    mean: float | str = 0.0
    scale: float | str = 1.0

    def __post_init__(self) -> None:
        as_choice("weights", self.law, WEIGHT_LAWS)
        mean = _moment("weights.mean", self.mean, -1e12, 1e12, "give a finite mean, or the name of a scale")
        if mean and self.law in ("orthogonal", "gram"):
            raise invalid("weights.mean", mean, f"0 with law={self.law!r}", "use the gaussian law for a shift")
        scale = _moment("weights.scale", self.scale, 0.0, 1e100, "give a finite standard deviation >= 0, or a name")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)

    @classmethod
    def between(cls, low: float, high: float) -> Weights:
        """Return uniform weights on [low, high]: ``between(0, 2 / sqrt(d))`` is the "broken" initialisation.

        Raises
        ------
        ArgumentError
            Unless low < high, both finite.
        """
        low = as_number("low", low, -1e12, 1e12, "give the smallest weight")
        high = as_number("high", high, -1e12, 1e12, "give the largest weight")
        if not low < high:
            raise invalid("low", low, f"a number < high = {high:g}", "exchange the two")
        return cls("uniform", mean=(low + high) / 2.0, scale=(high - low) / math.sqrt(12.0))

    def __repr__(self) -> str:
        return as_call(self, Weights(), {"law": self.law})

    def average(self, fan_in: int, fan_out: int) -> float:
        """Return the mean of the entries of a (fan_out, fan_in) matrix."""
        return SCALES[self.mean](fan_in, fan_out) if isinstance(self.mean, str) else self.mean

    def standard_deviation(self, fan_in: int, fan_out: int) -> float:
        """Return the scale of the entries of a (fan_out, fan_in) matrix."""
        return SCALES[self.scale](fan_in, fan_out) if isinstance(self.scale, str) else self.scale


def _moment(argument: str, value: object, low: float, high: float, remedy: str) -> float | str:
    """Return a number within [low, high] or the name of a scale, or raise."""
    if isinstance(value, str):
        return as_choice(argument, value, tuple(SCALES))
    return as_number(argument, value, low, high, remedy)


INITIALIZATIONS = {law: Weights(law) for law in WEIGHT_LAWS} | {
    "lecun": Weights("gaussian", scale="lecun"),
    "he": Weights("gaussian", scale="he"),
    "xavier": Weights("gaussian", scale="xavier"),
    "torch": Weights("uniform", scale="torch"),
    "broken": Weights("uniform", mean="lecun", scale="torch"),
}
"""Weights that are known by one name; "broken" is U[0, 2 / sqrt fan_in], with the variance of "torch"."""
