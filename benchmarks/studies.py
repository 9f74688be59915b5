"""What a study costs beside its cells: small cells, medium ones, and a folder of 10,000 that are done.

`python benchmarks/studies.py [--cells 10000]` prints a table, one goal a line; about two minutes on two free cores.

Ratios are to the cells' own seconds, as their workers took them. A case is timed only if two processes give what one
gives, bit by bit.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyrank import Study, grid
from pyrank.studies.values import pack
from pyrank.support.text import text_table

WORKERS = 2
SMALL = {"width": 8, "depth": 1000, "chains": 16}
SMALL_RATE, MEDIUM_RATIO = 450, 1.15
OPEN, TABLE, NOTHING, GROWTH, BYTES = 0.3, 2.0, 1.0, 30.0, 2048


def touch(x: int) -> dict[str, dict[str, float]]:
    """Return at once what looks like a simulation of two measures."""
    numbers = {"mean": x / 3, "stderr": 0.1 / (x + 1), "ess": 1e3 / 7, "rhat": 1.01, "std": 0.5, "min": 0.0, "max": 4.0}
    return {"participation_ratio": numbers, "soft_rank(0.5)": numbers}


def rest(x: int, seconds: float) -> int:
    """Take some seconds."""
    time.sleep(seconds)
    return x


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def gate(folder: Path) -> None:
    """Stop unless two processes give the bits of one; their start is not timed after that."""
    cells = grid(**SMALL, seed=range(8))
    one, two = Study(folder / "one", cells), Study(folder / "two", cells)
    one.run()
    two.run(workers=WORKERS)
    if [pack(found) for found in one.results()] != [pack(found) for found in two.results()]:
        sys.exit("two processes do not give what one gives")


def rate(folder: Path, cells: int) -> Iterator[tuple[str, str, str]]:
    """Yield the goals for small cells and for medium ones, both without the start of the workers."""
    start = timed(lambda: Study(folder / "start", grid(**SMALL, seed=range(2))).run(workers=WORKERS))[0]
    study = Study(folder / "small", grid(**SMALL, seed=range(cells)))
    seconds = timed(lambda: study.run(workers=WORKERS))[0] - start
    yield f"{cells:,} cells of d = 8, cells a second", f"{cells / seconds:.0f}", f"at least {SMALL_RATE}"
    medium = Study(folder / "medium", grid(task=rest, x=range(cells // 10), seconds=0.2))
    seconds = timed(lambda: medium.run(workers=WORKERS))[0] - start
    ratio = seconds / (medium.table()["seconds"].sum() / WORKERS)
    yield f"{cells // 10:,} cells of 0.2 s, wall / (sum / {WORKERS})", f"{ratio:.3f}", f"at most {MEDIUM_RATIO}"


def folder_of_many(folder: Path, cells: int) -> Iterator[tuple[str, str, str]]:
    """Yield the goals for a folder in which many cells are done."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    study = Study(folder / "many", grid(task=touch, x=range(cells)))
    study.run(workers=WORKERS)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    yield f"{cells:,} cells, growth of the driver, MiB", f"{growth:.1f}", f"under {GROWTH:g}"
    seconds, again = timed(lambda: _opened(folder / "many", cells))
    yield "open and status, s", f"{seconds:.3f}", f"under {OPEN}"
    yield "table, s", f"{timed(again.table)[0]:.3f}", f"under {TABLE}"
    yield "run with nothing to do, s", f"{timed(again.run)[0]:.3f}", f"under {NOTHING}"


def _opened(folder: Path, cells: int) -> Study:
    study = Study(folder, grid(task=touch, x=range(cells)))
    study.status()
    return study


def size(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the goal for the size of the store of small cells."""
    file, cells = folder / "small/study.sqlite", len(Study(folder / "small"))
    yield "bytes a cell", f"{file.stat().st_size / cells:.0f}", f"at most {BYTES}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000, help="in the folder of many (default: 10,000)")
    parser.add_argument("--small", type=int, default=2_000, help="small cells (default: 2,000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gate(folder)
        lines = [*rate(folder, arguments.small), *size(folder), *folder_of_many(folder, arguments.cells)]
    print(text_table(("what", "measured", "goal"), lines))


if __name__ == "__main__":
    main()
