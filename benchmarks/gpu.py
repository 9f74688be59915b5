"""Everything a GPU can tell, in one command: build, equivalence tests, memory checks, ceilings, times against peers.

`python -m benchmarks.gpu --out DIR`, in the checkout, writes DIR/gpu.json and DIR/gpu.md within 8 minutes. It needs
torch, a compiler for CUDA and what the package is built with, no network, and nothing of pyrank. A step that fails
or takes too long does not lose the others. Exit status: 0 if everything is fine, 1 if not, 2 if there is no GPU or
no compiler for it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the scripts beside this one are modules of each other, as where they are started

import gpu_build  # noqa: E402
import gpu_tables  # noqa: E402
import machine  # noqa: E402
import steps  # noqa: E402
from steps import Outcome  # noqa: E402

ROOT = HERE.parent
TOTAL = 470.0
"""Seconds for everything; what the other steps leave is for the times."""

LIMITS = {"build": 150.0, "tests": 120.0, "memcheck": 75.0, "racecheck": 75.0}
TESTS = tuple(f"tests/test_{what}.py" for what in ("cuda", "cuda_tensor", "layer", "spectrum", "ops"))
WATCH = {"memcheck": ["--report-api-errors", "no"], "racecheck": []}
"""Tools of compute-sanitizer and their options; that torch asks the driver for what it lacks is not an error."""

PATIENT = ["--launch-timeout", "0"]
"""By default the sanitizer gives up a program that has not called CUDA after ten seconds, as a slow import may not."""

WATCHING = Lock()
"""Two sanitizers at a time would ask for the same ports."""

FOUND_ERRORS = 86
"""The exit status by which the sanitizer says so."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder to write to (results/gpu)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    if missing := why_not():
        print(missing, file=sys.stderr)
        return 2
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "schema": 1,
        **machine.occasion("-m benchmarks.gpu", arguments),
        "machine": machine.describe_host() | machine.versions(machine.LIBRARIES) | machine.describe_gpu(),
        "steps": [],
        "times": None,
    }
    (out / "benchmarks.json").unlink(missing_ok=True)  # of a run before
    run_steps(report, out, deadline=began + TOTAL)
    print(publish(report, out))
    return 0 if all(step["verdict"] in ("passed", "absent") for step in report["steps"]) else 1


def why_not() -> str:
    """Return in one line what is missing on this machine; empty if nothing is."""
    try:
        import torch
    except ImportError as error:
        return f"this needs torch ({error})"
    if not torch.cuda.is_available():
        return "this needs a GPU, and torch sees none; without one, `python benchmarks/report.py` times one core"
    if machine.find_cuda_tool("nvcc") is None:
        return "this needs nvcc, the compiler for CUDA: put it on the PATH, or set CUDA_HOME"
    return ""


def run_steps(report: dict[str, Any], out: Path, deadline: float) -> None:
    """Run all steps, and write the report after each of them; what cannot be used cannot be tested.

    The checks take no times, and share the GPU; the times have it for themselves.
    """
    environment = gpu_build.environment(out)
    checks: dict[str, Callable[[], Outcome]] = {
        "tests": lambda: test(out, environment),
        "memcheck": lambda: sanitize("memcheck", out, environment),
        "racecheck": lambda: sanitize("racecheck", out, environment),
    }
    times = {"times": lambda: measure(report, out, environment, deadline)}
    _take(report, out, {"build": lambda: gpu_build.build(ROOT, out, LIMITS["build"], environment)})
    if report["steps"][-1]["verdict"] == "passed":
        _take(report, out, checks)
        _take(report, out, times)
    else:
        for name in (*checks, *times):
            report["steps"].append(Outcome(name, "not run", 0.0, "the build failed").to_dict())


