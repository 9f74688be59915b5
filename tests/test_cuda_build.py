"""What can be known of the compiled CUDA kernels without a GPU: registers, spills, architectures, and dependencies."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from pyrank.engine import native

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


KERNELS = {
    "advance, plain, float": "advance_kernelI.*PlainLayerIf",
    "advance, plain, double": "advance_kernelI.*PlainLayerId",
    "advance, cancelling, float": "advance_kernelI.*CancellingLayerIf",
    "advance, cancelling, double": "advance_kernelI.*CancellingLayerId",
    **{f"advance, tensor, {8 * tiles} columns": f"advance_kernelI.*TensorLayerILi{tiles}ELi1E"
       for tiles in (2, 4, 8, 16)},
    "advance, tensor, 256 columns": "advance_kernelI.*TensorLayerILi16ELi2E",
    **{f"{name}, {number}": f"{name}_kernelI{number[0]}E" for name in ("measure", "weights")
       for number in ("float", "double")},
}  # fmt: skip
"""The kernels, and a pattern for the mangled name of each."""

LAUNCH_BOUNDS = {
    **dict.fromkeys(KERNELS, (256, 1)),
    **{f"advance, tensor, {columns} columns": (128, 3) for columns in (16, 32, 64)},
}
"""The most threads of a block, and the blocks for whose registers there has to be room on a multiprocessor."""

HOPPER_BLOCKS = {
    "advance, tensor, 16 columns": 4,
    **{
        f"{name}, {number}": 2
        for name in ("advance, plain", "advance, cancelling", "measure", "weights")
        for number in ("float", "double")
    },
}
"""Where there has to be room for more of them from sm_90 on."""


@pytest.fixture(scope="module")
def report(compiled):
    """By kernel and architecture: registers and spilled bytes; those of functions that kernels call, under None."""
    found, place = {None: []}, None
    for line in compiled[1].splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", line):
            (kernel,) = [name for name, pattern in KERNELS.items() if re.search(pattern, entry[1])]
            place = found[kernel, int(entry[2])] = {}
        elif "Function properties for" in line:
            own = re.search(r"Function properties for \w*_kernelI", line)
        elif spills := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(spills[1])
            if own:
                place["spilled"] = spilled
            else:
                found[None].append(spilled)
        elif used := re.search(r"Used (\d+) registers", line):
            place["registers"] = int(used[1])
    return found


def test_every_kernel_is_compiled_for_every_architecture(report):
    assert report.keys() == {None} | {(kernel, arch) for kernel in KERNELS for arch in declared_architectures()[0]}


def test_no_register_is_spilled(report):
    spilled = {place: numbers["spilled"] for place, numbers in report.items() if place is not None}
    assert set(spilled.values()) == {0}, spilled
    assert set(report[None]) == {0}


def test_registers_leave_room_for_the_promised_blocks(report):
    for place, numbers in report.items():
        if place is not None:
            kernel, arch = place
            threads, blocks = LAUNCH_BOUNDS[kernel]
            blocks = HOPPER_BLOCKS.get(kernel, blocks) if arch >= 90 else blocks
            assert numbers["registers"] * threads * blocks <= REGISTERS, place


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
