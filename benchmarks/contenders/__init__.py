"""Who is timed: pyrank, and each way a competent user would write the same loop with another library today."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import Case
from numpy.typing import NDArray

Array = NDArray[np.floating]
Layer = Callable[[Array, Array], tuple[Array, Array]]
Loop = Callable[[int], tuple[Any, Any]]

PYRANK = "pyrank"
SEED = 2020

PATIENCE = 10.0
"""Runs of pyrank on a GPU begin and end in the memory of the host, and find out how many layers to launch at once."""


@dataclass(frozen=True)
class Contender:
    """A library's own form of one case.

    Attributes
    ----------
    chains
        How many chains advance together; a layer of all of them is ``chains`` chain-layers.
    layer
        H (chains, d, N) and W (chains, d, d) to H' and its measures (chains, measures). This is the function that
        ``run`` loops over, open to the equality gate; None where nothing passes that gate.
    run
        A number of layers, from the identity and with fresh weights at each, to the last state (chains, d, N) and the
        means over layers (chains, measures): finished, and left on the device; `on_host` fetches them.
    patience
        How many times as long as the others' a timed run of it lasts, because it does more once a run.
    """

    name: str
    chains: int
    layer: Layer | None
    run: Loop
    patience: float = 1.0


@dataclass(frozen=True)
class Missing:
    """A contender that cannot run here, and why."""

    name: str
    reason: str


class UnfitError(Exception):
    """A library cannot do the case in this form."""


_MODULES = {
    PYRANK: "compiled",
    "numpy": "numpy_loop",
    "numpy batched": "numpy_loop",
    "torch": "torch_loop",
    "torch batched": "torch_loop",
    "torch compiled": "torch_loop",
    "jax": "jax_loop",
    "jax vmap": "jax_loop",
    "torch graph": "torch_graph",
    "cupy": "cupy_loop",
}
NAMES = tuple(_MODULES)
_SINGLE = (PYRANK, "numpy", "torch", "jax")
_BATCHED = (PYRANK, "numpy", "numpy batched", "torch", "torch batched", "torch compiled", "jax", "jax vmap")
_ON_GPU = (PYRANK, "torch batched", "torch graph", "jax vmap", "cupy", "torch compiled")
SLOW_TO_BUILD = ("torch compiled",)


def names(case: Case, compiled: bool = False) -> tuple[str, ...]:
    """Return the contenders of a case: one chain alone cannot be batched, and nobody takes a GPU for one chain."""
    if case.device != "cpu":
        return _ON_GPU
    chosen = _BATCHED if case.chains > 1 else _SINGLE
    return tuple(name for name in chosen if compiled or name not in SLOW_TO_BUILD)


def chains_together(case: Case, name: str) -> int:
    """Return how many chains a contender advances at once.

    The job is ``case.chains`` chains. Batched peers may take more of them where that spreads their overhead further;
    from width 64 on a larger batch of states and weights leaves the cache and makes them slower.
    """
    if name in ("numpy", "torch", "jax"):
        return 1
    if name == PYRANK:
        return case.chains
    if case.device != "cpu":
        return _chains_on_gpu(case, name)
    return case.chains if case.width > 32 else max(case.chains, 256 if case.width <= 16 else 64)


def _chains_on_gpu(case: Case, name: str) -> int:
    """Enough work in each kernel that starting it costs little, as far as the libraries take so many matrices.

    Products fail beyond 65,535 matrices in some versions. Eigenvalues need workspace, and are soon slow: torch
    takes them one matrix after the other beyond width 32, and of large matrices nobody needs many to be busy.
    """
    if case.measures == "rank" and case.width > (32 if name.startswith("torch") else 128):
        return 32
    most = 8192 if case.measures == "rank" else 65_535
    return min(most, max(132, 2**24 // case.width**2))


def build(case: Case, name: str) -> Contender | Missing:
    """Return a contender ready to run the case, or why it cannot."""
    chains = chains_together(case, name)
    try:
        module = importlib.import_module(f"contenders.{_MODULES[name]}")
        layer, run = module.build(case, name, chains)
    except (ImportError, UnfitError) as error:
        if name == PYRANK:
            raise
        return Missing(name, str(error))
    patience = PATIENCE if name == PYRANK and case.device != "cpu" else 1.0
    return Contender(name, chains, layer, run, patience)


def on_host(array: Any) -> Array:
    """Return what a contender left on its device as an array of numpy."""
    if hasattr(array, "get"):  # CuPy
        return array.get()
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)