def _take(report: dict[str, Any], out: Path, works: Mapping[str, Callable[[], Outcome]]) -> None:
    """Take steps, several of them side by side, and write the report after each."""
    with ThreadPoolExecutor() as pool:
        for outcome in (pool.map if len(works) > 1 else map)(_outcome, works, works.values()):
            report["steps"].append(outcome.to_dict())
            publish(report, out)


def _outcome(name: str, work: Callable[[], Outcome]) -> Outcome:
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        outcome = work()
    except Exception as error:  # the other steps shall go on
        outcome = Outcome(name, "failed", 0.0, f"{type(error).__name__}: {error}")
    print(f"{name}: {outcome.verdict} after {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
    return outcome


def test(out: Path, environment: dict[str, str]) -> Outcome:
    """Run the equivalence tests that use a GPU; -P, because the checkout holds no kernels."""
    command = [sys.executable, "-P", "-m", "pytest", *TESTS, "--require-gpu", "-k", "gpu and not emulated", "-q",
               "-W", "default", "-p", "no:cacheprovider"]  # fmt: skip
    done = steps.run(command, LIMITS["tests"], out / "tests.log", ROOT, environment)
    summary = done.output.rstrip().splitlines()[-1] if done.output.strip() else ""
    passed = done.code == 0 and re.search(r"\d+ passed", summary) is not None
    return Outcome("tests", "passed" if passed else "failed", done.seconds,
                   summary.strip("= ") if passed else steps.stopped(done, LIMITS["tests"]))  # fmt: skip


def sanitize(tool: str, out: Path, environment: dict[str, str]) -> Outcome:
    """Watch a small run of every kernel with a tool of compute-sanitizer."""
    program = machine.find_cuda_tool("compute-sanitizer")
    if program is None:
        return Outcome(tool, "absent", 0.0, "compute-sanitizer is not on the PATH, and not in $CUDA_HOME/bin")
    command = [program, "--tool", tool, *PATIENT, *WATCH[tool], "--error-exitcode", str(FOUND_ERRORS), sys.executable,
               HERE / "every_kernel.py"]  # fmt: skip
    with WATCHING:
        done = steps.run(command, LIMITS[tool], out / f"{tool}.log", ROOT, environment)
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: .+", done.output)
    if done.code == 0 and summary and "every kernel ran" in done.output:
        return Outcome(tool, "passed", done.seconds, summary[0])
    if "Device not supported" in done.output:
        return Outcome(tool, "absent", done.seconds, "compute-sanitizer does not support this device here")
    found = f"{summary[0]}\n" if done.code == FOUND_ERRORS and summary else ""
    return Outcome(tool, "failed", done.seconds, found + steps.stopped(done, LIMITS[tool]))


def measure(report: dict[str, Any], out: Path, environment: dict[str, str], deadline: float) -> Outcome:
    """Measure ceilings and times in the time that is left; a report of some of the cases is a report.

    A program that ends in the middle of a case is followed by one that goes on with the next.
    """
    command = [sys.executable, HERE / "report.py", "--device", "cuda", "--out", out]
    began, written, resume, open_cases = time.monotonic(), out / "benchmarks.json", [], None
    for attempt in itertools.count(1):
        left = deadline - time.monotonic()
        within = ["--within", f"{left - 20:.0f}", *resume]
        done = steps.run([*command, *within], left, out / f"times-{attempt}.log", ROOT, environment)
        report["times"] = times = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None
        if done.code in (0, None) or times is None or times["dropped"] == open_cases:
            break
        resume, open_cases = ["--resume"], times["dropped"]
    seconds = time.monotonic() - began
    if done.code != 0:
        return Outcome("times", "failed", seconds, steps.stopped(done, left))
    detail = f"{len(times['results'])} cases timed, {len(times['failed'])} failed, {len(times['dropped'])} not begun"
    return Outcome("times", "failed" if times["failed"] else "passed", seconds, detail)


def publish(report: dict[str, Any], out: Path) -> str:
    """Write what is known by now."""
    text = gpu_tables.markdown(report)
    (out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main())
