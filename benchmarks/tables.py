"""The report as Markdown: times, the ratio to the best peer, the fraction of the machine's limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contenders import NAMES, PYRANK
from goals import Goal, ratios, shares
from timing import Band, best_peer, ratio, share_of_limit

_TITLES = {
    "rank": "participation ratio and soft rank (tau = 0.5) at every layer",
    "r": "participation ratio at every layer",
    "none": "the layer alone",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Render a report as written by `report.py`."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in report["results"]:
        groups.setdefault(result["case"]["measures"], []).append(result)
    settings = report["settings"]
    lines = [
        "# pyrank against its peers",
        "",
        f"Microseconds per layer and chain: median of {settings['rounds']} interleaved rounds of about "
        f"{settings['seconds']:g} s each. All contenders passed the equality gate first. The ratio is the best peer's "
        "time over pyrank's, by paired rounds, with a 95 % interval for its median (of less than 6 rounds, their "
        "range); bold where it excludes 1. The limit is max(weights / fastest generation, "
        'flops / fastest product), measured in the same run, and "of limit" is limit / time. "In turn" is the same '
        "with the sum instead of the maximum: above 100 %, drawing and computing overlap.",
        "",
        *(line for measures, results in groups.items() for line in _table(_TITLES[measures], results)),
        *_goals("Goals, against the best peer", "times faster", ratios(report["results"]), _times),
        *_goals("Goals, against the limit", "share of the limit", shares(report["results"]), percent),
        *_missing(report["results"]),
        *_list("Not timed, because the gate is red or pyrank failed:", report.get("failed", {})),
        *_list("Not finished:", dict.fromkeys(filter(None, [report.get("begun")]), "")),
        *_list("Not begun, because the time was up:", dict.fromkeys(report.get("dropped", ()), "")),
        *_ceilings(report.get("ceilings", {})),
        "## Machine",
        "",
        *(f"- {name}: {value}" for name, value in report["machine"].items()),
        *(f"- limits, {dtype}: {_limits(limits)}" for dtype, limits in report["limits"].items()),
        f"- command: `{report['command']}`",
    ]
    return "\n".join(lines) + "\n"


def _table(title: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    present = [name for name in NAMES if any(name in r["times"] or name in r["missing"] for r in results)]
    head = ["d", "N", "F", "chains", "dtype", *present, "best peer", "ratio", "limit", "of limit", "in turn"]
    rows = [_row(result, present) for result in results]
    rule = ["---:" if column not in ("F", "dtype", "best peer", "limit") else "---" for column in head]
    return [f"## {title[0].upper()}{title[1:]}", "", *(f"| {' | '.join(row)} |" for row in (head, rule, *rows)), ""]


def _row(result: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    case, times = result["case"], result["times"]
    job = [str(case[key]) for key in ("width", "batch", "activation", "chains", "dtype")]
    limits = ["-", "-", "-"]  # of a GPU they are measured after the times
    if "limit_seconds" in result:
        least = (result["limit_seconds"], result["limit_in_turn_seconds"])
        shares_of_it = [percent(share_of_limit(times[PYRANK], seconds).median) for seconds in least]
        limits = [f"{microseconds(least[0])} ({result['limit_from']})", *shares_of_it]
    peer = best_peer(times)
    against = ["-", "-"] if peer is None else [peer, _ratio(ratio(times, peer))]
    return [*job, *(_cell(result, name) for name in names), *against, *limits]


def _cell(result: Mapping[str, Any], name: str) -> str:
    if name in result["times"]:
        return microseconds(Band.of(result["times"][name]).median)
    return "missing" if name in result["missing"] else "-"


def _ratio(band: Band) -> str:
    text = _times(band.median)
    interval = f"({band.low:.3g}-{band.high:.3g})"
    return f"**{text}** {interval}" if band.excludes(1.0) else f"{text} {interval}"


def _times(value: float) -> str:
    return f"{value:.3g}x"


def _goals(title: str, what: str, goals: Sequence[Goal], number: Callable[[float], str]) -> list[str]:
    if not goals:
        return []
    rows = [["case", "goal", what, "95 % interval", "verdict"], ["---", "---:", "---:", "---", "---"]]
    for goal in goals:
        interval = f"{number(goal.found.low)} to {number(goal.found.high)}"
        rows.append([goal.case, number(goal.wanted), number(goal.found.median), interval, goal.verdict])
    met = sum(goal.verdict == "met" for goal in goals)
    summary = f"{met} of {len(goals)} met; open where the interval holds the goal, or of less than 6 rounds."
    return [f"## {title}", "", summary, "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _missing(results: Sequence[Mapping[str, Any]]) -> list[str]:
    reasons = [f"{name}: {reason}" for result in results for name, reason in result["missing"].items()]
    return _list("Missing:", dict.fromkeys(reasons, ""))


def _list(title: str, reasons: Mapping[str, str]) -> list[str]:
    if not reasons:
        return []
    return [title, "", *(f"- {name}: {reason}" if reason else f"- {name}" for name, reason in reasons.items()), ""]


def _ceilings(ceilings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not ceilings:
        return []
    rows = [["what", "rate", "how"], ["---", "---:", "---"]]
    rows += [[name, f"{c['per_second']:.3g} {c['unit']}", c["how"]] for name, c in ceilings.items()]
    return ["## Ceilings of the GPU", "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _limits(limits: Mapping[str, Any]) -> str:
    weights = f"{three_digits(limits['weights_per_second'] / 1e9)}e9 weights/s ({limits['weights_from']})"
    return f"{weights}, {three_digits(limits['flops_per_second'] / 1e9)} GFLOP/s ({limits['flops_from']})"


def three_digits(value: float) -> str:
    """At least three digits, and no exponent before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def microseconds(seconds: float) -> str:
    """Three digits."""
    return three_digits(1e6 * seconds)


def percent(share: float) -> str:
    """Three digits."""
    return f"{100 * share:.3g} %"
