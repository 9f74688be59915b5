"""Checkpoints: a file that is either exactly what was saved or known to be bad.

Layout: magic, format version (4 bytes), length of the header (8 bytes), header (JSON), the bytes of the arrays in the
order of the header, SHA-256 of everything before. Numbers are little-endian. Nothing is ever unpickled.

The last but one checkpoint stays beside the current one as ``<name>.previous``. A save writes a file of its own,
``<name>.<process>-<thread>.partial``, then renames: whenever it is interrupted, at least one complete file remains.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrank.support import files
from pyrank.support.errors import invalid

Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

MAGIC = b"\x89PYRANK\n"
VERSION = 1
_PREFIX = struct.Struct("<8sIQ")
_DIGEST_SIZE = hashlib.sha256().digest_size
_DTYPES = frozenset(
    ["|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"],
)
_REMEDY = "delete it and its .previous to start again, or give another path"


class CheckpointError(RuntimeError):
    """No intact checkpoint can be read."""


def exists(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a checkpoint at ``path``, be it only the previous one."""
    current, previous = _places(path)
    return current.exists() or previous.exists()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise ArgumentError unless a checkpoint can be written at ``path``; nothing is left there."""
    for place in _places(path):
        if place.exists() and not place.is_file():
            raise invalid("checkpoint", str(path), f"a file, but {place} is not one", "give the path of a file")
    files.check_file("checkpoint", Path(path))


def save(path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint; an intact current one becomes the previous one.

    Parameters
    ----------
    path : path-like
        The file; a symbolic link is followed.
    header : mapping
        Anything that JSON can express.
    arrays : mapping of str to ndarray
        Arrays of booleans, integers, floats or complex numbers, of any shape.

    Raises
    ------
    TypeError
        If the header or an array cannot be stored.
    OSError
        If the file cannot be written; the existing checkpoints are untouched then.
    """
    current, previous = _places(path)

    def keep() -> None:
        if _is_intact(current):  # a damaged one must not displace a good previous one
            _keep_as_previous(current, previous)

    files.replace(current, _sealed(_encode(header, arrays)), keep)


def load(path: str | os.PathLike[str]) -> tuple[Header, Arrays]:
    """Read a checkpoint and verify every byte of it.

    If the current one is missing or damaged and the previous one is intact, that is returned with a UserWarning.

    Returns
    -------
    header : dict
        As saved, tuples being lists.
    arrays : dict of str to ndarray
        Writable copies.

    Raises
    ------
    FileNotFoundError
        If there is neither a current nor a previous checkpoint.
    CheckpointError
        If none is intact.
    """
    current, previous = _places(path)
    if not exists(path):
        raise FileNotFoundError(f"no checkpoint at {current}")
    try:
        return _read(current)
    except (CheckpointError, FileNotFoundError) as error:
        damage = str(error) if isinstance(error, CheckpointError) else f"{current} is missing"
    try:
        content = _read(previous)
    except FileNotFoundError:
        raise CheckpointError(f"{damage}, and there is no previous checkpoint; {_REMEDY}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{damage}, and {error}; {_REMEDY}") from None
    warnings.warn(f"{damage}; continuing from the previous checkpoint {previous}", UserWarning, stacklevel=2)
    return content


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what differs between two headers, one line an entry, such as "seed: 1 in the checkpoint, 2 asked for".

    Nested mappings are compared entry by entry, tuples equal lists, and a NaN equals a NaN.
    """
    return list(_differences(_as_json(saved), _as_json(wanted), ""))


def _differences(saved: Header, wanted: Header, prefix: str) -> Iterator[str]:
    for key in [*saved, *(key for key in wanted if key not in saved)]:
        name = f"{prefix}{key}"
        if key not in wanted:
            yield f"{name}: {saved[key]!r} in the checkpoint, not asked for"
        elif key not in saved:
            yield f"{name}: not in the checkpoint, {wanted[key]!r} asked for"
        elif isinstance(saved[key], dict) and isinstance(wanted[key], dict):
            yield from _differences(saved[key], wanted[key], f"{name}.")
        elif saved[key] != wanted[key] and json.dumps(saved[key]) != json.dumps(wanted[key]):
            yield f"{name}: {saved[key]!r} in the checkpoint, {wanted[key]!r} asked for"


def _as_json(header: Mapping[str, Any]) -> Header:
    plain: Header = json.loads(json.dumps(dict(header)))
    return plain


def _places(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the places of the current and the previous checkpoint."""
    current = Path(path).resolve()
    return current, Path(f"{current}.previous")


def _keep_as_previous(current: Path, previous: Path) -> None:
    """Give the current file a second name, so that it is there at every moment; rename it where links cannot be."""
    link = files.partial_of(previous)
    try:
        os.link(current, link)
        link.replace(previous)
    except OSError:
        current.replace(previous)
    finally:
        link.unlink(missing_ok=True)


def _sealed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces, and then their digest."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield digest.digest()


def _encode(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes]:
    """Yield the file piece by piece, without the digest."""
    listing, pieces = [], []
    for name, array in arrays.items():
        little = np.asarray(array)
        little = little.astype(little.dtype.newbyteorder("<"), copy=False)
        if little.dtype.str not in _DTYPES:
            raise TypeError(f"array {name!r} of dtype {little.dtype} cannot be stored in a checkpoint")
        listing.append({"name": name, "dtype": little.dtype.str, "shape": list(little.shape)})
        pieces.append(little.tobytes())
    text = json.dumps({"header": dict(header), "arrays": listing}).encode()
    yield _PREFIX.pack(MAGIC, VERSION, len(text))
    yield text
    yield from pieces


def _read(place: Path) -> tuple[Header, Arrays]:
    """Return the content of one file; CheckpointError if it is not intact."""
    content = memoryview(place.read_bytes())
    if len(content) < _PREFIX.size + _DIGEST_SIZE:
        raise CheckpointError(f"{place} is damaged (only {len(content)} bytes)")
    magic, version, text_length = _PREFIX.unpack_from(content)
    if magic != MAGIC:
        raise CheckpointError(f"{place} is damaged or not a pyrank checkpoint")
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{place} is damaged (wrong checksum)")
    if version != VERSION:
        raise CheckpointError(f"{place} has format {version}, this pyrank reads format {VERSION}")
    try:
        return _decode(body[_PREFIX.size :], text_length)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{place} is damaged ({error})") from error


def _decode(body: memoryview, text_length: int) -> tuple[Header, Arrays]:
    content = json.loads(bytes(body[:text_length]))
    header, listing = content["header"], content["arrays"]
    if not isinstance(header, dict):
        raise ValueError("no header")
    arrays: Arrays = {}
    position = text_length
    for entry in listing:
        name, shape = entry["name"], entry["shape"]
        if entry["dtype"] not in _DTYPES:
            raise ValueError(f"dtype {entry['dtype']!r}")
        if not isinstance(name, str) or name in arrays:
            raise ValueError(f"name {name!r}")
        if not (isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)):
            raise ValueError(f"shape {shape!r}")
        dtype = np.dtype(entry["dtype"])
        end = position + math.prod(shape) * dtype.itemsize
        flat = np.frombuffer(body[position:end], dtype=dtype)
        arrays[name] = flat.reshape(shape).astype(dtype.newbyteorder("="))
        position = end
    if position != len(body):
        raise ValueError("wrong length")
    return header, arrays


def _is_intact(place: Path) -> bool:
    try:
        _read(place)
    except (CheckpointError, FileNotFoundError):
        return False
    return True
