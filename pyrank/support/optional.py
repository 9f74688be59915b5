"""Packages that few features need: they are looked for where such a feature is asked for, and nowhere else."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load(module: str, feature: str) -> Any:
    """Import a module, such as ``"arviz_stats.base"``.

    Raises
    ------
    ImportError
        If it cannot be imported; in one line: the ``feature`` that needs it, the package, why, and what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ImportError(f"{feature} needs {package}: {error}; pip install {package}", name=error.name) from error
