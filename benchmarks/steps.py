"""Programs that may fail or take too long, and what became of them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    """What became of a step: ``passed``, ``failed``, ``absent`` (cannot be done here) or ``not run``, and why."""

    name: str
    verdict: str
    seconds: float
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def run(
    command: Sequence[str | Path], limit: float, log: Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run a program and its children for at most ``limit`` seconds, with all of its output in a file."""
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        program = subprocess.Popen(  # noqa: S603
            [str(part) for part in command], cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = program.wait(timeout=max(limit, 0))
        except subprocess.TimeoutExpired:
            code = None
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
        program.wait()


def stopped(finished: Finished, limit: float) -> str:
    """Return how a program failed, in one line and the last lines of its output."""
    how = f"stopped after {limit:.0f} s" if finished.code is None else f"ended with status {finished.code}"
    return f"{how}:\n{finished.tail}" if finished.tail else how
