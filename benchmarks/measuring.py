"""One case after the other: build the contenders, pass them through the gate, time them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import contenders
import gate
import timing
from cases import Case
from roofline import Roofline


def measure_case(
    case: Case, limit: Roofline, rounds: int, seconds: float, names: Sequence[str], forgiving: bool = False
) -> dict[str, Any]:
    """Return the result of a case, as plain values for JSON.

    Raises
    ------
    gate.GateError
        If a contender computes something else.
    Exception
        What a contender raises; of peers only unless ``forgiving``, which counts them as missing.
    """
    present, missing = [], {}
    for name in names:
        built = _build(case, name, forgiving)
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


def _build(case: Case, name: str, forgiving: bool) -> contenders.Contender | contenders.Missing:
    """Return a contender that has passed the gate, or why there is none."""
    try:
        built = contenders.build(case, name)
        if isinstance(built, contenders.Contender):
            gate.check(case, built)
    except gate.GateError:
        raise
    except Exception as error:
        if not forgiving or name == contenders.PYRANK:
            raise
        return contenders.Missing(name, brief(error))
    return built


@dataclass
class Measured:
    """What became of the cases: results, messages of the others by name, and names of those not begun."""

    results: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


def measure_within(
    wanted: Sequence[Case], limit: Roofline, rounds: int, seconds: float, deadline: float,
    publish: Callable[[Measured], object],
) -> Measured:  # fmt: skip
    """Measure cases, cheap ones first, until too little time is left for one as long as the longest before.

    A case with a red gate, or in which pyrank fails, is not timed; the others go on. ``deadline`` is by
    `time.monotonic`; ``publish`` is called after each case.
    """
    ordered = sorted(wanted, key=lambda case: (case.width, case.flops))
    measured, longest = Measured(dropped=[str(case) for case in ordered]), 0.0
    for case in ordered:
        began = time.monotonic()
        if began + longest > deadline:
            break
        try:
            names = contenders.names(case, compiled=True)
            measured.results.append(measure_case(case, limit, rounds, seconds, names, forgiving=True))
        except Exception as error:
            measured.failed[str(case)] = brief(error)
            print(f"{case}: {brief(error)}", file=sys.stderr, flush=True)
        measured.dropped.remove(str(case))
        longest = max(longest, time.monotonic() - began)
        publish(measured)
    return measured


def brief(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    kind = "" if isinstance(error, gate.GateError) else f"{type(error).__name__}: "
    return kind + (lines[0][:300] if lines else "")


def _progress(times: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {1e6 * sorted(seconds)[len(seconds) // 2]:.3g} us" for name, seconds in times.items())
