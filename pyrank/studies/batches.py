"""Which cells go together: the dearest first, in batches of about half a second, smaller ones towards the end."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Sequence

from pyrank.studies.task import Task

BATCH_SECONDS = 0.5
"""Long enough that sending costs nothing, short enough that a stopped study loses little."""

MOST_TOGETHER = 1000
FORGET = 0.9
"""Weight of what was known of the pace when a further second of work is known."""


class Queue:
    """The cells that wait, and how long they take.

    A cost is a time in units that only its task knows. How many seconds a unit takes is learned from cells that are
    done; before the first one is, cells travel alone.
    """

    def __init__(self, cells: Sequence[tuple[str, Task]], workers: int) -> None:
        self._workers = workers
        ranked = sorted(cells, key=lambda cell: -cell[1].cost)  # stable: equal ones in the order of the grid
        self._cells = deque(ranked)
        self._again: deque[tuple[str, Task]] = deque()
        self.cost = sum(task.cost for _, task in cells)
        self._share = self.cost / workers
        self._seconds = self._units = 0.0

    def __len__(self) -> int:
        return len(self._cells) + len(self._again)

    def seconds(self, task: Task) -> float | None:
        """Return the predicted seconds of a cell, or None if nothing is known."""
        return task.cost * self._seconds / self._units if self._units else None

    def threads(self, task: Task) -> int:
        """Return how many threads a cell needs that is dearer than a worker's share, to be done when the others are."""
        if task.cost <= self._share:
            return 1
        return min(math.ceil(task.cost / self._share), self._workers, os.cpu_count() or 1)

    def learn(self, task: Task, seconds: float) -> None:
        """Take note of how long a cell took."""
        keep = FORGET ** min(seconds, 100.0)
        self._seconds, self._units = keep * self._seconds + seconds, keep * self._units + task.cost

    def back(self, cells: Sequence[tuple[str, Task]], *, alone: bool) -> None:
        """Take cells back that were not done; ``alone``: each is to travel by itself."""
        if alone:
            self._again.extend(cells)
            return
        self._cells.extendleft(reversed(cells))
        self.cost += sum(task.cost for _, task in cells)

    def take(self) -> list[tuple[str, Task]]:
        """Return the next batch."""
        if self._again and not self._cells:
            return [self._again.popleft()]
        batch: list[tuple[str, Task]] = []
        pace = self._seconds / self._units if self._units else None
        share = self.cost / (2 * self._workers)  # so that workers end at the same time
        most = 0.0 if pace is None else min(BATCH_SECONDS / max(pace, 1e-12), share)
        taken = 0.0
        while self._cells and (not batch or (taken + self._cells[0][1].cost <= most and len(batch) < MOST_TOGETHER)):
            key, task = self._cells.popleft()
            batch.append((key, task))
            taken += task.cost
        self.cost = max(0.0, self.cost - taken)
        return batch
