"""Random chains under the sanitizers of GCC: ``python -m tests.sanitize address undefined``, or ``thread``.

The extension is built with them, for the CPU, into a folder under build/ that is kept; then it runs members of the
whole family in a process without torch, whose own faults are not the question. Before, planted faults are to be found.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLANTED = {
    "address": ["past_an_array(np.zeros(5))", "past_a_part_of_the_workspace(3)"],
    "undefined": ["overflow(2**31 - 1)"],
    "thread": ["race()"],
}
REPORTS = {"address": "ERROR: AddressSanitizer", "undefined": "runtime error", "thread": "WARNING: ThreadSanitizer"}
CONTROL = "import sys, numpy as np\nfrom tests.sanitizer.sweep import load\nmodule = load(sys.argv[1])\nmodule.{call}"


def build(sanitizers):
    """Return the folder with the extension and the planted faults, built with these sanitizers."""
    import pybind11

    folder = ROOT / "build" / f"sanitize-{'-'.join(sanitizers)}"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *generator, f"-DPYRANK_SANITIZE={','.join(sanitizers)}",
                    "-DCMAKE_CUDA_COMPILER=NOTFOUND", f"-DPython_EXECUTABLE={sys.executable}",
                    f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run(["cmake", "--build", folder], check=True)
    return folder


def environment(sanitizers):
    """Return that of a process into which a sanitized module is loaded: its runtime has to be there first."""
    compiler = os.environ.get("CXX", "c++")
    first = [{"address": "libasan.so", "thread": "libtsan.so"}[each] for each in sanitizers if each != "undefined"]
    found = [subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()
             for name in (*first, "libstdc++.so")]  # fmt: skip
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONMALLOC": "malloc",  # each object and array in a block of its own
        "OPENBLAS_NUM_THREADS": "1",
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",  # of those of Python there are thousands
        "TSAN_OPTIONS": "halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run(sanitizers, *command, **options):
    """Run Python where the sanitizers see what its modules do."""
    fixed = ["setarch", "-R"] if "thread" in sanitizers and shutil.which("setarch") else []  # for its map of memory
    return subprocess.run([*fixed, sys.executable, *command], cwd=ROOT, env=environment(sanitizers), check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)  # fmt: skip


def main():
    """Build, look whether planted faults are found, and sweep; the status is 1 if there is a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.sanitize", description=__doc__.partition("\n")[0])
    parser.add_argument("sanitizers", nargs="+", choices=sorted(PLANTED), help="thread goes with no other")
    parser.add_argument("--seconds", type=float, default=120.0, help="time of the sweep (default: %(default)s)")
    chosen = parser.parse_args()
    began, sanitizers = time.monotonic(), sorted(set(chosen.sanitizers))
    folder, suffix = build(sanitizers), sysconfig.get_config_var("EXT_SUFFIX")
    built = time.monotonic()
    for sanitizer in sanitizers:
        for call in PLANTED[sanitizer]:
            control = run(sanitizers, "-c", CONTROL.format(call=call), folder / f"controls{suffix}")
            if not control.returncode or REPORTS[sanitizer] not in control.stdout:
                sys.exit(f"{control.stdout}\nthe fault planted in {call} was not found")
    sweep = run(sanitizers, "-m", "tests.sanitizer.sweep", folder / f"_native{suffix}", str(chosen.seconds))
    *_, last = sweep.stdout.splitlines()
    if sweep.returncode:
        sys.exit(sweep.stdout[sweep.stdout.rfind("Case(") :])
    print(f"{', '.join(sanitizers)}: {last}, no fault; built in {built - began:.0f} s")


if __name__ == "__main__":
    main()
