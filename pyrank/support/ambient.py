"""What a program has told torch elsewhere changes no result: autocast, a default device, inference mode.

Those are settings of a thread, and the entries of the package undo them while they work. A default dtype and
deterministic algorithms are settings of the whole process, which other threads see too. They are not touched: the code
names every dtype, and asks for no operation that the second would replace.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_CASTING = tuple(filter(torch.amp.is_autocast_available, ("cpu", "cuda", "mps", "xpu")))


def unmoved(function: Callable[P, R]) -> Callable[P, R]:
    """Return ``function`` with torch around it as it starts, but for whether gradients are tracked: that stays."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():  # all that a graph can hold of it, and all that would move one
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return function(*args, **kwargs)
        inference, casting, placed = _settings()
        if not (inference or casting or placed):
            return function(*args, **kwargs)
        with _undone(inference, casting, placed):
            return function(*args, **kwargs)

    return call


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread, on which a result is the same on every machine.

    Small matrices gain nothing from more, and beside other busy processes the threads of torch wait for each other: an
    SVD takes ten times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _settings() -> tuple[bool, list[str], bool]:
    """Return whether inference mode is on, the devices with autocast, and whether tensors go to another device."""
    casting = [device for device in _CASTING if torch.is_autocast_enabled(device)]
    try:
        placed = torch.empty(0).device.type != "cpu"
    except (RuntimeError, AssertionError):  # that device is not there
        placed = True
    return torch.is_inference_mode_enabled(), casting, placed


@contextmanager
def _undone(inference: bool, casting: list[str], placed: bool) -> Iterator[None]:
    with ExitStack() as stack:
        if inference:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        for device in casting:
            stack.enter_context(torch.autocast(device, enabled=False))
        if placed:
            stack.enter_context(torch.device("cpu"))
        yield
