"""Values as text and bytes: arguments, of which the text is the identity, and results, which come back exactly.

Both are JSON, so that they can be read without pyrank. What JSON has no word for is an object with one name that begins
with $: ``{"$float": "inf"}``, ``{"$tuple": [...]}``, ``{"$array": 0}`` (the number of an array in the npz file beside).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMERIC = "biufc"
"""Kinds of arrays that are kept: booleans, integers, floats and complex numbers."""


class UnwritableError(TypeError):
    """A value is none of those that can be kept."""


def argument_text(value: object) -> str:
    """Write an argument so that two texts are equal where the values are; arrays are told by their digest.

    Raises
    ------
    UnwritableError
        If it is no number, text, array or function of a module, nor a list, dict or dataclass of such.
    """
    return _dumps(_plain(value, _digest, identity=True), sort=True)


def pack(result: object) -> tuple[str, bytes | None]:
    """Return a result as JSON, and its arrays as an npz file, None if there are none.

    Tensors become arrays, dataclasses dicts of their fields.

    Raises
    ------
    UnwritableError
        If it holds what is no number, text, array, list, tuple, dict or dataclass.
    """
    arrays: list[NDArray[Any]] = []

    def put(array: NDArray[Any]) -> object:
        arrays.append(array)
        return {"$array": len(arrays) - 1}

    text = _dumps(_plain(result, put, identity=False), sort=False)
    if not arrays:
        return text, None
    file = io.BytesIO()
    named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
    np.savez_compressed(file, **named)
    return text, file.getvalue()


def unpack(text: str, packed: bytes | None) -> Any:
    """Return the result that `pack` has written."""
    if packed is None:
        return _restored(json.loads(text), {})
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return _restored(json.loads(text), arrays)


def name_of(function: Callable[..., Any]) -> str:
    """Return ``module:name`` of a function that a worker can find there.

    Raises
    ------
    UnwritableError
        If it is a lambda, was made inside of another function, or has no name.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not callable(function) or not module or not name or "<" in name:
        raise UnwritableError(f"{function!r} is no function at the top of a module")
    return f"{module}:{name}"


def _dumps(plain: object, *, sort: bool) -> str:
    return json.dumps(plain, sort_keys=sort, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any, put: Callable[[NDArray[Any]], object], *, identity: bool) -> object:
    """Return what JSON can express; arguments are told apart by more than results, but tuples are lists there."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | np.integer | np.bool_):
        return value.item() if isinstance(value, np.generic) else int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else {"$float": repr(number)}
    if isinstance(value, Mapping):
        return _plain_mapping(value, put, identity)
    if isinstance(value, list | tuple | range):
        plain = [_plain(each, put, identity=identity) for each in value]
        return {"$tuple": plain} if isinstance(value, tuple) and not identity else plain
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: getattr(value, field.name) for field in fields(value)}
        plain_fields = {name: _plain(each, put, identity=identity) for name, each in content.items()}
        return {f"${name_of(type(value))}": plain_fields} if identity else plain_fields
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind in NUMERIC:
        return put(value)
    if identity and callable(value):
        return {"$function": name_of(value)}
    raise UnwritableError(f"{type(value).__name__} is no number, text, array, list, dict or dataclass")


def _plain_mapping(value: Mapping[Any, Any], put: Callable[[NDArray[Any]], object], identity: bool) -> object:
    for name in value:
        if not isinstance(name, str) or name.startswith("$"):
            raise UnwritableError(f"{name!r} is no name: a text that does not begin with $")
    return {name: _plain(each, put, identity=identity) for name, each in value.items()}


def _digest(array: NDArray[Any]) -> object:
    little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.sha256(little.tobytes()).hexdigest()
    return {"$array": [little.dtype.str, list(array.shape), digest]}


def _restored(plain: Any, arrays: Any) -> Any:
    if isinstance(plain, list):
        return [_restored(each, arrays) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if "$float" in plain:
        return float(plain["$float"])
    if "$tuple" in plain:
        return tuple(_restored(each, arrays) for each in plain["$tuple"])
    if "$array" in plain:
        return arrays[str(plain["$array"])]
    return {name: _restored(each, arrays) for name, each in plain.items()}
