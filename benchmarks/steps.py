"""Programs that may fail or take too long, and what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BEAT = 2.0
"""Seconds between two looks at a program."""

TAIL = 12
"""Lines of a failed program's output that are shown."""


@dataclass(frozen=True)
class Finished:
    """How a program ended; ``code`` is None if it had to be stopped."""

    code: int | None
    seconds: float
    output: str

    @property
    def tail(self) -> str:
        """Return the last lines it wrote."""
        return "\n".join(self.output.rstrip().splitlines()[-TAIL:])


@dataclass(frozen=True)
class Outcome:
    """What became of a step, and why.

    ``passed`` or ``failed``; ``absent`` if it cannot be done here; ``not run``; ``stopped`` if it went well as long
    as there was time.
    """

    name: str
    verdict: str
    seconds: float
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def write(path: Path, text: str) -> None:
    """Write a file at once: who is stopped in the middle leaves the one before."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def run(
    command: Sequence[str | Path], limit: float, log: Path, cwd: Path, environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Finished:  # fmt: skip
    """Run a program and its children for at most ``limit`` seconds, with all of its output in a file.

    ``meanwhile`` is called every two seconds.
    """
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        program = subprocess.Popen(  # noqa: S603
            [str(part) for part in command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        code = None
        try:
            while code is None and (left := began + limit - time.monotonic()) > 0:
                with suppress(subprocess.TimeoutExpired):
                    code = program.wait(timeout=min(left, BEAT))
                meanwhile()
        finally:
            _end(program)
    return Finished(code, time.monotonic() - began, log.read_text(encoding="utf-8", errors="replace"))


def _end(program: subprocess.Popen[bytes]) -> None:
    """Stop what is left of a program's session; its number stays taken until it has been waited for.

    Groups of processes are not enough: ninja gives every compiler one of its own.
    """
    if program.returncode is None:
        for number in sorted(int(entry.name) for entry in Path("/proc").glob("[0-9]*")):
            with suppress(OSError):
                if os.getsid(number) == program.pid:
                    os.kill(number, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # a driver may keep a program for ever
            program.wait(timeout=5 * BEAT)


def stopped(finished: Finished, limit: float) -> str:
    """Return how a program failed, in one line and the last lines of its output."""
    how = f"stopped after {limit:.0f} s" if finished.code is None else f"ended with status {finished.code}"
    return f"{how}:\n{finished.tail}" if finished.tail else how
