"""One case after the other: build the contenders, pass them through the gate, time them."""

from __future__ import annotations

import faulthandler
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import contenders
import gate
import timing
import torch
from cases import Case
from roofline import Roofline

CASE_SECONDS = 120.0
"""On a GPU a case that takes longer has stopped for good, and its process with it."""


def measure_case(
    case: Case, limit: Roofline, rounds: int, seconds: float, names: Sequence[str], red: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the result of a case, as plain values for JSON.

    A peer that raises is missing if ``red`` is given; if that is because it computes something else, ``red`` says so.

    Raises
    ------
    gate.GateError
        If a contender computes something else.
    Exception
        What else a contender raises.
    """
    present, missing = [], {}
    for name in names:
        built = _build(case, name, red)
        if isinstance(built, contenders.Missing):
            missing[name] = built.reason
        else:
            present.append(built)
    times = timing.interleave(present, rounds, seconds, case.least_layers)
    print(f"{case}: {_progress(times)}", file=sys.stderr, flush=True)
    return {
        "name": str(case),
        "case": case.to_dict(),
        "times": times,
        "missing": missing,
        "limit_seconds": limit.seconds(case),
        "limit_in_turn_seconds": limit.seconds_in_turn(case),
        "limit_from": limit.binds(case),
    }


def _build(case: Case, name: str, red: dict[str, str] | None) -> contenders.Contender | contenders.Missing:
    """Return a contender that has passed the gate, or why there is none."""
    try:
        built = contenders.build(case, name)
        if isinstance(built, contenders.Contender):
            gate.check(case, built)
    except Exception as error:
        if red is None or name == contenders.PYRANK:
            raise
        if isinstance(error, gate.GateError):
            red[f"{case}, {name}"] = brief(error)
        return contenders.Missing(name, brief(error))
    return built


@dataclass
class Measured:
    """What became of the cases: results, messages of what failed, and names of those not begun.

    ``begun`` is the case under way: the next program that goes on from here knows which one ended the last.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    begun: str | None = None


def measure_within(
    wanted: Sequence[Case], limit: Roofline, rounds: int, seconds: float, deadline: float, measured: Measured,
    publish: Callable[[], object],
) -> None:  # fmt: skip
    """Measure the dropped cases, cheap ones first, until too little time is left for one as long as the last.

    A case in which pyrank fails or has a red gate is not timed; the others go on, unless the GPU is lost to this
    process. ``deadline`` is by `time.monotonic`; ``publish`` is called before and after each case.
    """
    last = 0.0
    for case in sorted(wanted, key=lambda case: (case.width, case.flops)):
        began, name = time.monotonic(), str(case)
        if name not in measured.dropped:
            continue
        if began + last > deadline:
            break
        measured.dropped.remove(name)
        measured.begun = name
        publish()
        faulthandler.dump_traceback_later(CASE_SECONDS, exit=True)
        try:
            names = contenders.names(case, compiled=True)
            measured.results.append(measure_case(case, limit, rounds, seconds, names, measured.failed))
        except Exception as error:
            measured.failed[name] = brief(error)
            print(f"{name}: {brief(error)}", file=sys.stderr, flush=True)
        finally:
            faulthandler.cancel_dump_traceback_later()
        measured.begun = None
        last = time.monotonic() - began
        publish()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # raises what no later call in this process would survive


def brief(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    kind = "" if isinstance(error, gate.GateError) else f"{type(error).__name__}: "
    return kind + (lines[0][:300] if lines else "")


def _progress(times: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {1e6 * sorted(seconds)[len(seconds) // 2]:.3g} us" for name, seconds in times.items())
