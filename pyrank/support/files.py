"""Files: complete or not there; data as JSON and CSV in full precision; places that can be written to."""

from __future__ import annotations

import csv
import errno
import glob
import io
import json
import math
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyrank.support.errors import invalid

_REMEDIES = {
    errno.ENOSPC: "make room on that disk, or give another place, and run the same again",
    errno.EDQUOT: "make room within your quota, or give another place, and run the same again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), and run the same again",
    errno.ENOENT: "make its folder again, or give another place, and run the same again",
}


class NotWritten(UserWarning):
    """A file could not be written; what it was to hold is still returned or printed."""


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
    """Write a file so that it is never seen half written; return its path.

    Symbolic links are followed. What is no regular file (a pipe, a device) and /dev/stdout are written to as they are.
    """
    content = content.encode() if isinstance(content, str) else content
    if _is_stream(path):
        descriptor = _descriptor(path)
        with path.open("wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
    else:
        replace(path, [content])
    return path


def write_all(contents: Mapping[Path, str | bytes]) -> tuple[tuple[Path, ...], str]:
    """Write as many of these files as can be; return them, and one line on the others, empty if there are none."""
    failed: dict[Path, OSError] = {}
    for path, content in contents.items():
        try:
            write(path, content)
        except OSError as error:
            failed[path] = error
    written = tuple(path for path in contents if path not in failed)
    return written, not_written(failed, next(iter(failed.values()))) if failed else ""


def not_written(paths: Iterable[Path], error: OSError) -> str:
    """Say in one line which files could not be written, why, and what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "give another place, and run the same again")
    names = ", ".join(map(str, paths))
    return f"not written: {names} ({error.strerror or error}); {remedy}"


def replace(path: Path, pieces: Iterable[bytes], keep: Callable[[], object] = lambda: None) -> None:
    """Write a regular file, to the disk and then under its name, which always stands for one that is complete.

    Permissions of a file that is replaced stay. ``keep`` is called just before that.
    """
    path = path.resolve()
    old = path.stat() if path.exists() else None
    if old and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    partial = partial_of(path)
    try:
        with partial.open("wb") as file:
            if old:
                with suppress(OSError, AttributeError):  # to give a file away takes more rights than to write it
                    os.chown(partial, old.st_uid, old.st_gid)
                partial.chmod(stat.S_IMODE(old.st_mode))
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        keep()
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def partial_of(path: Path) -> Path:
    """Return where this thread writes a file before it takes its name."""
    return Path(f"{path}.{os.getpid()}-{threading.get_ident()}.partial")


def remove_partials_of_the_dead(path: Path) -> None:
    """Delete what processes that were killed while writing a file have left."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        process = partial.name.removesuffix(".partial").rpartition(".")[2].partition("-")[0]
        try:
            os.kill(int(process), 0)  # signal 0 only asks whether the process exists
        except (ProcessLookupError, ValueError):
            partial.unlink(missing_ok=True)
        except PermissionError:
            continue


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
    """Raise ArgumentError unless `write` can write at ``path``; leaves nothing there."""
    wanted, remedy = "a file that can be written to", "give another file"
    if path.is_dir():
        raise invalid(argument, str(path), "a file, not a folder", "add the name of a file")
    try:
        if _is_stream(path):
            mode = path.stat().st_mode
            if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or _descriptor(path) is not None):
                raise invalid(argument, str(path), "a file, pipe or character device", remedy)
        else:
            target = path.resolve()
            if not target.parent.is_dir():
                raise invalid(argument, str(path), "a file in an existing folder", f"create {target.parent} first")
            partial_of(target).touch()
            partial_of(target).unlink()
            remove_partials_of_the_dead(target)
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        reason = error.strerror if isinstance(error, OSError) else error
        raise invalid(argument, str(path), f"{wanted} ({reason})", remedy) from error
    if path.exists() and not os.access(path, os.W_OK):
        raise invalid(argument, str(path), f"{wanted} (write-protected)", remedy)


def _is_stream(path: Path) -> bool:
    """Tell whether a file is written through: all that is there but is no regular file, and open descriptors."""
    return (path.exists() and not path.is_file()) or _descriptor(path) is not None


def _descriptor(path: Path) -> int | None:
    """Return the N of /dev/fd/N and of links to it, such as /dev/stdout: a file that is open already."""
    for _ in range(40):  # links may lead in a circle
        folder = os.path.realpath(path.parent)
        if folder in ("/dev/fd", f"/proc/{os.getpid()}/fd") and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            break
        path = Path(folder, path.readlink())
    return None


def _sync_folder(folder: Path) -> None:
    """Make the renames survive a power cut, where a folder can be synchronised."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
