"""Files: complete or not there; data as JSON and CSV in full precision; places that can be written to."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrank.support.errors import invalid


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
