"""What changed between two reports of the same machine; only resolved changes are marked.

`python benchmarks/compare.py before/benchmarks.json after/benchmarks.json`

Two runs of the same code differ in clock, temperature, neighbours. What they have in common is taken off: round by
round, pyrank's time is divided by the geometric mean of its peers' times, whose code did not change. A change is
resolved if all of this holds, each with a chance of 1 % for one false mark in the whole table:

* these ratios differ by a rank test, so it is not the noise within the runs;
* their medians differ by more than runs of the same code do, which the spread of the peers' changes in all cases tells
  (Student's t), and by more than 5 %; and pyrank's bare time changed as well, by more than 5 % in the same direction.
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
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from scipy.stats import t as student

FALSE_MARKS = 0.01
LEAST_CHANGE = 0.05


@dataclass(frozen=True)
class Change:
    """How a case changed.

    Attributes
    ----------
    before, after
        Median times of pyrank.
    peers
        Geometric mean of the peers' times, after over before.
    p
        Chance that two runs of the same code differ as much by the noise within them.
    least_p
        The lowest that p can be with so many rounds.
    resolved
        Whether the change is beyond doubt.
    """

    name: str
    before: float
    after: float
    peers: float
    p: float
    least_p: float
    resolved: bool

    @property
    def factor(self) -> float:
        """Above 1: slower."""
        return self.after / self.before


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the change of every case that both reports hold."""
    old = {result["name"]: result["times"] for result in before["results"]}
    both = [(r["name"], _Shift.of(old[r["name"]], r["times"])) for r in after["results"] if r["name"] in old]
    level = FALSE_MARKS / max(1, len(both))
    spare = sum(max(0, len(shift.peers) - 1) for _, shift in both)
    square = sum(float(np.square(shift.peers - shift.peers.mean()).sum()) for _, shift in both if len(shift.peers))
    between_runs = float(student.isf(level / 2, spare)) * math.sqrt(square / spare) if spare else math.inf
    return [_change(name, shift, between_runs, level) for name, shift in both]


@dataclass(frozen=True)
class _Shift:
    """Logarithms: pyrank's median times, the peers' changes, and pyrank's times relative to theirs in both runs."""

    own: tuple[float, float]
    peers: NDArray[np.float64]
    relative: tuple[NDArray[np.float64], NDArray[np.float64]]

    @classmethod
    def of(cls, before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> _Shift:
        peers = sorted((before.keys() & after.keys()) - {PYRANK})
        own = [np.log(times[PYRANK]) for times in (before, after)]
        others = [
            np.log([times[who] for who in peers]).reshape(len(peers), len(times[PYRANK])) for times in (before, after)
        ]
        first, second = (a - b.mean(axis=0) if peers else a for a, b in zip(own, others, strict=True))
        moved = np.median(others[1], axis=1) - np.median(others[0], axis=1)
        return cls((float(np.median(own[0])), float(np.median(own[1]))), moved, (first, second))


def _change(name: str, shift: _Shift, between_runs: float, level: float) -> Change:
    first, second = shift.relative
    p = float(mannwhitneyu(first, second, method="exact").pvalue)
    least_p = 2 / math.comb(len(first) + len(second), len(first))
    bare, net = shift.own[1] - shift.own[0], float(np.median(second) - np.median(first))
    doubt = between_runs * math.sqrt(1 + 1 / len(shift.peers)) if len(shift.peers) else math.inf
    large = math.copysign(1, bare) * net > max(math.log1p(LEAST_CHANGE), doubt) and abs(bare) > math.log1p(LEAST_CHANGE)
    peers = math.exp(shift.peers.mean()) if len(shift.peers) else math.nan
    return Change(name, math.exp(shift.own[0]), math.exp(shift.own[1]), peers, p, least_p, large and p < level)


def markdown(changes: Sequence[Change]) -> str:
    """Render the changes; resolved ones bold, with the direction in words."""
    rows = [["case", "before, us", "after, us", "after / before", "peers, after / before", "p", ""], ["---"] * 7]
    for change in changes:
        word = ("slower" if change.factor > 1 else "faster") if change.resolved else ""
        factor = f"**{change.factor:.3f}**" if change.resolved else f"{change.factor:.3f}"
        times = [f"{1e6 * seconds:.3g}" for seconds in (change.before, change.after)]
        rows.append([change.name, *times, factor, f"{change.peers:.3f}", f"{change.p:.1g}", word])
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
    if any(change.least_p >= FALSE_MARKS / len(changes) for change in changes):
        print("some cases have too few rounds for any change to be resolved among so many; see --rounds of report.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
