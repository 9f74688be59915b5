"""Where and with what a report was made."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import pyrank
from pyrank import native

LIBRARIES = ("numpy", "torch", "jax")


def describe(threads: str) -> dict[str, str]:
    """Processor, instruction set in use, versions."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": threads,
        "pyrank": f"{pyrank.__version__}, {native.isa_in_use()}, {native.build_info()['compiler']}",
        "python": platform.python_version(),
        **{library: _version(library) for library in LIBRARIES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    return fields.get("model name", platform.machine())


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
