"""What a layer costs on a GPU as far as its machine code tells: instructions by class, and the rate that they allow.

`python -m benchmarks.sass` compiles the CUDA backend for sm_90 alone and reads it back; no GPU is needed. It wants
nvcc, and nvdisasm, which is part of CUDA and of `pip install '.[cuda-dev]'`. Counts are exact for the named way.
Rates are an upper bound: issue slots, tensor cores and special functions at their peak, and no waiting for anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the scripts beside this one are modules of each other, as where they are started

import machine  # noqa: E402
import machine_code  # noqa: E402
import measured_layers  # noqa: E402
from machine_code import Code, Function, Instruction, Loop, Worth  # noqa: E402
from measured_layers import Measured  # noqa: E402

ROOT = HERE.parent
TARGET = "-gencode=arch=compute_90,code=sm_90"

SCHEDULERS, CLOCK = 132 * 4, 1.98e9
"""Of an H200; each of the schedulers issues one instruction of a warp in a cycle."""

CYCLES = {"HMMA": 4, "MUFU": 8, "IMAD.WIDE": 4, "SHFL": 4}
"""Cycles between two of these on one scheduler: 256 products in tf32 a cycle, four special functions, what the compiler
leaves between wide products, and eight numbers shuffled."""

MEASURED = "quick gaussian, linear, rescale"
"""The case that is counted with what is measured of it as well."""

GOALS = {16: 4e8, 32: 1e8, 64: 2.5e7}
"""Chain-layers a second that are wanted of measured layers at 65 % of the issue slots."""

LAWS: dict[str, Worth] = {
    "gaussian": lambda code: (-code.name.startswith("MUFU.COS"), code.name.startswith("MUFU.RSQ")),
    "quick gaussian": lambda code: (code.name.startswith("MUFU.COS"), 0),
    "uniform": lambda code: (-code.name.startswith("MUFU"), code.name.startswith("I2FP.F32.U32")),
    "rademacher": lambda code: (-code.name.startswith("I2FP.F32.U32"), 0),
}
"""What tells the way of a law: roots of logarithms, cosines, words made numbers, or none of them."""

GENERATOR = r".*-0x2daee0ad"
"""The first multiplier of Philox, as a disassembler writes it."""


@dataclass(frozen=True)
class Counted:
    """A way through a layer: which, in how large a piece of code, and its instructions in a slab and in all."""

    kernel: str
    case: str
    columns: int
    loop: int  # instructions in the layer loop, taken or not
    slab: Code
    layer: Code

    @property
    def rate(self) -> tuple[float, str]:
        """Chain-layers a second with as many rows as columns, and what they wait for."""
        return rate(self.layer, self.columns)


def rate(layer: Code, columns: int) -> tuple[float, str]:
    """Return how many layers of as many rows a second a warp's code allows, and what they wait for."""
    cycles: dict[str, float] = {"issue slots": sum(layer.values())}
    for name, each in CYCLES.items():
        cycles[name] = each * sum(count for code, count in layer.items() if code.name.startswith(name))
    limit = max(cycles, key=lambda name: cycles[name])
    return SCHEDULERS * CLOCK / (cycles[limit] * columns / 16), limit


def compile_options(root: Path = ROOT) -> list[str]:
    """Return what the build file asks of nvcc, but for the language standard, which some versions of CMake add."""
    listed = re.findall(r"COMPILE_LANGUAGE:CUDA>:([^>]+)>", (root / "CMakeLists.txt").read_text(encoding="utf-8"))
    return [option for options in listed for option in options.split(";") if not option.startswith("-std=")]


def find_tool(name: str) -> Path | None:
    """Return nvdisasm or cuobjdump, of CUDA or of the package."""
    if found := machine.find_cuda_tool(name):
        return found
    package = importlib.util.find_spec("nvidia")
    places = package.submodule_search_locations if package and package.submodule_search_locations else ()
    return next((found for place in places for found in Path(place).glob(f"*/bin/{name}")), None)


def disassemble(cubin: Path) -> dict[str, Function]:
    """Return the functions of a file of machine code."""
    disassembler = find_tool("nvdisasm")
    if disassembler is None:
        raise FileNotFoundError("there is no nvdisasm; pip install '.[cuda-dev]'")
    text = subprocess.run([disassembler, "-c", cubin], check=True, capture_output=True, text=True).stdout  # noqa: S603
    return machine_code.functions(text)


def build(cubin: Path) -> None:
    """Compile the backend of the checkout for sm_90."""
    nvcc = machine.find_cuda_tool("nvcc")
    if nvcc is None:
        raise FileNotFoundError("there is no nvcc; install the CUDA toolkit")
    source = ROOT / "csrc/cuda/backend.cu"
    subprocess.run([nvcc, "-std=c++20", *compile_options(), TARGET, "--cubin", source, "-o", cubin], check=True)  # noqa: S603


def slab_loops(kernel: Function) -> dict[Loop, list[Loop]]:
    """Return the layer loops of a kernel, each with the loops within in which weights are drawn and multiplied.

    A layer loop is the smallest around them in which a block waits for its threads.
    """
    found: dict[Loop, list[Loop]] = {}
    for slab in kernel.innermost(GENERATOR, "HMMA"):
        if layer := kernel.around(slab, "BAR"):
            found.setdefault(layer, []).append(slab)
    return found


