"""Which backend advances a chain, and why."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrank import native, reference
from pyrank.chain import Chain
from pyrank.errors import as_choice, as_integer, invalid
from pyrank.estimate import Accumulator
from pyrank.plan import Plan

NAMES = ("auto", "cpu", "reference")
_ALL_CORES = "leave it out to use all cores"

if hasattr(os, "register_at_fork"):
    # The threads that torch computes with do not survive a fork: a child that asked them would wait for ever.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

Advance = Callable[[Plan, Tensor, int, int, Accumulator, NDArray[np.int64]], None]


@dataclass(frozen=True)
class Backend:
    """A way to advance chains; runs of the same identity agree to the last bit."""

    name: str
    identity: str
    reason: str
    state_dtype: torch.dtype
    advance: Advance


def choose(chain: Chain, device: str = "cpu", backend: str = "auto", threads: int | None = None) -> Backend:
    """Return the backend for a chain.

    Parameters
    ----------
    chain
        The specification.
    device
        ``"cpu"``; kernels for CUDA are not part of this version.
    backend
        ``"auto"``, ``"cpu"`` (compiled) or ``"reference"`` (pure torch, float64).
    threads
        Threads of the compiled backend; all cores if not given.

    Raises
    ------
    ArgumentError
        If a name is unknown, the device is not supported, or the number of threads is not from 1 to 4096.
    ImportError
        If ``"cpu"`` is asked for and the extension is missing.
    """
    as_choice("backend", backend, NAMES)
    threads = torch.get_num_threads() if threads is None else as_integer("threads", threads, 1, 4096, _ALL_CORES)
    if str(device) != "cpu":
        raise invalid("device", device, "'cpu'", "this version has no kernels for other devices")
    if backend == "reference":
        return Backend("reference", "reference", "asked for: pure torch in float64", torch.float64, reference.advance)
    if missing := native.why_missing():
        if backend == "cpu":
            raise ImportError(missing)
        return Backend(
            "reference", "reference", f"{missing}; pure torch in float64 instead", torch.float64, reference.advance
        )
    isa = native.isa_in_use()
    reason = f"compiled kernels for {isa}, {threads} thread{'s' if threads > 1 else ''}"
    advance = functools.partial(native.advance, threads=threads, isa=isa)
    return Backend("cpu", f"cpu {isa}", reason, getattr(torch, chain.dtype), advance)
