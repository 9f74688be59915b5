"""Names of a package that are looked up on first use, so that asking for help does not wait for torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def names_of(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package
        Its name.
    homes
        The names, separated by spaces, that each of its modules gives; those of ``""`` are modules themselves.
    """
    found = {name: module for module, names in homes.items() for name in names.split()}

    def look_up(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not found[name]:
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{found[name]}"), name)

    return look_up, lambda: sorted(found)
