"""Data flows one way: imports and includes are read, and an upward arrow fails."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, SOURCES = ROOT / "pyrank", ROOT / "csrc"

# Each part may import the parts named after it. `import_module` inside a function counts like any import.
BASIS = {"_version", "support", "specs", "estimate"}
PYTHON = {
    "_version": set(),
    "support": set(),
    "specs": {"support"},
    "estimate": {"support"},
    "theory": {"support"},
    "reference": {"support", "specs", "estimate"},
    "ops": {"support", "specs", "reference"},
    "plotting": {"support"},
    "engine": {*BASIS, "reference", "plotting"},  # results draw themselves, from arrays alone
    "data": {"support"},
    "studies": {*BASIS, "engine", "plotting"},
    "networks": {*BASIS, "reference", "ops", "engine", "plotting"},
    "optimization": {"support", "specs", "reference", "theory", "networks"},
    "experiments": {*BASIS, "reference", "theory", "engine", "plotting", "studies", "data", "networks", "optimization"},
    "cli": {
        "_version",
        "support",
        "specs",
        "plotting",
        "engine",
        "data",
        "studies",
        "networks",
        "optimization",
        "experiments",
    },
    "__main__": {"cli"},
}
INCLUDES = {
    "core": {"core"},
    "cpu": {"core", "cpu"},
    "cuda": {"core", "cuda"},
    "bindings": {"core", "cpu", "cuda", "bindings"},
}
MAY_PRINT = {"cli"}


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_parts(path):
    """Names of the parts of pyrank that a file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            if node.module == "pyrank":
                modules = [f"pyrank.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            modules = [node.value] if re.fullmatch(r"pyrank\.[\w.]+", node.value) else []
        else:
            continue
        for module in modules:
            if module.startswith("pyrank."):
                yield module.split(".")[1]


def python_files():
    return [path for path in PACKAGE.rglob("*.py") if part_of(path) != "__init__"]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    part = part_of(path)
    allowed = PYTHON[part] | {part}
    for imported in imported_parts(path):
        if imported != "_native":
            assert imported in allowed, f"{part} must not import {imported}"


def test_only_native_imports_the_extension():
    users = [path for path in python_files() if "_native" in imported_parts(path)]
    assert users == [PACKAGE / "engine/native.py"]


def test_the_top_level_holds_rooms_alone():
    assert {path.name for path in PACKAGE.glob("*.py*")} == {"__init__.py", "__main__.py", "_version.py", "_native.pyi"}
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} <= set(PYTHON)


def test_layers_are_acyclic():
    done = set()
    for part, below in PYTHON.items():
        assert below <= done, f"{part} is listed before {below - done}"
        done.add(part)


def test_only_the_command_line_prints():
    for path in python_files():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or part_of(path) in MAY_PRINT, f"{path.name} prints"


@pytest.mark.parametrize("path", sorted(SOURCES.rglob("*.*")), ids=lambda path: str(path.relative_to(SOURCES)))
def test_includes_point_downward(path):
    part = path.relative_to(SOURCES).parts[0]
    for include in re.findall(r'#include "([^"]+)"', path.read_text()):
        target = (path.parent / include).resolve()
        assert target.exists()
        assert target.relative_to(SOURCES).parts[0] in INCLUDES[part]
    text = path.read_text()
    if part != "bindings":
        assert "pybind11" not in text
        assert "Python.h" not in text
    if "_mm" in text or "immintrin" in text:
        assert path.name == "vec.h", "intrinsics have one home"
    if re.search(r"__syncthreads|__shared__|__global__|threadIdx|<<<\w|cuda[A-Z]\w+\(", text):
        assert path.name in ("primitives.h", "runtime.h"), "what is CUDA's has two homes, which the emulator replaces"


def test_no_document_is_unfinished():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]:
        assert "@@" not in path.read_text(), path.name


def test_stream_numbers_agree():
    header = (SOURCES / "core/streams.h").read_text()
    numbers = dict(re.findall(r"^\s+(\w+) = (\d+),", header, flags=re.M))
    from pyrank.reference import stream

    assert {name: int(number) for name, number in numbers.items()} == {
        "weights": stream.WEIGHTS,
        "initial_state": stream.INITIAL,
    }


def test_enumerations_agree():
    """The codes that cross the binding are positions in these lists, on both sides."""
    from pyrank.reference.activations import FORMULAS
    from pyrank.specs import chain, measures, weights

    header = (SOURCES / "core/params.h").read_text() + (SOURCES / "core/activation.h").read_text()
    listed = {name: [word.strip() for word in body.split(",")]
              for name, body in re.findall(r"enum class (\w+) : int32_t \{([^}]*)\}", header)}  # fmt: skip
    assert listed["Law"] == [*weights.WEIGHT_LAWS, "quick_gaussian"]  # which does not cross
    assert listed["Activation"] == [*chain.ACTIVATIONS, "count"]
    assert list(FORMULAS) == list(chain.ACTIVATIONS)
    assert listed["MeasureKind"] == list(measures.KERNEL_MEASURES)


def test_constants_agree():
    """A constant that both languages need is the same number in both."""
    from pyrank.estimate import accumulator
    from pyrank.reference import activations

    record = (SOURCES / "core/accumulator.h").read_text()
    assert int(re.search(r"kBatches = (\d+)", record)[1]) == accumulator.BATCH_COUNT
    assert int(re.search(r"kLevels = (\d+)", record)[1]) == accumulator.LEVEL_COUNT
    activation = (SOURCES / "core/activation.h").read_text()
    assert float(re.search(r"leaky_slope = ([\d.]+)", activation)[1]) == activations.LEAKY_SLOPE
