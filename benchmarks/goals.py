"""What pyrank has to reach on one thread and on one GPU, as data, and whether a report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contenders import PYRANK
from timing import Band, best_peer, rate, ratio, share_of_limit

MANY_CHAINS = {
    "rank": {8: 60, 16: 30, 32: 16, 64: 12, 128: 7, 256: 6, 512: 4},
    "none": {8: 10, 16: 6, 32: 3.5, 64: 3, 128: 2, 256: 1.5, 512: 1.2},
}
"""How many times as fast as the best peer, by measures and width."""

ONE_CHAIN = {"rank": {8: 8, 16: 8, 32: 8, 64: 8}}
"""The same for a single chain, against the best peer's single chain."""

SHARE_OF_LIMIT = 0.65
SHARE_FROM_WIDTH = 32
"""The share of the machine's own limit, with many chains."""

GPU_RATES = {
    "rank": {16: 1e9, 32: 2.5e8, 64: 5e7},
    "none": {16: 2.5e9, 32: 5e8, 64: 1.2e8, 128: 2.5e7, 256: 3e6},
}
"""Layers of a chain per second on one GPU of the H200 class, by measures and width."""

GPU_TIMES_FASTER = {"rank": 50, "none": 5}
"""How many times as fast as the best peer on the same GPU, at every width."""

EFFICIENCY = 0.9
EFFICIENCY_THREADS = 2
"""Parallel efficiency of many chains (`threads.py`)."""


@dataclass(frozen=True)
class Goal:
    """A number that has to be reached, and what was measured."""

    case: str
    wanted: float
    found: Band

    @property
    def verdict(self) -> str:
        """``met`` or ``missed`` if the whole interval is on one side, else ``open``, as with less than 6 rounds."""
        if self.found.rounds < 6 or self.found.low < self.wanted <= self.found.high:
            return "open"
        return "met" if self.found.low >= self.wanted else "missed"


def ratios(results: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Return the goals against the best peer of each case that has one."""
    found = []
    for result in results:
        case, times = result["case"], result["times"]
        if _on_gpu(case):
            wanted = GPU_TIMES_FASTER.get(case["measures"])
        else:
            wanted = (MANY_CHAINS if case["chains"] > 1 else ONE_CHAIN).get(case["measures"], {}).get(case["width"])
        peer = best_peer(times)
        if _plain(case) and wanted is not None and peer is not None:
            found.append(Goal(result["name"], wanted, ratio(times, peer)))
    return found


def rates(results: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Return the goals in layers of a chain per second on a GPU."""
    wanted = [(r, GPU_RATES.get(r["case"]["measures"], {}).get(r["case"]["width"])) for r in results]
    return [
        Goal(result["name"], least, rate(result["times"][PYRANK]))
        for result, least in wanted
        if least is not None and _on_gpu(result["case"]) and _plain(result["case"])
    ]


def shares(results: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Return the goals against the machine's own limit."""
    wanted = [r for r in results if r["case"]["chains"] > 1 and r["case"]["measures"] in MANY_CHAINS]
    return [
        Goal(r["name"], SHARE_OF_LIMIT, share_of_limit(r["times"][PYRANK], r["limit_seconds"]))
        for r in wanted
        if _plain(r["case"]) and r["case"]["width"] >= SHARE_FROM_WIDTH and not _on_gpu(r["case"])
    ]


def _on_gpu(case: Mapping[str, Any]) -> bool:
    """Whether the case ran on a GPU; reports of before there were any do not say."""
    return case.get("device", "cpu") != "cpu"


def _plain(case: Mapping[str, Any]) -> bool:
    """As many samples as features, linear F, single precision."""
    return case["width"] == case["batch"] and case["activation"] == "linear" and case["dtype"] == "float32"
