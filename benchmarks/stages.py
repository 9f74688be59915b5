"""Where the time of a layer goes: the share of each stage of the compiled kernels, by sampling.

`python benchmarks/stages.py --out stages.md`

Linux `perf` interrupts the process 4000 times a second; `addr2line` names the functions inlined at each address,
innermost first, and the first that `STAGES` knows takes the sample. Both programs must be there, and the extension
must keep its debug information: `CXXFLAGS=-g SKBUILD_INSTALL_STRIP=false pip install .`
For Linux alone; `STAGES` knows the functions that the ordinary gaussian chain runs through.
"""

# ruff: noqa: S603, S607

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import one_core

HERTZ = 4000
REMEDY = "build it with CXXFLAGS=-g SKBUILD_INSTALL_STRIP=false pip install ."
RUN_SECONDS = 0.5  # as in the report, so that what is done once a run has the same share
DOUBLE = "count in double"
STAGES = {
    "weights": r"draw_panel|draw_columns|draw_words|four_weights|philox",
    "product": r"multiply_weights",
    "normalise": r"normalize|rescale|recentre|take_off_exponent",
    "rotate": r"rotate_column|turn_pairs|::turn<|::rotate<",
    "Gram": r"form_gram",
    "moments": r"moments",
    "count": r"::count\(|factor_diagonal|factor_below|take_off\(|settle_counts",
    DOUBLE: r"certain_count|(?:Spectrum|Factorisation)<[\w:]*Rows<[\w:]*Vec<double>",
    "statistics": r"Recorder<|push<",
}
OTHER, OUTSIDE = "other kernel", "outside"
COLUMNS = (*STAGES, OTHER, OUTSIDE)


def stage_of(functions: Sequence[str]) -> str:
    """Return the stage of a chain of inlined functions, innermost first; a type in double, further out, decides."""
    if any(re.search(STAGES[DOUBLE], name) for name in functions):
        return DOUBLE
    found = (stage for name in functions for stage, pattern in STAGES.items() if re.search(pattern, name))
    return next(found, OTHER)


def chains_of_functions(output: str) -> dict[int, list[str]]:
    """Read what `addr2line -a -f -i` writes: an address, then two lines a function, its name and its place."""
    chains: dict[int, list[str]] = {}
    for block in re.split(r"^(?=0x)", output, flags=re.MULTILINE)[1:]:
        address, *lines = block.splitlines()
        chains[int(address, 16)] = lines[::2]
    return chains


def sample(run: Callable[[], object], seconds: float) -> Counter[int]:
    """Run for some seconds; return how often the process was found at each address."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "perf.data")
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HERTZ), "-p", str(os.getpid()), "-o", data]
        with subprocess.Popen([*record, "--", "sleep", f"{seconds}"]) as perf:
            while perf.poll() is None:
                run()
        if perf.returncode:
            sys.exit("perf could not sample this process; see /proc/sys/kernel/perf_event_paranoid")
        script = ["perf", "script", "-i", data, "-F", "ip"]
        addresses = subprocess.run(script, check=True, capture_output=True, text=True).stdout.split()
    return Counter(int(address, 16) for address in addresses)


def attribute(addresses: Counter[int], library: str) -> Counter[str]:
    """Return the samples of each stage; those that are not in the library are outside."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(library)]
    start, end = int(lines[0].split("-")[0], 16), int(re.split(r"[- ]", lines[-1])[1], 16)
    inside = {address - start: count for address, count in addresses.items() if start <= address < end}
    output = subprocess.run(
        ["addr2line", "-a", "-f", "-i", "-C", "-e", library], check=True, capture_output=True, text=True,
        input="".join(f"{address:#x}\n" for address in inside),
    ).stdout  # fmt: skip
    stages = Counter({OUTSIDE: addresses.total() - sum(inside.values())})
    for address, functions in chains_of_functions(output).items():
        stages[stage_of(functions)] += inside[address]
    return stages


def row(width: int, seconds: float, library: str) -> list[str]:
    """Time and sample one width."""
    import contenders
    from cases import square
    from tables import microseconds
    from timing import Band, calibrate, interleave

    case = square(width)
    contender = contenders.build(case, contenders.PYRANK)
    layers = calibrate(contender.run, RUN_SECONDS, case.least_layers)
    times = interleave([contender], 5, RUN_SECONDS, case.least_layers)[contender.name]
    stages = attribute(sample(lambda: contender.run(layers), seconds), library)
    shares = [f"{100 * stages[stage] / stages.total():.1f}" for stage in COLUMNS]
    return [str(width), str(case.chains), microseconds(Band.of(times).median), *shares]


def library_with_debug_information() -> str:
    """Return the path of the extension, or stop with what is missing."""
    from pyrank.engine import native

    if missing := native.why_missing():
        sys.exit(missing)
    for program, package in (("perf", "linux-perf"), ("addr2line", "binutils")):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not installed; it comes with {package}")
    from pyrank import _native

    if b".debug_info" not in Path(_native.__file__).read_bytes():
        sys.exit(f"{_native.__file__} has no debug information; {REMEDY}")
    return _native.__file__


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--seconds", type=float, default=3.0, help="of sampling at each width (3)")
    parser.add_argument("--out", type=Path, help="file for the table, which is printed in any case")
    options = parser.parse_args(arguments)
    threads = one_core.hold()
    library = library_with_debug_information()
    import machine

    head = ["d = N", "chains", "us", *COLUMNS]
    rows = [head, ["---:"] * len(head), *(row(width, options.seconds, library) for width in options.widths)]
    here = machine.describe(threads)
    text = "Microseconds per layer and chain, and where they go in percent; r and soft rank at every layer. "
    text += f"{here['processor']}; pyrank {here['pyrank']}; {here['threads']}.\n\n"
    text += "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
