"""Interleaved rounds, and what they say: medians with bands, and ratios of paired rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from contenders import PYRANK, Contender
from scipy.stats import binom


@dataclass(frozen=True)
class Band:
    """A median and an interval that contains the true one with 95 %; of less than 6 rounds, their range."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Band:
        """Order statistics: no assumption on how times are distributed, and a few disturbed rounds change nothing."""
        ordered = np.sort(np.asarray(values, dtype=float))
        drop = max(0, int(binom.ppf(0.025, len(ordered), 0.5)) - 1)
        return cls(float(np.median(ordered)), float(ordered[drop]), float(ordered[-1 - drop]), len(ordered))

    def excludes(self, value: float) -> bool:
        """Whether the difference from ``value`` is resolved; less than 6 rounds resolve nothing."""
        return self.rounds >= 6 and (value < self.low or value > self.high)


def calibrate(run: Callable[[int], object], seconds: float, least: int = 1) -> int:
    """Return how many layers take about ``seconds``, and at least ``least``; the first call warms up and compiles."""
    run(1)
    layers = least
    while True:
        began = time.perf_counter()
        run(layers)
        elapsed = time.perf_counter() - began
        if elapsed > seconds / 4:
            return max(least, round(layers * seconds / elapsed))
        layers *= 4


def interleave(
    contenders: Sequence[Contender], rounds: int, seconds: float, least: int = 1, deadline: float = math.inf,
    tell: Callable[[dict[str, list[float]]], object] = lambda times: None,
) -> dict[str, list[float]]:  # fmt: skip
    """Time all contenders in turn, each for at least ``least`` layers; seconds per layer and chain in each round.

    A round of a contender takes ``seconds`` times its patience.
    Each round begins with another contender, so that nobody always runs after the same one. After the ``deadline``, by
    `time.monotonic`, only pyrank goes on: a peer keeps the rounds that it has. ``tell`` hears the times of each round.
    """
    layers = {who.name: calibrate(who.run, who.patience * seconds, least) for who in contenders}
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            if times[contender.name] and contender.name != PYRANK and time.monotonic() > deadline:
                continue
            began = time.perf_counter()
            contender.run(layers[contender.name])
            elapsed = time.perf_counter() - began
            times[contender.name].append(elapsed / layers[contender.name] / contender.chains)
        tell(times)
    return times


def best_peer(times: Mapping[str, Sequence[float]]) -> str | None:
    """Return the peer with the lowest median time, None if there is no peer."""
    peers = [name for name in times if name != PYRANK]
    return min(peers, key=lambda name: np.median(times[name]), default=None)


def ratio(times: Mapping[str, Sequence[float]], peer: str) -> Band:
    """How many times as long as pyrank a peer takes, in each of the rounds that both have."""
    both = zip(times[peer], times[PYRANK], strict=False)
    return Band.of([theirs / own for theirs, own in both])


def rate(times: Sequence[float]) -> Band:
    """Return how many layers of a chain are done in a second."""
    return Band.of(np.reciprocal(times).tolist())


def share_of_limit(times: Sequence[float], limit: float) -> Band:
    """Return the machine's least time over the times that were measured."""
    return Band.of((limit / np.asarray(times)).tolist())
