"""What is shipped: an extension with one symbol and its instruction sets apart, and archives without strays."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyrank.engine import native

from lower_bounds import declared, name_of, oldest, pinned

ROOT = Path(__file__).resolve().parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it reads ELF files")
X86 = pytest.mark.skipif("x86_64" not in sysconfig.get_platform(), reason="it reads the instructions of x86-64")


def tool(name):
    return shutil.which(name) or pytest.skip(f"there is no {name}")


@pytest.fixture(scope="module")
def extension():
    """The file of the compiled extension."""
    if missing := native.why_missing():
        pytest.skip(missing)
    return Path(native._extension().__file__)


@LINUX
def test_the_extension_exports_its_entry_alone(extension):
    """Templates of libstdc++ too: another library of the process must not get ours, nor we theirs."""
    listed = subprocess.check_output([tool("nm"), "-D", "--defined-only", extension], text=True)
    assert [line.split()[-1] for line in listed.splitlines()] == ["PyInit__native"]


AVX512 = re.compile(r"%zmm|%[xy]mm(1[6-9]|[23]\d)|%k[0-7]")
AVX = re.compile(r"\tv[a-z]|%ymm")


def functions(binary):
    """Return the mangled names of all functions, of those with instructions of AVX, and of AVX-512."""
    command = [tool("objdump"), "-d", "-w", "--no-show-raw-insn", binary]
    every, avx, avx512 = [], set(), set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listing:
        for line in listing.stdout:
            if line.endswith(">:\n"):
                every.append(line.partition("<")[2][:-3])
            elif AVX512.search(line):
                avx512.add(every[-1])
            elif AVX.search(line):
                avx.add(every[-1])
    return every, avx, avx512


@LINUX
@X86
def test_instruction_sets_stay_in_their_units(extension):
    """A function outside of them that used their registers would end the process on a processor without them."""
    every, avx, avx512 = functions(extension)
    if not any("8baseline" in name for name in every):
        pytest.skip("the names of the extension's functions were stripped")
    assert any("4avx2" in name for name in avx)
    assert any("6avx512" in name for name in avx512)
    assert not [name for name in avx if not re.search("4avx2|6avx512", name)]
    assert not [name for name in avx512 if "6avx512" not in name]


@LINUX
@X86
def test_a_wide_instruction_in_a_shared_function_is_found(tmp_path):
    """The negative control: a unit that is compiled for AVX and keeps a function outside of its namespace."""
    source, binary = tmp_path / "unit.cpp", tmp_path / "unit.so"
    source.write_text("void doubled(float* x) { for (int i = 0; i < 64; ++i) x[i] += x[i]; }")
    subprocess.run([tool("g++"), "-O3", "-mavx2", "-shared", "-fPIC", source, "-o", binary], check=True)
    assert functions(binary)[1] == {"_Z7doubledPf"}


def test_lower_bounds_are_lower_bounds():
    """Each requirement has one, and what was tested lies above it."""
    for requirement in declared():
        bound = oldest(requirement).partition("==")[2]
        tested = pinned()[name_of(requirement)].partition("==")[2]
        assert [int(part) for part in bound.split(".")] <= [int(part) for part in tested.split(".")], requirement


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A source distribution of the tracked files, and the wheel built from it, each in an environment of its own."""
    tracked = subprocess.run([tool("git"), "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode or not tracked.stdout:
        pytest.skip("this is no checkout")
    pytest.importorskip("build.env")
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in filter(None, tracked.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "build", "--outdir", made, source], cwd=made, check=True)
    return next(made.glob("*.tar.gz")), next(made.glob("*.whl"))


@pytest.mark.validate
def test_the_source_distribution_is_complete_and_nothing_more(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "LICENSE", "README.md", "constraints.txt", "csrc/bindings/exports.map"} <= names
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"csrc", "pyrank", "pyrank.egg-info"}
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
    shipped = {f"pyrank/data/fashion_mnist/{path.name}" for path in (ROOT / "pyrank/data/fashion_mnist").iterdir()}
    assert len(shipped) == 5
    assert shipped <= names


@pytest.mark.validate
def test_the_wheel_holds_the_package_and_one_library(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
    compiled = [name for name in names if re.search(r"\.(so|dylib|a|o)\b", name)]
    assert len(compiled) == 1
    assert compiled[0].startswith("pyrank/_native.")
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pyrank").rglob("*")
                if path.suffix in (".py", ".pyi", ".css", ".gz") or path.name in ("py.typed", "LICENSE")}  # fmt: skip
    assert "pyrank/data/fashion_mnist/LICENSE" in expected
    others = {name for name in names - set(compiled) if ".dist-info/" not in name}
    assert others == expected


@LINUX
@pytest.mark.validate
def test_the_wheel_needs_the_system_alone(distributions):
    """Any Linux with the C library of the build: no library has to come along, CUDA's among them."""
    pytest.importorskip("auditwheel")
    command = [sys.executable, "-m", "auditwheel", "show", distributions[1]]
    said = " ".join(subprocess.check_output(command, text=True).split())
    assert re.search(r'consistent with the following platform tag: "manylinux_2_\d+_\w+"', said), said
