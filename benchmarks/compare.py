"""What changed between two reports of the same machine; only resolved changes are marked.

`python benchmarks/compare.py before/benchmarks.json after/benchmarks.json`

Two runs differ in more than the code: clock, temperature, neighbours. A change of pyrank is resolved if its rounds
before and after differ by a rank test whose chance of one false mark in the whole table is 1 %, and if it is larger
than 5 % and than every change of a peer in the same case, because the peers' code did not change.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contenders import PYRANK
from scipy.stats import mannwhitneyu

FALSE_MARKS = 0.01
LEAST_CHANGE = 0.05


@dataclass(frozen=True)
class Change:
    """pyrank's time after over before; ``drift`` is the largest such factor, or its inverse, among the peers."""

    name: str
    before: float
    after: float
    drift: float
    p: float
    resolved: bool

    @property
    def factor(self) -> float:
        """Above 1: slower."""
        return self.after / self.before


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the change of every case that both reports hold."""
    old = {result["name"]: result["times"] for result in before["results"]}
    both = [(r["name"], old[r["name"]], r["times"]) for r in after["results"] if r["name"] in old]
    return [_change(name, a, b, FALSE_MARKS / len(both)) for name, a, b in both]


def _change(
    name: str, before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], level: float
) -> Change:
    medians = [{who: float(np.median(times)) for who, times in run.items()} for run in (before, after)]
    logs = {who: math.log(medians[1][who] / medians[0][who]) for who in medians[0].keys() & medians[1].keys()}
    drift = max((abs(change) for who, change in logs.items() if who != PYRANK), default=0.0)
    p = float(mannwhitneyu(before[PYRANK], after[PYRANK], method="exact").pvalue)
    resolved = p < level and abs(logs[PYRANK]) > max(math.log1p(LEAST_CHANGE), drift)
    return Change(name, medians[0][PYRANK], medians[1][PYRANK], math.exp(drift), p, resolved)


def markdown(changes: Sequence[Change]) -> str:
    """Render the changes; resolved ones bold, with the direction in words."""
    rows = [["case", "before, us", "after, us", "after / before", "peers moved by up to", "p", ""], ["---"] * 7]
    for change in changes:
        word = ("slower" if change.factor > 1 else "faster") if change.resolved else ""
        factor = f"**{change.factor:.3f}**" if change.resolved else f"{change.factor:.3f}"
        times = [f"{1e6 * seconds:.3g}" for seconds in (change.before, change.after)]
        rows.append([change.name, *times, factor, f"{change.drift:.3f}", f"{change.p:.1g}", word])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    before, after = (json.loads(path.read_text(encoding="utf-8")) for path in (options.before, options.after))
    changes = compare(before, after)
    if not changes:
        sys.exit("the two reports have no case in common")
    for key in sorted(before["machine"].keys() & after["machine"].keys()):
        if before["machine"][key] != after["machine"][key]:
            print(f"{key}: {before['machine'][key]} -> {after['machine'][key]}")
    print(markdown(changes))
    resolved = sum(change.resolved for change in changes)
    print(f"\n{resolved} of {len(changes)} cases changed beyond doubt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
