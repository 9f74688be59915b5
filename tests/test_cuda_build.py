"""What can be known of the compiled CUDA kernels without a GPU: registers, spills, architectures, and dependencies."""

import re
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import machine_code
import pytest
import sass

from pyrank.engine import native

ROOT = Path(__file__).resolve().parents[1]
REGISTERS = 65_536  # of a multiprocessor, on every architecture since sm_50


def declared_architectures():
    """Numbers of the architectures in the build file, and of those for which PTX is kept as well."""
    listed = re.search(r'CMAKE_CUDA_ARCHITECTURES "([^"]+)"', (ROOT / "CMakeLists.txt").read_text())[1].split(";")
    return [int(name.split("-")[0]) for name in listed], [int(name) for name in listed if "-" not in name]


@pytest.fixture(scope="module")
def extension():
    """The file of an extension that was built with CUDA."""
    if missing := native.why_missing():
        pytest.skip(missing)
    if native.build_info()["cuda_architectures"] == "none":
        pytest.skip("the extension was built without CUDA")
    return Path(native._extension().__file__)


@pytest.fixture(scope="module")
def extracted(extension, tmp_path_factory):
    """What the extension holds, without a compiler: a file of machine code for each architecture, and the PTX."""
    cuobjdump = sass.find_tool("cuobjdump")
    if cuobjdump is None:
        pytest.skip("there is no cuobjdump; pip install '.[cuda-dev]'")
    folder = tmp_path_factory.mktemp("extension")
    for what in ("-xelf", "-xptx"):
        subprocess.run([cuobjdump, what, "all", extension], cwd=folder, check=True, capture_output=True)
    files = {int(re.search(r"sm_(\d+)", path.name)[1]): path for path in folder.glob("*.cubin")}
    return files, [path.read_text() for path in folder.glob("*.ptx")]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """PTX for every architecture, and what the assembler says of each function: minutes of a compiler."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc")
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in declared_architectures()[0]]
    folder = tmp_path_factory.mktemp("nvcc")
    files = ["--keep", "--keep-dir", folder, "--fatbin", ROOT / "csrc/cuda/backend.cu", "-o", folder / "backend.fatbin"]
    command = [nvcc, "-std=c++20", *sass.compile_options(), *targets, "-Xptxas=-v", *files]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return [path.read_text() for path in folder.glob("*.ptx")], said


QUICK = {f"{name}.approx.ftz.f32" for name in ("sqrt", "lg2", "sin", "cos")}
APPROXIMATE = {"rsqrt.approx.f32", "rsqrt.approx.ftz.f32", *QUICK}


def check_rounding(ptx):
    """No denormal flushed, no approximate function; fused only where the source says so.

    But for inverse roots on the tensor cores, which have a step of Newton's method or more to follow, and for the four
    functions of quick weights.
    """
    assert "-fmad=false" in sass.compile_options()
    functions = re.split(r"^(?:\.visible )?\.(?:entry|func)", ptx, flags=re.M)[1:]
    of_all = set()
    for function in functions:
        found = Counter(re.findall(r"^\s*(?:@\S+ )?(\w+\.\S*f(?:32|64))\s", function, flags=re.M))
        assert len({found[name] for name in QUICK}) == 1  # one of each for a pair of weights, and none elsewhere
        operations = set(found)
        inexact = {name for name in operations if re.search(r"approx|ftz|full|\.(rz|rm|rp)\.", name)}
        on_tensor_cores = "TensorLayer" in function.partition("(")[0] and "mma.sync" in function
        assert inexact <= (APPROXIMATE if on_tensor_cores else set())
        assert not [name for name in operations if name.startswith("mad")]
        of_all |= operations
    assert {"fma.rn.f32", "fma.rn.f64", "div.rn.f32", "sqrt.rn.f32"} <= of_all


def test_every_number_is_rounded_as_on_a_cpu(extracted):
    _, texts = extracted
    assert len(texts) == len(declared_architectures()[1])
    for text in texts:
        check_rounding(text)


@pytest.mark.validate
def test_every_number_is_rounded_as_on_a_cpu_on_every_architecture(compiled):
    texts, _ = compiled
    assert len(texts) == len(declared_architectures()[0])
    for text in texts:
        check_rounding(text)


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


def kernel_of(name):
    """The kernel with this mangled name."""
    (kernel,) = [kernel for kernel, pattern in KERNELS.items() if re.search(pattern, name)]
    return kernel


@pytest.fixture(scope="module")
def registers(extracted):
    """Registers of the extension's kernels, by kernel and architecture."""
    found = {}
    for arch, path in extracted[0].items():
        command = [sass.find_tool("cuobjdump"), "-res-usage", path]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        for name, used in re.findall(r"Function (\w+):\s+REG:(\d+)", said.stdout + said.stderr):
            found[kernel_of(name), arch] = int(used)
    return found


def test_every_kernel_is_compiled_for_every_architecture(registers):
    assert registers.keys() == {(kernel, arch) for kernel in KERNELS for arch in declared_architectures()[0]}


def test_registers_leave_room_for_the_promised_blocks(registers):
    for (kernel, arch), used in registers.items():
        threads, blocks = LAUNCH_BOUNDS[kernel]
        blocks = HOPPER_BLOCKS.get(kernel, blocks) if arch >= 90 else blocks
        assert used * threads * blocks <= REGISTERS, (kernel, arch)


