"""Builds the emulator of tests/emulator: the CUDA backend, compiled for the CPU with every access to memory checked."""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "emulator" / "module.cpp"
# Fused only where it is written, as nvcc is told; fibres change stacks, which the checks of FORTIFY take for an error.
OPTIONS = ("-std=c++20", "-O1", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared",
           "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror")  # fmt: skip


def build(folder):
    """Compile the emulator into a folder, unless another process of the tests has done so; return it as a module."""
    fcntl = pytest.importorskip("fcntl", reason="the emulator is built where files can be locked")
    compiler = os.environ.get("CXX") or shutil.which("c++")
    pybind11 = pytest.importorskip("pybind11", reason="the emulator needs pybind11 to be built")
    if compiler is None:
        pytest.skip("the emulator needs a C++ compiler to be built")
    place = folder / f"emulated{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [f"-I{sysconfig.get_paths()['include']}", f"-I{pybind11.get_include()}"]
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            part = place.with_suffix(".part")
            subprocess.run([compiler, *OPTIONS, *includes, SOURCE, "-o", part], check=True)
            part.rename(place)
    spec = importlib.util.spec_from_file_location("emulated", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
