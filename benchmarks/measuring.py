"""One case after the other: build the contenders, pass them through the gate, time them."""

from __future__ import annotations

import faulthandler
import math
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

CASE_SECONDS = 45.0
"""On a GPU a case that takes longer has stopped for good, and its process with it."""

LEAST_SECONDS = 6.0
"""With less time left on a GPU, no case begins."""

NO_TIME = "the case's share of the time was up before its turn"

Tell = Callable[[dict[str, Any]], object]


def measure_case(
    case: Case, limit: Roofline | None, rounds: int, seconds: float, names: Sequence[str],
    red: dict[str, str] | None = None, deadline: float = math.inf, tell: Tell = lambda result: None,
) -> dict[str, Any]:  # fmt: skip
    """Return the result of a case, as plain values for JSON.

    A peer that raises is missing if ``red`` is given; if that is because it computes something else, ``red`` says so.
    So is one that is not built by the ``deadline``. ``tell`` hears the result as far as it is known: first of pyrank
    alone, which takes a round before the peers are built, then after each round.

    Raises
    ------
    gate.GateError
        If a contender computes something else.
    Exception
        What else a contender raises.
    """
    present, missing = [], {}

    def result(times: dict[str, list[float]]) -> dict[str, Any]:
        measured = {"name": str(case), "case": case.to_dict(), "times": times, "missing": missing}
        return measured if limit is None else measured | limit.of(case)

    for name in names:
        late = name != contenders.PYRANK and time.monotonic() > deadline
        built = contenders.Missing(name, NO_TIME) if late else _build(case, name, red)
        if isinstance(built, contenders.Missing):
            missing[name] = built.reason
        else:
            present.append(built)
        if name == contenders.PYRANK and deadline < math.inf:
            tell(result(timing.interleave(present, 1, seconds, case.least_layers)))
    last = timing.interleave(present, rounds, seconds, case.least_layers, deadline, lambda times: tell(result(times)))
    print(f"{case}: {_progress(last)}", file=sys.stderr, flush=True)
    return result(last)


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

    ``begun`` is the case under way, whose result is the last as far as there is one: the next program that goes on from
    here knows which one ended the last.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    begun: str | None = None


def measure_within(
    wanted: Sequence[Case], rounds: int, seconds: float, deadline: float, measured: Measured,
    publish: Callable[[], object],
) -> None:  # fmt: skip
    """Measure the dropped cases in their order, until the time is up.

    A case may take twice its share of what is left, since many need less; after that its peers stop. A case in which
    pyrank fails or has a red gate is not timed; the others go on, unless the GPU is lost to this process. ``deadline``
    is by `time.monotonic`; ``publish`` is called before and after each case and in between.
    """
    waiting = [case for case in wanted if str(case) in measured.dropped]
    for number, case in enumerate(waiting):
        began, name = time.monotonic(), str(case)
        if began + LEAST_SECONDS > deadline:
            break
        share = 2 * (deadline - began) / (len(waiting) - number)
        measured.dropped.remove(name)
        measured.begun = name
        publish()

        def tell(result: dict[str, Any], name: str = name) -> None:
            measured.results[:] = [*(known for known in measured.results if known["name"] != name), result]
            publish()

        faulthandler.dump_traceback_later(CASE_SECONDS, exit=True)
        try:
            names, end = contenders.names(case, compiled=True), min(deadline, began + share)
            tell(measure_case(case, None, rounds, seconds, names, measured.failed, end, tell))
        except Exception as error:
            measured.failed[name] = brief(error)
            print(f"{name}: {brief(error)}", file=sys.stderr, flush=True)
        finally:
            faulthandler.cancel_dump_traceback_later()
        measured.begun = None
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
