"""Where and with what a report was made."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

LIBRARIES = ("numpy", "torch", "jax")
GPU_LIBRARIES = ("jax-cuda13-plugin", "cupy-cuda13x", "triton")


def describe(threads: str, device: str = "cpu") -> dict[str, str]:
    """Processor, instruction set in use, versions; and the GPU if that is the device."""
    import pyrank
    from pyrank.engine import native

    return {
        **describe_host(),
        "threads": threads,
        "pyrank": f"{pyrank.__version__}, {native.isa_in_use()}, {native.build_info()['compiler']}",
        **versions(LIBRARIES),
        **(describe_gpu() if device != "cpu" else {}),
    }


def occasion(program: str, arguments: Sequence[str] | None) -> dict[str, str]:
    """Return when a program runs and the command that repeats it; by default with the arguments of this process."""
    written = shlex.join(sys.argv[1:] if arguments is None else arguments)
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "command": f"python {program} {written}".rstrip()}


def describe_host() -> dict[str, str]:
    """Return processor, system and interpreter."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def describe_gpu() -> dict[str, str]:
    """Return the first GPU, its driver, the compiler, and the libraries that only count there."""
    nvcc = find_cuda_tool("nvcc")
    return {
        "GPU, memory, compute capability, driver": _said(
            "nvidia-smi", "--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader"
        ),
        "nvcc": "not found" if nvcc is None else _said(str(nvcc), "--version", pattern=r"release (\S+),"),
        **versions(GPU_LIBRARIES),
    }


def first_gpu() -> tuple[str, int]:
    """Return the name of the first GPU and its compute capability, 90 for 9.0; ask the driver, which is enough.

    Raises
    ------
    OSError
        If there is no driver, or it shows no GPU.
    """
    driver = _driver()
    count, device, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    if status := driver.cuInit(0):
        raise OSError(f"the driver cannot be used, its error {status}")
    if driver.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        raise OSError("the driver shows none")
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return name.value.decode(), 10 * major.value + minor.value


_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def find_cuda_tool(name: str) -> Path | None:
    """Return a program of the CUDA toolkit: that on the PATH, or in the usual places."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [found] if (found := shutil.which(name)) else [f"{home}/bin/{name}" for home in homes if home]
    return next((Path(place) for place in places if Path(place).is_file()), None)


def versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of packages."""
    return {library: _version(library) for library in libraries}


def _said(*command: str, pattern: str = r"(.+)") -> str:
    """Return what a program says, in its first line that fits."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    found = re.search(pattern, said)
    return found[1].strip() if found else "unknown"


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
