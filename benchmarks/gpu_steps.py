"""What `gpu.py` does at each step: a program with a limit, and what its end means."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_build
import machine
import steps
from steps import Outcome

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TESTS = tuple(f"tests/test_{what}.py" for what in ("cuda", "cuda_tensor", "cuda_quick", "layer", "spectrum", "ops"))
SUITE = ("-P", "-m", "pytest", *TESTS, "--require-gpu", "-k", "gpu and not emulated", "-W", "default",
         "-p", "no:cacheprovider")  # fmt: skip
"""The equivalence tests that use a GPU; -P, because the checkout holds no kernels."""

AT_A_TIME = 8
"""Processes that test, where pytest-xdist is; each has the GPU for itself as far as its errors go."""

WATCH = {"memcheck": ["--report-api-errors", "no"], "racecheck": []}
"""Tools of compute-sanitizer and their options; that torch asks the driver for what it lacks is not an error."""

PATIENT = ["--launch-timeout", "0"]
"""By default the sanitizer gives up a program that has not called CUDA after ten seconds, as a slow import may not."""

FOUND_ERRORS = 86
"""The exit status by which the sanitizer says so."""

MARGIN = 8.0
"""Seconds in which a program that times shall end by itself."""


@dataclass(frozen=True)
class Place:
    """Where everything is: the report's folder, the package's, the architecture it is built for, and the report."""

    out: Path
    package: Path
    architecture: int
    report: dict[str, Any]
    publish: Callable[[], object]

    @property
    def environment(self) -> dict[str, str]:
        """Return that of the programs, which meet the built package."""
        return gpu_build.environment(self.package)


def build(place: Place, limit: float) -> Outcome:
    """Build the package, and see what it finds."""
    seen = place.report["machine"].get("GPU found") is not None
    return gpu_build.build(ROOT, place.package, place.architecture, place.out, limit, place.environment, check=seen)


def test(place: Place, limit: float) -> Outcome:
    """Run the equivalence tests that use a GPU."""
    several = ["-n", str(AT_A_TIME)] if importlib.util.find_spec("xdist") else []
    command = [sys.executable, *SUITE, "-v", "--tb=short", *several]
    done = steps.run(command, limit, place.out / "tests.log", ROOT, place.environment)
    summary = done.output.rstrip().splitlines()[-1] if done.output.strip() else ""
    if done.code == 0 and re.search(r"\d+ passed", summary):
        return Outcome("tests", "passed", done.seconds, summary.strip("= "))
    passed, failed = (len(re.findall(rf"\b{end}\b", done.output)) for end in ("PASSED", "FAILED"))
    until = f"{passed} passed and {failed} failed until it was " if done.code is None else ""
    return Outcome("tests", "failed", done.seconds, until + steps.stopped(done, limit))


def sanitize(tool: str, place: Place, limit: float, whole: bool = False) -> Outcome:
    """Watch a small run of every kernel with a tool of compute-sanitizer, or the whole suite of tests."""
    name = f"{tool} of all tests" if whole else tool
    program = machine.find_cuda_tool("compute-sanitizer")
    if program is None:
        return Outcome(name, "absent", 0.0, "compute-sanitizer is not on the PATH, and not in $CUDA_HOME/bin")
    watched, end = ([*SUITE, "-q"], r"\d+ passed") if whole else ([HERE / "every_kernel.py"], "every kernel ran")
    command = [program, "--tool", tool, *PATIENT, *WATCH[tool], "--error-exitcode", str(FOUND_ERRORS), sys.executable,
               *watched]  # fmt: skip
    done = steps.run(command, limit, place.out / f"{name.replace(' ', '-')}.log", ROOT, place.environment)
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: .+", done.output)
    if done.code == 0 and summary and re.search(end, done.output):
        return Outcome(name, "passed", done.seconds, summary[0])
    if "Device not supported" in done.output:
        return Outcome(name, "absent", done.seconds, "compute-sanitizer does not support this device here")
    found = f"{summary[0]}\n" if done.code == FOUND_ERRORS and summary else ""
    return Outcome(name, "failed", done.seconds, found + steps.stopped(done, limit))


def measure(place: Place, limit: float) -> Outcome:
    """Time all cases in the time that is left; a report of some of the cases is a report.

    A program that ends in the middle of a case is followed by one that goes on with the next.
    """
    began, written = time.monotonic(), place.out / "benchmarks.json"
    written.unlink(missing_ok=True)  # of a run before
    deadline, resume, open_cases = began + limit, [], None
    for attempt in itertools.count(1):
        left = deadline - time.monotonic()
        within = ["--within", f"{left - MARGIN:.0f}", *resume]
        done = _report(within, f"times-{attempt}", place, left)
        times = place.report["times"]
        if done.code in (0, None) or times is None or times["dropped"] == open_cases:
            break
        resume, open_cases = ["--resume"], times["dropped"]
    seconds = time.monotonic() - began
    if done.code != 0:
        return Outcome("times", "failed", seconds, steps.stopped(done, left))
    detail = f"{len(times['results'])} cases timed, {len(times['failed'])} failed, {len(times['dropped'])} not begun"
    return Outcome("times", "failed" if times["failed"] else "passed", seconds, detail)


def ceilings(place: Place, limit: float) -> Outcome:
    """Measure what the GPU can do at most, for the times that are there."""
    done = _report(["--ceilings"], "ceilings", place, limit)
    if done.code != 0:
        return Outcome("ceilings", "failed", done.seconds, steps.stopped(done, limit))
    return Outcome("ceilings", "passed", done.seconds, f"{len(place.report['times']['ceilings'])} rates")


def _report(arguments: list[str], log: str, place: Place, limit: float) -> steps.Finished:
    """Run `report.py`, and take over what it has written by now, again and again."""
    written = place.out / "benchmarks.json"

    def take() -> None:
        if written.is_file():
            place.report["times"] = json.loads(written.read_text(encoding="utf-8"))
            place.publish()

    command = [sys.executable, HERE / "report.py", "--device", "cuda", "--out", place.out, *arguments]
    done = steps.run(command, limit, place.out / f"{log}.log", ROOT, place.environment, take)
    take()
    return done


def figure(place: Place, limit: float) -> Outcome:
    """Reproduce the paper's figure of soft rank against width; stopped, it goes on where it was."""
    where = place.out / "figure"
    command = [sys.executable, "-P", "-m", "pyrank", "reproduce", "soft-rank-scaling", "--preset", "gpu", "--device",
               "cuda", "--out", where]  # fmt: skip
    done = steps.run(command, limit, place.out / "figure.log", place.out, place.environment)
    if done.code is None:
        return Outcome("figure", "stopped", done.seconds, "the time was up; --only figure goes on in the same folder")
    if done.code != 0:
        return Outcome("figure", "failed", done.seconds, steps.stopped(done, limit))
    return Outcome("figure", "passed", done.seconds, f"see {where}:\n{done.tail}")
