"""A piece of work: a function, and the arguments it is called with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyrank.studies.values import UnwritableError, argument_text, name_of
from pyrank.support.errors import as_number, invalid

FORMAT = 1
"""Version of what identifies a task, and of the store."""


@dataclass(frozen=True)
class Task:
    """A function and its arguments: one cell of a study.

    A function that has arguments called ``threads``, ``checkpoint`` or ``report``, which the cell does not name, is
    given the number of threads it may use (None for all), a file of its own that it may write to and continue from
    (None where there is none), and a function to call with the part done so far, from 0 to 1.

    Attributes
    ----------
    function
        Called with the parameters by name; returns numbers, texts and arrays, or lists, tuples, dicts and dataclasses
        of such. It stands at the top of a module, where workers find it.
    parameters
        Numbers, texts, arrays, and lists, dicts and dataclasses of such.
    cost
        Predicted time in units of your choice; no part of what the task is.

    Raises
    ------
    ArgumentError
        If the function is none that a worker could find, or a parameter cannot be written down.
    """

    function: Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cost: float = field(default=1.0, compare=False)

    def __post_init__(self) -> None:
        as_number("cost", self.cost, 0.0, 1e300, "give a predicted time > 0")
        if not isinstance(self.parameters, Mapping):
            raise invalid("parameters", self.parameters, "arguments by name", "write for example {'seed': 1}")
        for name in self.parameters:
            if not isinstance(name, str) or not name.isidentifier():
                raise invalid("parameters", name, "the name of an argument", "write for example {'seed': 1}")
        self.name, self.content  # noqa: B018, they raise

    @cached_property
    def name(self) -> str:
        """``module:name`` of the function."""
        return function_name(self.function)

    @cached_property
    def content(self) -> str:
        """The parameters as JSON, in which equal values are equal texts."""
        texts = {name: parameter_text(name, value) for name, value in self.parameters.items()}
        return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"

    @cached_property
    def key(self) -> str:
        """Identity: a hash of function, parameters and version of the format."""
        return key_of(f"{FORMAT} {self.name} {self.content}")


def key_of(identity: str) -> str:
    """Return the hash of what identifies a task: 128 bits, as text."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def function_name(function: Callable[..., Any]) -> str:
    """Return `name_of` a task's function, or raise ArgumentError."""
    try:
        return name_of(function)
    except UnwritableError:
        remedy = "define it there, so that workers find it; bind arguments as parameters"
        raise invalid("task", function, "a function at the top of a module", remedy) from None


def parameter_text(name: str, value: object) -> str:
    """Return a parameter as canonical JSON, or raise ArgumentError."""
    try:
        return argument_text(value)
    except UnwritableError as error:
        wanted = f"what can be written as JSON, or an array ({error})"
        raise invalid(name, value, wanted, "pass numbers or names, and build objects of them in the function") from None
