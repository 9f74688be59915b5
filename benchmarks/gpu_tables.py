"""The report of `gpu.py` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import goals
import tables
from contenders import PYRANK
from timing import best_peer, rate


def markdown(report: Mapping[str, Any]) -> str:
    """Render what became of the steps, then the ceilings, times and goals."""
    lines = [
        "# pyrank on a GPU",
        "",
        f"{report['date']}, `{report['command']}`",
        "",
        *(f"- {name}: {value}" for name, value in report["machine"].items()),
        "",
        "| step | verdict | seconds | |",
        "| --- | --- | ---: | --- |",
        *(_row(step) for step in report["steps"]),
        "",
        *(line for step in report["steps"] for line in _rest(step)),
    ]
    times = report["times"]
    if times is not None:
        lines += [*_rates(times["results"]), "#" + tables.markdown(times)]
    return "\n".join(lines)


def _rates(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return pyrank's rates, that of the best peer, and what has to be reached."""
    wanted = {goal.case: goal for goal in goals.rates(results)}
    rows = [["case", "pyrank", "95 % interval", "best peer", "", "goal", "verdict"],
            ["---", "---:", "---", "---:", "---", "---:", "---"]]  # fmt: skip
    for result in results:
        own, peer, goal = rate(result["times"][PYRANK]), best_peer(result["times"]), wanted.get(result["name"])
        theirs = ["-", "-"] if peer is None else [f"{rate(result['times'][peer]).median:.3g}", peer]
        reached = ["-", "-"] if goal is None else [f"{goal.wanted:.3g}", goal.verdict]
        rows.append([result["name"], f"{own.median:.3g}", f"{own.low:.3g} to {own.high:.3g}", *theirs, *reached])
    return ["## Layers of a chain per second", "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _row(step: Mapping[str, Any]) -> str:
    first = step["detail"].splitlines()[0].replace("|", "\\|") if step["detail"] else ""
    return f"| {step['name']} | {step['verdict']} | {step['seconds']:.0f} | {first} |"


def _rest(step: Mapping[str, Any]) -> list[str]:
    """Return the rest of a step's detail: the last lines of a program that failed."""
    rest = step["detail"].splitlines()[1:]
    return [f"The end of what {step['name']} printed:", "", "```text", *rest, "```", ""] if rest else []
