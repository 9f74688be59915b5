"""Builds the package of the checkout into a folder, unless the same sources were built there before."""

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
from pyrank.engine import native
names, missing = native.cuda_devices()
if native.why_missing() or missing:
    raise SystemExit(native.why_missing() or missing)
print(native.build_info()["cuda_architectures"], "on", *names)
"""


def environment(out: Path) -> dict[str, str]:
    """Return the environment in which programs find the built package before anything else."""
    nvcc = machine.find_cuda_tool("nvcc")
    path = [*([str(nvcc.parent)] if nvcc else []), os.environ.get("PATH", "")]
    python_path = [str(_package(out)), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": os.pathsep.join(python_path)}


def build(root: Path, out: Path, limit: float, variables: dict[str, str]) -> Outcome:
    """Install the checkout into ``out``/package with what is on the machine, and see that it finds the GPU."""
    began = time.monotonic()
    stamp, sources = _package(out) / "built-from", digest(root)
    known = stamp.read_text(encoding="utf-8") if stamp.is_file() else ""
    if known != sources:
        stamp.unlink(missing_ok=True)
        done = steps.run(_command(out), limit, out / "build.log", root, variables | _OPTIONS)
        if done.code != 0:
            return Outcome("build", "failed", done.seconds, steps.stopped(done, limit))
        stamp.write_text(sources, encoding="utf-8")
    check = steps.run([sys.executable, "-P", "-c", CHECK], 60.0, out / "check.log", out, variables)
    seconds = time.monotonic() - began
    if check.code != 0:
        return Outcome("build", "failed", seconds, f"the package cannot be used: {steps.stopped(check, 60.0)}")
    how = "the sources are those of the last build" if known == sources else "built"
    return Outcome("build", "passed", seconds, f"{how}: {check.tail}")


_OPTIONS = {"CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1)}


def _command(out: Path) -> list[str | Path]:
    return [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index", "--upgrade",
            "--disable-pip-version-check", "--target", _package(out), "."]  # fmt: skip


def _package(out: Path) -> Path:
    return out / "package"


def digest(root: Path) -> str:
    """Return a sum over everything that the package is built from, and with."""
    files = [root / name for name in ("CMakeLists.txt", "pyproject.toml", "setup.py")]
    for folder in ("csrc", "pyrank"):
        files += [path for path in sorted((root / folder).rglob("*")) if path.suffix in _SOURCES]
    found = hashlib.sha256(f"{sys.version} {machine.find_cuda_tool('nvcc')}".encode())
    for path in files:
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


_SOURCES = {".py", ".pyi", ".typed", ".h", ".cpp", ".cu", ".cuh"}
