"""The commands of `pyrank study`: a TOML file becomes a grid, and a folder its status or table."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrank.support import optional
from pyrank.support.errors import invalid
from pyrank.support.files import check_file, write_all

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pyrank.studies import Study

MOST_FAILURES = 5
"""Cells that have failed are told in as many lines."""

DASK_SECONDS = 10


def run_study(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Run the study that a file describes; return what to print, and whether all cells are done."""
    path = Path(arguments.file)
    values = read_grid(path)
    from pyrank.studies import Study, grid  # with torch, which mistakes in the file do not need

    study = Study(arguments.out or path.with_suffix("").name, grid(**values))
    with _executor(arguments.dask) as executor:
        status = study.run(workers=arguments.workers, executor=executor, retry_failed=arguments.retry_failed)
    return describe(study), status["done"] == len(study)


def show_status(arguments: argparse.Namespace) -> str:
    """Return how many cells of a folder are done, have failed and wait."""
    from pyrank.studies import Study

    return describe(Study(arguments.folder))


def show_table(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return the table of a folder, or where it was written, and what could not be."""
    from pyrank.studies import Study

    if arguments.csv is None:
        return Study(arguments.folder).table().to_string(index=False), ""
    check_file("--csv", Path(arguments.csv))
    text = Study(arguments.folder).table().to_csv(index=False)
    unwritten = write_all({Path(arguments.csv): text})[1]
    return (text.rstrip("\n") if unwritten else f"written: {arguments.csv}"), unwritten


def describe(study: Study) -> str:
    """Return status and failures of a study as text."""
    status = study.status()
    hidden = status.pop("start over", 0)
    lines = [f"{study.folder}: " + ", ".join(f"{count:,} {name}" for name, count in status.items())]
    if hidden:
        lines.append(f"{hidden:,} long cells ran where this folder cannot be seen: those that wait start over")
    failures = study.failures()
    lines += [f"failed: {_point(cell)}: {error}" for cell, error in failures[:MOST_FAILURES]]
    if len(failures) > MOST_FAILURES:
        lines.append(f"failed: {len(failures) - MOST_FAILURES:,} more")
    return "\n".join(lines)


def _point(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in cell.items()) or "the only cell"


def read_grid(path: Path) -> dict[str, Any]:
    """Return the arguments of `pyrank.grid` that a TOML file gives: fixed values at its top, axes under ``[axes]``.

    Raises
    ------
    ArgumentError
        If the file is not there or is no TOML, or gives one name twice, a list above or a single value below.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise invalid("file", str(path), f"a TOML file ({error.strerror})", "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise invalid("file", str(path), f"a TOML file ({error})", "correct it") from None
    axes = content.pop("axes", {})
    if not isinstance(axes, dict):
        raise invalid("axes", axes, "a table", "write [axes], and the axes below it")
    for name, value in content.items():
        if isinstance(value, dict) or (isinstance(value, list) and name != "measures"):
            raise invalid(name, value, "a single value above [axes]", "move it below [axes]")
        if name in axes:
            raise invalid(name, value, "a fixed value or an axis, not both", "remove one of them")
    return content | {name: _axis(name, value) for name, value in axes.items()}


def _axis(name: str, value: Any) -> list[Any]:
    """Return the values of an axis: a list of them, or ``{range = [start, stop, step]}`` as in Python."""
    if isinstance(value, list):
        return [tuple(each) if isinstance(each, list) else each for each in value]
    if isinstance(value, dict) and list(value) == ["range"]:
        with suppress(TypeError, ValueError):
            return list(range(*value["range"]))
    raise invalid(f"axes.{name}", value, "a list", "write [1, 2, 3], or {range = [0, 10]} for 0 to 9")


@contextmanager
def _executor(address: str | None) -> Iterator[Executor | None]:
    """Yield the executor of a Dask scheduler, or None if there is no address."""
    if address is None:
        yield None
        return
    distributed = optional.load("distributed", "--dask")
    try:
        client = distributed.Client(address, timeout=DASK_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        wanted = f"the address of a Dask scheduler that answers ({error})"
        raise invalid("--dask", address, wanted, "write for example tcp://host:8786") from None
    with client:
        yield client.get_executor(pure=False)
