"""What more threads are worth: parallel efficiency of many chains, and of one wide chain that all threads share.

`python benchmarks/threads.py --out benchmarks/results`

Efficiency is the time on one thread over k times the time on k threads, by paired rounds. A case is timed only if
its results on k threads equal those on one thread bit by bit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from cases import Case, square
from contenders import SEED, Contender, compiled
from goals import EFFICIENCY, EFFICIENCY_THREADS, Goal
from tables import microseconds, percent
from timing import Band, interleave

from pyrank.engine import native

LANES = 16
"""Chains that fill a register of the widest instruction set."""

MANY, ONE = (8, 32, 128, 256), (128, 256, 512, 1024)
"""Widths with full registers for every thread, and widths of a chain alone."""


def cases(most_threads: int) -> list[Case]:
    many = [replace(square(d), chains=LANES * most_threads) for d in MANY]
    return many + [replace(square(d), chains=1) for d in ONE]


def on_threads(case: Case, threads: int) -> Contender:
    """Return pyrank with a number of threads, to be timed."""
    seeds = itertools.count(SEED)
    return Contender(
        label(threads), case.chains, layer=None,
        run=lambda layers: compiled.simulate(case, layers, case.chains, next(seeds), "identity", threads),
    )  # fmt: skip


def label(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def check(case: Case, threads: int) -> None:
    """Stop unless the last states, all traces and all statistics are the same to the bit."""
    one, several = (compiled.simulate(case, case.least_layers, case.chains, SEED, "identity", k) for k in (1, threads))
    same = torch.equal(one.state, several.state)
    for a, b in zip(one.values(), several.values(), strict=True):
        same &= np.array_equal(a.trace, b.trace) and (a.mean, a.stderr) == (b.mean, b.stderr)
    if not same:
        sys.exit(f"{case}: {label(threads)} give another result than one, nothing is reported")


def efficiency(times: Mapping[str, Sequence[float]], threads: int) -> Band:
    """Round by round."""
    return Band.of(np.divide(times[label(1)], np.multiply(threads, times[label(threads)])).tolist())


def measure(wanted: Sequence[Case], counts: Sequence[int], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return the times of each case, as plain values for JSON."""
    results = []
    for case in wanted:
        for threads in counts:
            check(case, threads)
        times = interleave([on_threads(case, k) for k in (1, *counts)], rounds, seconds, case.least_layers)
        results.append({"name": str(case), "case": case.to_dict(), "times": times})
        print(f"{case}: {', '.join(f'{name} {microseconds(min(t))} us' for name, t in times.items())}", file=sys.stderr)
    return results


def markdown(report: Mapping[str, Any]) -> str:
    settings = report["settings"]
    lines = [
        "# Threads",
        "",
        f"Microseconds per layer and chain, participation ratio and soft rank at every layer: median of "
        f"{settings['rounds']} interleaved rounds of about {settings['seconds']:g} s each. The results on all numbers "
        "of threads were equal bit by bit first. Efficiency is the time on one thread over k times that on k threads, "
        f"with a 95 % interval; the goal is {percent(EFFICIENCY)} for many chains on {EFFICIENCY_THREADS} threads.",
        "",
        "| d = N | chains | threads | us | us, one thread | efficiency | 95 % interval | goal |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
        *(_row(result, threads) for result in report["results"] for threads in settings["threads"]),
        "",
        *(f"- {name}: {value}" for name, value in report["machine"].items()),
        f"- command: `{report['command']}`",
    ]
    return "\n".join(lines) + "\n"


def _row(result: Mapping[str, Any], threads: int) -> str:
    case, times = result["case"], result["times"]
    band = efficiency(times, threads)
    has_goal = case["chains"] > 1 and threads == EFFICIENCY_THREADS
    cells = [
        *(str(number) for number in (case["width"], case["chains"], threads)),
        *(microseconds(Band.of(times[label(k)]).median) for k in (threads, 1)),
        percent(band.median), f"{percent(band.low)} to {percent(band.high)}",
        Goal(result["name"], EFFICIENCY, band).verdict if has_goal else "-",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[cores()], help="numbers of threads (all cores)")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round (0.5)")
    parser.add_argument("--select", default="", help="only cases whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to (results)")
    options = parser.parse_args(arguments)
    if missing := native.why_missing():
        sys.exit(missing)
    if not all(1 < threads <= cores() for threads in options.threads):
        limits = f"at least 2 and at most {cores()}, the cores that this process may use"
        sys.exit(f"--threads {options.threads}: expected {limits}")
    wanted = [case for case in cases(max(options.threads)) if options.select in str(case)]
    report = {
        **machine.occasion("benchmarks/threads.py", arguments),
        "machine": machine.describe(f"not pinned, {cores()} cores"),
        "settings": {"rounds": options.rounds, "seconds": options.seconds, "threads": options.threads},
        "results": measure(wanted, options.threads, options.rounds, options.seconds),
    }
    text = markdown(report)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "threads.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (options.out / "threads.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
