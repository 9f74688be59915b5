"""How values are written: as the call that gives them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any


def as_call(value: Any, default: object, always: dict[str, object]) -> str:
    """Write a value as the call that gives it, with what is not the default."""
    own = {field.name: getattr(value, field.name) for field in fields(value)}
    chosen = always | {name: argument for name, argument in own.items() if argument != getattr(default, name)}
    written = (
        f"{name}=" + ("float('inf')" if argument == math.inf else repr(argument)) for name, argument in chosen.items()
    )
    return f"{type(value).__name__}({', '.join(written)})"