@pytest.mark.validate
def test_no_register_is_spilled_on_any_architecture(compiled):
    """Neither in kernels nor in what they call; on Hopper tensor cores need no stack."""
    _, said = compiled
    spilled, stacks = {}, {}
    for report in said.split("Compiling entry function '")[1:]:
        name, arch = re.match(r"(\w+)' for 'sm_(\d+)'", report).groups()
        spilled[kernel_of(name), int(arch)] = sum(map(int, re.findall(r"(\d+) bytes spill stores", report)))
        stacks[kernel_of(name), int(arch)] = sum(map(int, re.findall(r"(\d+) bytes stack frame", report)))
    assert spilled.keys() == {(kernel, arch) for kernel in KERNELS for arch in declared_architectures()[0]}
    assert not {where: found for where, found in spilled.items() if found}
    assert not [kernel for (kernel, arch), found in stacks.items() if arch == 90 and "tensor" in kernel and found]


@pytest.fixture(scope="module")
def disassembled(extracted):
    """The machine code of the kernels for sm_90."""
    if sass.find_tool("nvdisasm") is None:
        pytest.skip("there is no nvdisasm; pip install '.[cuda-dev]'")
    return {kernel_of(name): code for name, code in sass.disassemble(extracted[0][90]).items()}


def test_no_register_is_spilled(disassembled):
    """What the assembler spills, the disassembler marks. On tensor cores a thread has no memory of its own at all."""
    assert disassembled.keys() == KERNELS.keys()
    for name, kernel in disassembled.items():
        code = list(kernel.code())
        assert not [str(each) for each in code if "Spill" in str(each)], name
        assert "tensor" not in name or not [str(each) for each in code if each.kind == "local memory"], name


GAUSSIAN_SLAB = 300
"""Instructions for 16 x 16 weights and their product with 16, 32 or 64 columns."""

SMALL_LAYER = 480
"""Instructions for a whole layer of 16 rows and columns."""

CASES = {
    f"{law}, {activation}, {norm}{skip}"
    for law in ("quick gaussian", "uniform")
    for activation in ("linear", "relu")
    for norm in ("rescale", "batch")
    for skip in ("", ", skip")
}


@pytest.mark.parametrize("columns", [16, 32, 64])
def test_layers_of_the_cases_are_lean(columns, disassembled):
    """Their loops call nothing, use no memory but that of the block, and branch for the next slab and layer alone."""
    kernel = disassembled[f"advance, tensor, {columns} columns"]
    largest_first = sorted(sass.slab_loops(kernel).items(), key=lambda found: -len(found[0].body))
    found = largest_first[1:]  # the first is for any chain
    loops = {sass.case(kernel, layer): (layer, slabs) for layer, slabs in found}
    expected = CASES if columns < 64 else {case for case in CASES if "skip" not in case}
    assert loops.keys() == expected
    assert len(found) == len(expected)
    for case in expected:
        layer, slabs = loops[case]
        assert len(slabs) == 1
        kinds = machine_code.by_kind(Counter(kernel.code(layer.body)))
        assert not {"call", "local memory", "generic memory", "global memory"} & kinds.keys(), case
        assert {code.name.partition(".")[0] for code in kernel.code(slabs[0].body) if code.kind == "branch"} == {"BRA"}


@pytest.mark.parametrize("columns", [16, 32, 64])
def test_as_few_instructions_as_the_design_counts(columns, disassembled):
    name = f"advance_kernelINS0_11TensorLayerILi{columns // 8}ELi1EEE"
    counted = {each.case: each for each in sass.count(name, disassembled[f"advance, tensor, {columns} columns"])}
    for case in CASES & counted.keys():
        assert sum(counted[case].slab.values()) <= GAUSSIAN_SLAB, case
        assert columns > 16 or sum(counted[case].layer.values()) <= SMALL_LAYER, case


RATES = {16: 1.3e9, 32: 3e8, 64: 7e7}
"""Chain-layers a second that are promised of an H200 at 65 % of its issue slots, d = N, gaussian and rescaled."""


@pytest.mark.parametrize("columns", RATES)
def test_instructions_allow_the_promised_rate(columns, disassembled):
    name = f"advance_kernelINS0_11TensorLayerILi{columns // 8}ELi1EEE"
    counted = list(sass.count(name, disassembled[f"advance, tensor, {columns} columns"]))
    found = {each.case: each.rate[0] for each in counted if re.match("quick gaussian, .*rescale", each.case)}
    assert len(found) == (4 if columns < 64 else 2)
    assert min(found.values()) * 0.65 >= RATES[columns]


MEASURED = {16: 2450, 32: 3398, 64: 6795}
"""Instructions of a warp for a layer, rescaled, of which r and one threshold are recorded (`benchmarks.sass`).

From 32 columns on 1e8 and 2.5e7 chain-layers a second allow no more at 65 % of the issue slots of an H200.
"""


@pytest.mark.parametrize("columns", MEASURED)
def test_measured_layers_are_as_lean_as_they_were(columns, disassembled):
    name = f"advance_kernelINS0_11TensorLayerILi{columns // 8}ELi1EEE"
    (found,) = sass.measure(name, disassembled[f"advance, tensor, {columns} columns"])
    assert found.columns == columns
    assert found.all <= MEASURED[columns]
    assert found.barriers <= 20 + 2 * columns // 16
    assert not [str(code) for code in found.code if code.kind == "local memory"]


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
    with_code, with_ptx = declared_architectures()
    assert parts == {(2, arch) for arch in with_code} | {(1, arch) for arch in with_ptx}


def test_the_extension_is_not_large(extension):
    assert extension.stat().st_size < 12e6


def test_the_extension_needs_no_library_of_cuda(extension):
    """The runtime is part of it and finds the driver by itself, so that it can be imported where there is none."""
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("there is no readelf")
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", subprocess.check_output([readelf, "-d", extension], text=True))
    assert needed
    assert not [name for name in needed if "cuda" in name or "nv" in name]
