"""Checks of single values, and how bad input is reported: argument, value, what is wanted, remedy, in one line."""

from __future__ import annotations

import math
from operator import index


class ArgumentError(ValueError):
    """An argument has a value that cannot be used."""


class GpuError(RuntimeError):
    """A GPU is busy, lost, or cannot be used for another reason, which the message tells with the remedy."""


def invalid(argument: str, value: object, wanted: str, remedy: str) -> ArgumentError:
    """Return the error for ``argument``; the caller raises it."""
    shown = " ".join(repr(value).split())
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return ArgumentError(f"{argument} = {shown}: expected {wanted}; {remedy}")


def as_integer(argument: str, value: object, low: int, high: int, remedy: str) -> int:
    """Return ``value`` as an int within [low, high], or raise the error that says what is wrong with it."""
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else index(value)  # type: ignore[arg-type]
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise invalid(argument, value, f"an integer from {low} to {high}", remedy)
    return number


def as_number(argument: str, value: object, low: float, high: float, remedy: str) -> float:
    """Return ``value`` as a float within [low, high] (NaN is outside of every range), or raise."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's, for more than one number
        number = math.nan
    if not low <= number <= high:
        raise invalid(argument, value, f"a number from {low:g} to {high:g}", remedy)
    return number


def as_choice(argument: str, value: object, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``, or raise."""
    if not isinstance(value, str) or value not in choices:
        raise invalid(argument, value, f"one of {', '.join(choices)}", "check the spelling")
    return value
