"""What a long computation owes the person who waits: a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self


@contextmanager
def report_to(
    progress: bool | Callable[[int], object] | None, depth: int, done: int
) -> Iterator[Callable[[int], object]]:
    """Yield the function to call after each step with its number of layers.

    ``progress`` is that function, or says whether to show a bar; None shows one on a terminal.
    """
    if callable(progress):
        progress(done)
        yield progress
        return
    with bar(progress, total=depth, initial=done, unit=" layers", unit_scale=True) as shown:
        yield shown.update


def bar(progress: bool | None, **look: Any) -> Any:
    """Return a bar of tqdm, shown only on a terminal if not told; one that is never seen is no bar of tqdm."""
    if not (sys.stderr.isatty() if progress is None else progress):
        return _Unseen()
    try:
        from tqdm import tqdm
    except ImportError:
        return _Unseen()
    return tqdm(dynamic_ncols=True, **look)


def percent_bar(progress: bool | None) -> Any:
    """Return a bar from 0 to 100, gone at its end within another."""
    look = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}, {rate_fmt}"
    return bar(progress, total=100, unit="%", bar_format=look, leave=None)


def count_bar(total: int, progress: bool | None) -> Any:
    """Return a bar over whole things, such as experiments."""
    return bar(progress, total=total, bar_format="{desc} {n}/{total}|{bar}| {elapsed}", leave=None)


class _Unseen:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, steps: float = 1) -> None:
        pass

    def set_description(self, text: str) -> None:
        pass
