"""A run in a checkpoint: a file that is intact may still have been written by something else, and is not believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrank.engine import checkpoint
from pyrank.engine.checkpoint import Arrays, CheckpointError, Header

Array = NDArray[Any]

LONGEST = 2**32
"""Bound on layers and strides."""


def read(path: Path) -> tuple[Header, Arrays]:
    """Return what stands in a checkpoint of a run, with a header that can be used.

    Raises
    ------
    CheckpointError
        If there is no intact checkpoint, or it is not one of a run.
    """
    header, arrays = checkpoint.load(path)
    plan = header.get("plan")
    usable = {
        "plan": isinstance(plan, dict) and isinstance(every := plan.get("every", 1), int) and 0 < every <= LONGEST,
        "layer": _counts(header.get("layer")),
        "seconds": _measures(header.get("seconds")),
        "version": isinstance(header.get("version"), str),
        "backend": isinstance(header.get("backend"), str),
    }
    if wrong := [name for name, fits in usable.items() if not fits]:
        raise _refused(path, ", ".join(f"{name} is {'wrong' if name in header else 'missing'}" for name in wrong))
    return header, arrays


def state_of(path: Path, arrays: Arrays, shape: tuple[int, ...]) -> Array:
    """Return the state (chains, d, N), in the precision in which it was saved, or raise CheckpointError."""
    state = arrays.get("state", np.array(0))
    dtype = state.dtype if state.dtype in (np.float32, np.float64) else np.float64
    matching(path, arrays, {"state": np.broadcast_to(np.zeros((), dtype), shape)})
    if not np.isfinite(state).all():
        raise _refused(path, "state is not finite")
    return state


def matching(path: Path, arrays: Mapping[str, Array], wanted: Mapping[str, Array], prefix: str = "") -> Arrays:
    """Return the arrays called ``prefix + name`` that have the types and shapes of ``wanted``, by name.

    Raises
    ------
    CheckpointError
        If one is missing or another one.
    """
    found = {}
    for name, like in wanted.items():
        array = arrays.get(prefix + name)
        if array is None:
            raise _refused(path, f"{prefix}{name} is missing")
        if array.dtype != like.dtype or array.shape != like.shape:
            given, expected = f"{array.dtype} {array.shape}", f"{like.dtype} {like.shape}"
            raise _refused(path, f"{prefix}{name} is {given}, not {expected}")
        found[name] = array
    if "rank_index" in wanted and not np.array_equal(found["rank_index"], wanted["rank_index"]):
        raise _refused(path, f"{prefix}rank_index is wrong")
    return found


def _counts(number: object) -> bool:
    return type(number) is int and 0 <= number <= LONGEST


def _measures(number: object) -> bool:
    return type(number) in (int, float) and 0 <= number < np.inf  # type: ignore[operator]


def _refused(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is intact but holds no simulation that can go on ({why}); choose another file")
