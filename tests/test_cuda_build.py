"""What can be known of the compiled CUDA kernels without a GPU: registers, spills, architectures, and dependencies."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from pyrank import native

ROOT = Path(__file__).resolve().parents[1]
REGISTERS = 65_536  # of a multiprocessor, on every architecture since sm_50


def declared_architectures():
    """Numbers of the architectures in the build file, and of those for which PTX is kept as well."""
    listed = re.search(r'CMAKE_CUDA_ARCHITECTURES "([^"]+)"', (ROOT / "CMakeLists.txt").read_text())[1].split(";")
    return [int(name.split("-")[0]) for name in listed], [int(name) for name in listed if "-" not in name]


def compile_options():
    """Return what the build file asks of nvcc, but for the language standard, which some versions of CMake add."""
    listed = re.findall(r"COMPILE_LANGUAGE:CUDA>:([^>]+)>", (ROOT / "CMakeLists.txt").read_text())
    return [option for options in listed for option in options.split(";") if not option.startswith("-std=")]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with what nvcc makes of the backend, its PTX among it, and what the assembler says of each function."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc")
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in declared_architectures()[0]]
    folder = tmp_path_factory.mktemp("nvcc")
    files = ["--keep", "--keep-dir", folder, "--fatbin", ROOT / "csrc/cuda/backend.cu", "-o", folder / "backend.fatbin"]
    command = [nvcc, "-std=c++20", *compile_options(), *targets, "-Xptxas=-v", *files]
    return folder, subprocess.run(command, check=True, capture_output=True, text=True).stderr


@pytest.fixture
def report(compiled):
    return compiled[1]


def test_every_number_is_rounded_as_on_a_cpu(compiled):
    """No approximate root, division or function, no denormal flushed; fused only where the source says so."""
    assert "-fmad=false" in compile_options()
    texts = [path.read_text() for path in compiled[0].glob("*.ptx")]
    assert len(texts) == len(declared_architectures()[0])
    for text in texts:
        operations = set(re.findall(r"^\s+(?:@\S+ )?(\w+\.\S*f(?:32|64))\s", text, flags=re.M))
        assert {"fma.rn.f32", "fma.rn.f64", "div.rn.f32", "sqrt.rn.f32"} <= operations
        inexact = {name.split(".")[0] for name in operations if re.search(r"approx|ftz|full|\.(rz|rm|rp)\.", name)}
        assert not inexact
        assert not [name for name in operations if name.startswith("mad")]


def test_every_kernel_is_compiled_for_every_architecture(report):
    compiled = re.findall(r"Compiling entry function '\w+\d([a-z]+)_kernelI([fd])\w+' for 'sm_(\d+)'", report)
    kernels = {(name, number, int(arch)) for name, number, arch in compiled}
    assert kernels == {(name, number, arch) for name in ("advance", "measure", "weights") for number in "fd"
                       for arch in declared_architectures()[0]}  # fmt: skip


def test_no_register_is_spilled(report):
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(spills) >= 6 * len(declared_architectures()[0])
    assert set(spills) == {("0", "0")}


def test_registers_leave_room_for_the_promised_blocks(report):
    threads = int(re.search(r"max_threads = (\d+)", (ROOT / "csrc/cuda/chain.h").read_text())[1])
    bounds = re.findall(r"PYRANK_KERNEL\(max_threads, (\d+)\)", (ROOT / "csrc/cuda/kernels.h").read_text())
    used = [int(count) for count in re.findall(r"Used (\d+) registers", report)]
    assert len(used) == 6 * len(declared_architectures()[0])
    assert len(set(bounds)) == 1
    assert max(used) * threads * int(bounds[0]) <= REGISTERS


@pytest.fixture(scope="module")
def extension():
    """The file of an extension that was built with CUDA."""
    if missing := native.why_missing():
        pytest.skip(missing)
    if native.build_info()["cuda_architectures"] == "none":
        pytest.skip("the extension was built without CUDA")
    return Path(native._extension().__file__)


def test_the_extension_holds_the_declared_architectures(extension):
    """Read from its fat binary: a header, then for each part its kind (1 is PTX, 2 machine code) and architecture."""
    data = extension.read_bytes()
    parts = set()
    at = data.find(b"\x50\xed\x55\xba")
    while at != -1:
        version, header, size = struct.unpack_from("<HHQ", data, at + 4)
        part = at + header
        while version == 1 and part < at + header + size:
            kind, part_header, part_size = struct.unpack_from("<HxxIQ", data, part)
            parts.add((kind, struct.unpack_from("<I", data, part + 28)[0]))
            part += part_header + part_size
        at = data.find(b"\x50\xed\x55\xba", at + 4)
    machine_code, ptx = declared_architectures()
    assert parts == {(2, arch) for arch in machine_code} | {(1, arch) for arch in ptx}


def test_the_extension_needs_no_library_of_cuda(extension):
    """The runtime is part of it and finds the driver by itself, so that it can be imported where there is none."""
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("there is no readelf")
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", subprocess.check_output([readelf, "-d", extension], text=True))
    assert needed
    assert not [name for name in needed if "cuda" in name or "nv" in name]
