"""Everything a GPU can tell, in one command: build, equivalence tests, times against peers, ceilings, memory checks.

`python -m benchmarks.gpu --out DIR`, in the checkout, writes DIR/gpu.json and DIR/gpu.md within 6 minutes, and while it
runs. It needs torch, a compiler for CUDA and what the package is built with, no network, and nothing of pyrank. A step
that fails or takes too long does not lose the others. Exit status: 0 if everything is fine, 1 if not, 2 if there is no
GPU or no compiler for it.

`--only sanitizer` watches the whole suite of tests with compute-sanitizer instead, as long as that takes.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the scripts beside this one are modules of each other, as where they are started

import gpu_build  # noqa: E402
import gpu_steps  # noqa: E402
import gpu_tables  # noqa: E402
import machine  # noqa: E402
import steps  # noqa: E402
from gpu_steps import ROOT, Place  # noqa: E402
from steps import Outcome  # noqa: E402

TOTAL = 360.0
"""Seconds for everything; the budgets of the steps add up to as much."""

NEEDED_TO_RUN = ("numpy", "scipy", "torch", "pytest")
NEEDED_TO_BUILD = ("pip", "setuptools", "pybind11", "scikit_build_core")


@dataclass(frozen=True)
class Step:
    """What is done, and how many seconds it may take if the steps before have left none of theirs."""

    name: str
    budget: float
    work: Callable[[Place, float], Outcome]


STEPS = (
    Step("build", 110, lambda *place: gpu_steps.build(*place)),
    Step("tests", 60, lambda *place: gpu_steps.test(*place)),
    Step("times", 110, lambda *place: gpu_steps.measure(*place)),
    Step("ceilings", 20, lambda *place: gpu_steps.ceilings(*place)),
    Step("memcheck", 25, lambda *place: gpu_steps.sanitize("memcheck", *place)),
    Step("racecheck", 25, lambda *place: gpu_steps.sanitize("racecheck", *place)),
    Step("figure", 10, lambda *place: gpu_steps.figure(*place)),
)
"""In the order of their worth."""

SANITIZER = tuple(
    Step(f"{tool} of all tests", 3600, functools.partial(gpu_steps.sanitize, tool, whole=True))
    for tool in gpu_steps.WATCH
)
"""What `--only sanitizer` stands for."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    began = time.monotonic()
    try:
        wanted, total = _wanted(options)
        name, architecture = _gpu(options)
        place = _place(options, arguments, name, architecture)
        if missing := why_not(place):
            raise OSError(missing)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        run_steps(wanted, place, began + total)
    except KeyboardInterrupt:
        print(f"stopped; what there is by now: {place.out / 'gpu.md'}", file=sys.stderr)
        return 1
    print(place.publish())
    fine = ("passed", "absent", "stopped")
    return 0 if all(step["verdict"] in fine for step in place.report["steps"]) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder to write to (results/gpu)")
    names = ", ".join((*(step.name for step in STEPS), "sanitizer"))
    parser.add_argument("--only", default=None, help=f"these steps, with commas between them: {names}")
    parser.add_argument("--seconds", type=float, default=None, help=f"limit of everything ({TOTAL:.0f})")
    parser.add_argument("--package", type=Path, default=ROOT / "build/gpu", help="folder to build into (build/gpu)")
    parser.add_argument("--architecture", type=int, default=None, help="90, say; by default that of the GPU, with "
                        "--only build there need be none")  # fmt: skip
    return parser.parse_args(arguments)


def _wanted(options: argparse.Namespace) -> tuple[tuple[Step, ...], float]:
    """Return the steps that are asked for, what they need included, and the seconds for all of them."""
    if options.only is None:
        return STEPS, options.seconds or TOTAL
    named = set(options.only.split(","))
    if unknown := named - {step.name for step in STEPS} - {"sanitizer"}:
        raise OSError(f"--only {','.join(sorted(unknown))}: expected names of steps, see --help")
    chosen = tuple(step for step in STEPS if step.name in {*named, "build"})
    chosen += SANITIZER if "sanitizer" in named else ()
    return chosen, options.seconds or max(TOTAL, sum(step.budget for step in chosen))


def _gpu(options: argparse.Namespace) -> tuple[str | None, int]:
    """Return the name of the GPU, None if there is none and none is needed, and the architecture to build for."""
    try:
        name, capability = machine.first_gpu()
    except OSError as error:
        if options.only == "build" and options.architecture:
            return None, options.architecture
        without = "without one, `python benchmarks/report.py` times one core"
        raise OSError(f"this needs a GPU, and there is none ({error}); {without}") from None
    return name, options.architecture or capability


def _place(options: argparse.Namespace, arguments: Sequence[str] | None, name: str | None, architecture: int) -> Place:
    out = options.out.resolve()
    found = {} if name is None else {"GPU found": f"{name}, {architecture}"}
    report: dict[str, Any] = {
        "schema": 2,
        **machine.occasion("-m benchmarks.gpu", arguments),
        "machine": {
            **machine.describe_host(), **machine.versions(machine.LIBRARIES), **machine.describe_gpu(), **found
        },
        "steps": [],
        "times": None,
    }  # fmt: skip
    return Place(out, options.package.resolve(), architecture, report, functools.partial(publish, report, out))


def why_not(place: Place) -> str:
    """Return in one line what is missing on this machine; empty if nothing is."""
    built = gpu_build.is_built(ROOT, place.package, place.architecture)
    wanted = NEEDED_TO_RUN if built else NEEDED_TO_RUN + NEEDED_TO_BUILD
    if missing := [name for name in wanted if not has(name)]:
        return f"this needs {', '.join(missing)}: packages of Python that are not on this machine"
    if built or machine.find_cuda_tool("nvcc"):
        return ""
    return "this needs nvcc, the compiler for CUDA: put it on the PATH, or set CUDA_HOME"


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def run_steps(wanted: Sequence[Step], place: Place, deadline: float) -> None:
    """Run steps one after the other, and write the report before and after each; the later ones keep their budgets.

    What cannot be used cannot be tested: a build that fails is the last step.
    """
    place.out.mkdir(parents=True, exist_ok=True)
    told = place.report["steps"]
    for number, step in enumerate(wanted):
        if told and told[0]["verdict"] == "failed" and told[0]["name"] == "build":
            told.append(Outcome(step.name, "not run", 0.0, "the build failed").to_dict())
            continue
        later = sum(after.budget for after in wanted[number + 1 :])
        limit = max(deadline - time.monotonic() - later, min(step.budget, deadline - time.monotonic()))
        told.append(Outcome(step.name, "not run", 0.0, "begun, and not ended when this was written").to_dict())
        place.publish()
        told[-1] = _outcome(step, place, limit).to_dict()
        place.publish()


def _outcome(step: Step, place: Place, limit: float) -> Outcome:
    if limit < 1:
        return Outcome(step.name, "not run", 0.0, "the time was up")
    print(f"{step.name}, at most {limit:.0f} s ...", file=sys.stderr, flush=True)
    try:
        outcome = step.work(place, limit)
    except Exception as error:  # the other steps shall go on
        outcome = Outcome(step.name, "failed", 0.0, f"{type(error).__name__}: {error}")
    print(f"{step.name}: {outcome.verdict} after {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
    return outcome


def publish(report: dict[str, Any], out: Path) -> str:
    """Write what is known by now."""
    text = gpu_tables.markdown(report)
    steps.write(out / "gpu.json", json.dumps(report, indent=1) + "\n")
    steps.write(out / "gpu.md", text)
    return text


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who is told to end by it stops its programs, too
    sys.exit(main())
