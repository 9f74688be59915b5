"""Builds the package of the checkout for one kind of GPU, unless the same sources were built in that place before."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import machine
import steps
from steps import Outcome

CHECK = """\
from pyrank.engine import gpus, native
found, missing = native.cuda_devices()
if native.why_missing() or missing:
    raise SystemExit(native.why_missing() or missing)
print(*gpus.describe().values(), sep="; ")
"""

CHECK_SECONDS = 15.0
"""For the check there is that much time at least, because without it nothing else is of use."""


def environment(package: Path) -> dict[str, str]:
    """Return the environment in which programs find the built package before anything else."""
    nvcc = machine.find_cuda_tool("nvcc")
    path = [*([str(nvcc.parent)] if nvcc else []), os.environ.get("PATH", "")]
    python_path = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": os.pathsep.join(python_path)}


def is_built(root: Path, package: Path, architecture: int) -> bool:
    """Whether the folder holds what would be built."""
    stamp = _stamp(package)
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == digest(root, architecture)


def build(
    root: Path, package: Path, architecture: int, out: Path, limit: float, variables: dict[str, str], check: bool = True
) -> Outcome:
    """Install the checkout into a folder with what is on the machine, and see that it finds the GPU."""
    began, known = time.monotonic(), is_built(root, package, architecture)
    if not known:
        package.mkdir(parents=True, exist_ok=True)
        _stamp(package).unlink(missing_ok=True)
        done = steps.run(_command(package), limit, out / "build.log", root, variables | _options(architecture))
        if done.code != 0:
            return Outcome("build", "failed", done.seconds, steps.stopped(done, limit))
        _stamp(package).write_text(digest(root, architecture), encoding="utf-8")
    how = "the sources are those of the last build" if known else f"built for {architecture}"
    if not check:
        return Outcome("build", "passed", time.monotonic() - began, how)
    left = max(began + limit - time.monotonic(), CHECK_SECONDS)
    seen = steps.run([sys.executable, "-P", "-c", CHECK], left, out / "check.log", out, variables)
    seconds = time.monotonic() - began
    if seen.code != 0:
        return Outcome("build", "failed", seconds, f"the package cannot be used: {steps.stopped(seen, left)}")
    return Outcome("build", "passed", seconds, f"{how}: {seen.tail}")


def _options(architecture: int) -> dict[str, str]:
    """For one architecture and without PTX; nvcc is told to compile several functions of the one unit at a time."""
    return {
        "CMAKE_ARGS": f"-DCMAKE_CUDA_ARCHITECTURES={architecture}-real",
        "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
        "NVCC_APPEND_FLAGS": "--split-compile=0",
    }


def _command(package: Path) -> list[str | Path]:
    return [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index", "--upgrade",
            "--disable-pip-version-check", "--target", package, "."]  # fmt: skip


def _stamp(package: Path) -> Path:
    return package / "built-from"


def digest(root: Path, architecture: int) -> str:
    """Return a sum over everything that the package is built from, and for."""
    files = [root / name for name in ("CMakeLists.txt", "pyproject.toml", "setup.py")]
    for folder in ("csrc", "pyrank"):
        files += [path for path in sorted((root / folder).rglob("*")) if path.suffix in _SOURCES]
    found = hashlib.sha256(f"{sys.version} {architecture}".encode())
    for path in files:
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


_SOURCES = {".py", ".pyi", ".typed", ".h", ".cpp", ".cu", ".cuh"}
