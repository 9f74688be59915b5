"""How bad input is reported: one line that names the argument, the value, what is wanted and the remedy."""

from __future__ import annotations


class ArgumentError(ValueError):
    """An argument has a value that cannot be used."""


def invalid(argument: str, value: object, wanted: str, remedy: str) -> ArgumentError:
    """Return the error for ``argument``; the caller raises it."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return ArgumentError(f"{argument} = {shown}: expected {wanted}; {remedy}")