def case(kernel: Function, layer: Loop) -> str:
    """Return which of the cases of csrc/cuda/cases.h a layer loop is made for, by the mark before it."""
    mark = kernel.nearest_before(layer, "PMTRIG")
    if mark is None:
        return "any"
    number = int(mark.operands, 16).bit_length() - 1
    words = ["uniform" if number & 1 else "quick gaussian", "relu" if number & 2 else "linear"]
    return ", ".join([*words, "batch" if number & 4 else "rescale", *(["skip"] if number & 8 else [])])


def count(name: str, kernel: Function) -> Iterator[Counted]:
    """Count a kernel for the tensor cores, with as many rows as columns and each other loop taken once."""
    found = re.search(r"TensorLayerILi(\d+)ELi(\d+)", name)
    if not found:
        return
    columns = 8 * int(found[1]) * int(found[2])
    for layer, slabs in slab_loops(kernel).items():
        code = list(kernel.code(layer.body))
        for law, worth in LAWS.items() if GENERAL.search("\n".join(map(str, code))) else [("", LAWS["quick gaussian"])]:
            ways = {slab: kernel.path(slab, worth) for slab in slabs}
            each = max(ways.values(), key=lambda way: (_worth(way, worth), -sum(way.values())))
            known = {slab: Counter({code: columns // 16 * n for code, n in way.items()}) for slab, way in ways.items()}
            whole = kernel.path(layer, lambda code, worth=worth: (*_stores(code), *worth(code)), known)
            yield Counted(f"{columns} columns", law or case(kernel, layer), columns, len(code), each, whole)


def measure(name: str, kernel: Function) -> Iterator[Measured]:
    """Count a kernel that has cases with what is measured of each layer."""
    found = re.search(r"TensorLayerILi(\d+)ELi1E", name)
    for layer, slabs in slab_loops(kernel).items() if found else ():
        if case(kernel, layer) == MEASURED:
            yield measured_layers.measured(kernel, layer, slabs, 8 * int(found[1]))


GENERAL = re.compile("^CALL", flags=re.M)
"""What only layers of any kind do: they divide, and call a function for the rare cases of that."""


def _worth(way: Code, worth: Worth) -> tuple[int, ...]:
    terms = [tuple(n * part for part in worth(code)) for code, n in way.items()]
    return tuple(map(sum, zip(*terms, strict=True)))


def _stores(code: Instruction) -> tuple[int, ...]:
    return code.name.startswith("HMMA"), code.name.startswith("STS")


def table(counted: Sequence[Counted]) -> str:
    """Return the counts as a table in Markdown."""
    kinds = [kind for kind in machine_code.CLASSES if any(machine_code.by_kind(each.layer)[kind] for each in counted)]
    head = ["kernel", "case", "slab", "layer", "loop", *kinds, "chain-layers/s", "limit"]
    lines = [head, ["---"] * len(head)]
    for each in counted:
        kind, (rate, limit) = machine_code.by_kind(each.layer), each.rate
        numbers = [sum(each.slab.values()), sum(each.layer.values()), each.loop, *(kind[name] for name in kinds)]
        lines.append([each.kernel, each.case, *map(str, numbers), f"{rate:.2g}", limit])
    return _markdown(lines)


def measured_table(counted: Iterable[Measured]) -> str:
    """Return the counts of measured layers as a table in Markdown."""
    head = ["kernel", "layer", "M", "moments", "count", "rest", "all", "barriers", "chain-layers/s", "limit", "at 65 %",
            "goal"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for each in sorted(counted, key=lambda each: each.columns):
        found, limit = rate(each.code, each.columns)
        parts = (each.layer, each.gram, each.moments, each.count, each.rest, each.all, each.barriers)
        rates = [f"{found:.2g}", limit, f"{0.65 * found:.2g}", f"{GOALS[each.columns]:.2g}"]
        lines.append([f"{each.columns} columns", *(f"{part:.0f}" for part in parts), *rates])
    return _markdown(lines)


def _markdown(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


EXPLANATION = """\
Instructions that one warp issues, from the machine code for sm_90. `slab`: 16 rows by 16 columns of weights, drawn and
multiplied with all columns of the state. `layer`: all of a layer, with as many rows as columns, on the shortest way
that multiplies and stores, by class; `loop`: what stands in the layer loop, taken or not. `chain-layers/s`: what these
instructions allow on an H200 (132 x 4 schedulers, 1.98 GHz), if nothing ever waits; `limit`: what runs out first.
"""

ON_MEASURED = f"""\
The same of one layer ({MEASURED}) of which r and one threshold are recorded, with as many rows as columns; what only
some warps of a block do is shared out among all. `M`: the matrix of second moments, of turned rows; `moments`: trace
and sum of squares; `count`: pivots; `rest`: what is between, and the record. Nothing is left open by single precision,
and no batches of the record are merged. `goal`: chain-layers/s that are wanted at 65 % of the issue slots.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cubin", type=Path, help="machine code that was compiled before")
    parser.add_argument("--out", type=Path, help="file to write the table to, in Markdown")
    options = parser.parse_args(arguments)
    if find_tool("nvdisasm") is None or not (options.cubin or machine.find_cuda_tool("nvcc")):
        print("nvcc and nvdisasm are needed; the second comes with pip install '.[cuda-dev]'", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        cubin = options.cubin or Path(folder) / "backend.cubin"
        if options.cubin is None:
            build(cubin)
        kernels = disassemble(cubin)
    report = table([each for name, kernel in kernels.items() for each in count(name, kernel)])
    on_measured = measured_table(each for name, kernel in kernels.items() for each in measure(name, kernel))
    print(report, on_measured, sep="\n\n")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(
            f"# Machine code\n\n{EXPLANATION}\n{report}\n\n{ON_MEASURED}\n{on_measured}\n", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
