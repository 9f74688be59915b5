"""The report of `gpu.py` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tables


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
    text = "\n".join(lines)
    return text if report["times"] is None else f"{text}\n#{tables.markdown(report['times'])}"


def _row(step: Mapping[str, Any]) -> str:
    first = step["detail"].splitlines()[0].replace("|", "\\|") if step["detail"] else ""
    return f"| {step['name']} | {step['verdict']} | {step['seconds']:.0f} | {first} |"


def _rest(step: Mapping[str, Any]) -> list[str]:
    """Return the rest of a step's detail: the last lines of a program that failed."""
    rest = step["detail"].splitlines()[1:]
    return [f"The end of what {step['name']} printed:", "", "```text", *rest, "```", ""] if rest else []
