"""The progress of a study: cells by number, the remaining time by their predicted cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Self

from pyrank.studies.crew import Event, Part
from pyrank.studies.store import Outcome
from pyrank.studies.task import Task
from pyrank.support.progress import percent_bar


class Shown:
    """A bar, and how many cells have ended."""

    def __init__(self, progress: bool | None, waiting: Mapping[str, Task], total: int) -> None:
        self.ended = self._failed = 0
        self._costs = {key: task.cost for key, task in waiting.items()}
        self._whole = sum(self._costs.values()) or 1.0
        self._earlier, self._total = total - len(waiting), total
        self._parts: dict[str, float] = {}
        self._began = time.monotonic()
        self._bar = percent_bar(progress)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        self._describe()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def tell(self, event: Event) -> None:
        """Take note of what has happened."""
        if isinstance(event, Part):
            self._move(event.key, event.part)
        elif isinstance(event, Outcome):
            self.ended += 1
            self._failed += event.error is not None
            self._move(event.key, 1.0)
            self._parts.pop(event.key)
            self._describe()

    def _move(self, key: str, part: float) -> None:
        before = self._parts.get(key, 0.0)
        self._parts[key] = max(before, part)
        self._bar.update(100.0 * self._costs[key] * (self._parts[key] - before) / self._whole)

    def _describe(self) -> None:
        rate = self.ended / max(time.monotonic() - self._began, 1e-9)
        failed = f", {self._failed:,} failed" if self._failed else ""
        self._bar.set_description(f"{self._earlier + self.ended:,}/{self._total:,} cells{failed}, {rate:.3g}/s")
