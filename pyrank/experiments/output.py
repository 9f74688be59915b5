"""How results are written: numbers with errors, aligned tables, and files that are complete or not there."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrank.errors import invalid


def plus_minus(value: float, error: float) -> str:
    """Write ``value ± error`` with two significant digits of the error: ``7.0412 ± 0.0021``."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def span(values: Iterable[float]) -> str:
    """Write the range of values: ``8 to 4,096``, or ``32`` if they are all equal."""
    distinct = sorted(set(values))
    return " to ".join(f"{value:,}" for value in dict.fromkeys((distinct[0], distinct[-1])))


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: to the right, but the last one to the left."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [cell.rjust(width) for cell, width in zip(line[:-1], widths[:-1], strict=True)] + [line[-1]] for line in lines
    )
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def json_text(data: object) -> str:
    """Write data as strict JSON in full precision; numbers that are not finite become "inf", "-inf" or "nan".

    Arrays become lists.
    """
    return json.dumps(_plain(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows of equal keys as CSV in full precision."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write(path: Path, content: str | bytes) -> Path:
    """Write a file so that it is never seen half written; return its path."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def prepare_folder(argument: str, folder: Path) -> None:
    """Create a folder, or raise ArgumentError if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK | os.X_OK)
        reason = "not writable"
    except OSError as error:
        usable, reason = False, error.strerror or str(error)
    if not usable:
        raise invalid(argument, str(folder), f"a folder that can be written to ({reason})", "give another folder")


def check_file(argument: str, path: Path) -> None:
    """Raise ArgumentError unless a file can be written at ``path``; leaves nothing there."""
    if path.is_dir():
        raise invalid(argument, str(path), "a file, not a folder", "add the name of a file")
    if not path.parent.is_dir():
        raise invalid(argument, str(path), "a file in an existing folder", f"create {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise invalid(argument, str(path), "a file in a folder that can be written to", "give another file")


def _plain(data: Any) -> Any:
    """Return data without arrays, and with what JSON cannot express replaced by strings that ``float`` understands."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if hasattr(data, "tolist"):
        return _plain(data.tolist())
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    return data
