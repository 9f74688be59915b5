"""Ctrl-C and SIGTERM, by which batch systems and containers stop a process: both ask to end, and are heard alike.

A computation that can end between two calls listens with `deferred`. The command line lets signals raise in all that it
does, with `raised`; there a second one ends the process at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ECHO = 0.5
"""Seconds within which another signal is the same wish: `timeout` sends it to the process and again to its group."""

_current: Listener | None = None


class Stopped(KeyboardInterrupt):
    """A signal asked to end.

    Attributes
    ----------
    signal : int
        Its number.
    unsaved : str
        What could not be saved before the end, in one line; empty if nothing.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT, unsaved: str = "") -> None:
        super().__init__(message, int(number), unsaved)
        self.signal, self.unsaved = int(number), unsaved

    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def after(cls, stop: KeyboardInterrupt, where: str) -> Stopped:
        """Return what to raise from ``stop`` to say where it happened and how to go on."""
        unsaved = getattr(stop, "unsaved", "")
        return Stopped(f"{where}; {unsaved}" if unsaved else where, number_of(stop), unsaved)


def number_of(stop: KeyboardInterrupt) -> int:
    """Return the number of the signal behind an interruption; a shell expects 128 more as the exit status."""
    return stop.signal if isinstance(stop, Stopped) else int(signal.SIGINT)


class Listener:
    """Hears the signals that ask to end.

    Attributes
    ----------
    signal : int or None
        The first that came.
    """

    def __init__(self, again: Callable[[Listener, int], None]) -> None:
        self.signal: int | None = None
        self.deferring = False
        self._again, self._since = again, 0.0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take Ctrl-C, and SIGTERM unless the program handles or ignores that in a way of its own."""
        numbers = [signal.SIGINT, *([signal.SIGTERM] if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else [])]
        for number in numbers:
            if (before := signal.getsignal(number)) is not None:  # None: set from C, and could not be restored
                self._before[number] = before
                signal.signal(number, self._hear)

    def restore(self) -> None:
        """Bring back what was there before."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, _frame: object) -> None:
        if self.signal is None:
            self.signal, self._since = number, time.monotonic()
            if not self.deferring:
                raise Stopped(number=number)
        elif time.monotonic() - self._since > ECHO:
            self._again(self, number)


@contextmanager
def deferred() -> Iterator[Listener]:
    """Turn signals into ``listener.signal``, so that they take effect between two calls, never inside one.

    A second one does what it would do outside. In threads other than the main one, where Python hears none, nothing is
    changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Listener(_hand_on)
        return
    with _listening(_hand_on) as listener:
        outer, listener.deferring = listener.deferring, True
        try:
            yield listener
        finally:
            listener.deferring = outer


@contextmanager
def raised() -> Iterator[None]:
    """Let SIGTERM raise as Ctrl-C does; a second signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _listening(_end), _watched():
        yield


@contextmanager
def _listening(again: Callable[[Listener, int], None]) -> Iterator[Listener]:
    """Yield the listener of the process, a new one if there is none."""
    global _current
    if _current is not None:
        yield _current
        return
    _current = listener = Listener(again)
    listener.install()
    try:
        yield listener
    finally:
        listener.restore()
        _current = None


def _hand_on(listener: Listener, number: int) -> None:
    listener.restore()
    signal.raise_signal(number)


def _end(_listener: object, number: int) -> None:
    os._exit(128 + number)


@contextmanager
def _watched() -> Iterator[None]:
    """End the process at a second signal inside of a compiled call, too, for whose end Python's own handlers wait."""
    if os.name == "nt":
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reader,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writer, b"\0")  # no signal has this number
        thread.join()
        os.close(writer)
        os.close(reader)


def _watch(reader: int) -> None:
    since = None
    while 0 not in (numbers := os.read(reader, 64)):
        for number in {signal.SIGINT, signal.SIGTERM}.intersection(numbers):
            since = since or time.monotonic()
            if time.monotonic() - since > ECHO:
                _end(None, number)


def _forget_in_child() -> None:
    """Let a forked child, whose signals are not for its parent, be stopped as if nothing listened."""
    global _current
    if _current is not None:
        _current.restore()
        signal.set_wakeup_fd(-1)
        _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
