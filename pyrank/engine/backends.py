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

from pyrank import reference
from pyrank.engine import gpus, native
from pyrank.engine.initial import Normals
from pyrank.estimate import Accumulator
from pyrank.reference.stream import initial_normals
from pyrank.specs.chain import Chain
from pyrank.specs.plan import Plan
from pyrank.support.errors import as_choice, as_integer, invalid

NAMES = ("auto", "cpu", "cuda", "reference")
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
    normals: Normals
    call_seconds: float = 0.2
    """Aim of one call: long enough to cost nothing, short enough to interrupt."""


def choose(chain: Chain, device: str = "cpu", backend: str = "auto", threads: int | None = None) -> Backend:
    """Return the backend for a chain.

    Parameters
    ----------
    chain
        The specification.
    device
        ``"cpu"``, ``"cuda"`` (all GPUs that this build has kernels for share the chains) or ``"cuda:1"`` (that one).
    backend
        ``"auto"``, ``"cpu"`` and ``"cuda"`` (compiled) or ``"reference"`` (pure torch, float64, on the CPU). ``"cuda"``
        uses all GPUs unless ``device`` names one.
    threads
        Threads of the compiled backend for the CPU; all cores if not given.

    Raises
    ------
    ArgumentError
        If a name is unknown, the device is not there or does not fit the backend, the kernels for CUDA do not have
        what the chain asks for, or the number of threads is not from 1 to 4096.
    ImportError
        If ``"cpu"`` is asked for and the extension is missing.
    """
    as_choice("backend", backend, NAMES)
    threads = torch.get_num_threads() if threads is None else as_integer("threads", threads, 1, 4096, _ALL_CORES)
    if str(device) != "cpu" or backend == "cuda":
        return _on_gpus(chain, str(device), backend)
    if backend == "reference":
        return _reference("asked for: pure torch in float64")
    if missing := native.why_missing():
        if backend == "cpu":
            raise ImportError(missing)
        return _reference(f"{missing}; pure torch in float64 instead")
    isa = native.isa_in_use()
    reason = f"compiled kernels for {isa}, {threads} thread{'s' if threads > 1 else ''}"
    advance = functools.partial(native.advance, threads=threads, isa=isa)
    normals = functools.partial(native.initial_normals, isa=isa)
    return Backend("cpu", f"cpu {isa}", reason, getattr(torch, chain.dtype), advance, normals)


def _reference(reason: str) -> Backend:
    return Backend("reference", "reference", reason, torch.float64, reference.advance, initial_normals)


def _on_gpus(chain: Chain, device: str, backend: str) -> Backend:
    found = gpus.chosen(device, backend)
    _check_has_kernel(chain)
    numbers = tuple(found)
    kernel = native.cuda_kernel(chain, numbers)
    where = ", ".join(f"{gpu.name} (cuda:{number})" for number, gpu in found.items())
    reason = f"compiled {native.ABOUT_CUDA_KERNELS[kernel]} for CUDA on {where}"
    advance = functools.partial(native.advance, gpus=numbers, cuda_kernel=kernel)
    # With every call the state and the record go to the GPU and back.
    dtype, normals = getattr(torch, chain.dtype), native.initial_normals
    return Backend("cuda", f"cuda {kernel}", reason, dtype, advance, normals, call_seconds=0.8)


def _check_has_kernel(chain: Chain) -> None:
    """Refuse what the kernels for CUDA do not do."""
    if chain.weights.law in ("orthogonal", "gram"):
        raise invalid("weights", chain.weights.law, "gaussian, uniform or rademacher on a GPU", "use device='cpu'")
    if chain.normalization.whiten:
        raise invalid("normalization", "whiten", "no whitening on a GPU", "use device='cpu'")
    if (chain.width + 1) * (chain.batch + 1) >= 2**31:
        wanted = "fewer than 2^31 entries in a state on a GPU"
        raise invalid("(width, batch)", (chain.width, chain.batch), wanted, "use device='cpu'")
