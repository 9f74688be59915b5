"""One writer a file: a lock that says who holds it, and that dies with its holder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pyrank.support.errors import ArgumentError, invalid

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()
"""Descriptors of this process that hold a lock."""


class HeldError(ArgumentError):
    """Another run has the file or folder."""


@contextmanager
def sole_writer(argument: str, path: Path | None) -> Iterator[None]:
    """Have a file, or a folder that exists, for oneself; do nothing for None, or where nothing can be locked.

    The lock is on a hidden file, ``.<name>.lock`` beside a file and ``.pyrank.lock`` in a folder, gone afterwards. One
    that a killed process has left keeps nobody out.

    Raises
    ------
    HeldError
        If another run has it, in this process or another one; says which.
    """
    if path is None or fcntl is None:
        yield
        return
    place = _place(path.resolve())
    descriptor = _lock(argument, path, place)
    try:
        yield
    finally:
        if descriptor in _held:  # not so in a forked child
            if _is_at(descriptor, place):
                with suppress(OSError):
                    place.unlink()  # while it is held, so that nobody can hold a file that is about to go
            _held.discard(descriptor)
            os.close(descriptor)


def _place(path: Path) -> Path:
    return path / ".pyrank.lock" if path.is_dir() else path.with_name(f".{path.name}.lock")


def _lock(argument: str, path: Path, place: Path) -> int:
    """Return the descriptor of the lock, or -1 if there cannot be one."""
    while True:
        try:
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:
            return -1  # why nothing can be written there is told by those who write
        _held.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, place):
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{_this_process()} since {datetime.now():%Y-%m-%d %H:%M:%S}".encode(), 0)
                return descriptor
        except BlockingIOError:
            wanted = f"a place that no other run writes to (held by {_holder(descriptor)})"
            error = HeldError(invalid(argument, str(path), wanted, "wait for its end, or give another place"))
            _release(descriptor)
            raise error from None
        except OSError:  # a file system without locks
            _release(descriptor)
            with suppress(OSError):
                place.unlink()
            return -1
        _release(descriptor)  # its holder has just removed it


def _release(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _is_at(descriptor: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), place.stat())
    except OSError:
        return False


def _this_process() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def _holder(descriptor: int) -> str:
    for _ in range(20):  # it writes who it is just after locking
        if text := os.pread(descriptor, 200, 0).decode(errors="replace"):
            return f"{text}, which is this one" if text.startswith(f"{_this_process()} ") else text
        time.sleep(0.01)
    return "another process"


def _let_go_in_child() -> None:
    """Close what a forked child has inherited, or a lock would outlive its holder."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
