"""Files of data: packed or not, whole or refused in one line."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from pyrank.support.errors import ArgumentError

MOST = 1 << 28
"""Bytes that no file here exceeds, so that a damaged or hostile one costs no more memory."""

_GZIP = b"\x1f\x8b"


class DataError(ArgumentError):
    """A file of data cannot be used: its path, and why."""

    def __str__(self) -> str:
        path, why = self.args
        return f"{path} cannot be used: {why}; put the published file in its place, or remove it"


def find(folder: Path, name: str) -> Path | None:
    """Return the file of this name in a folder, packed or not, if there is one."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def contents(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if they are packed, whatever its name.

    Raises
    ------
    DataError
        If it cannot be read or unpacked, or holds more than `MOST` bytes.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(path, f"it cannot be {'unpacked' if path.is_file() else 'read'} ({error})") from error
    if len(data) > MOST:
        raise DataError(path, f"it holds more than {MOST} bytes")
    return data
