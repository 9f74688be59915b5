"""Who is timed: pyrank, and each way a competent user would write the same loop with another library today."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cases import Case
from numpy.typing import NDArray

Array = NDArray[np.floating]
Layer = Callable[[Array, Array], tuple[Array, Array]]
Loop = Callable[[int], tuple[Array, Array]]

PYRANK = "pyrank"
SEED = 2020


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
        means over layers (chains, measures).
    """

    name: str
    chains: int
    layer: Layer | None
    run: Loop


@dataclass(frozen=True)
class Missing:
    """A contender that cannot run here, and why."""

    name: str
    reason: str


_MODULES = {
    PYRANK: "compiled",
    "numpy": "numpy_loop",
    "numpy batched": "numpy_loop",
    "torch": "torch_loop",
    "torch batched": "torch_loop",
    "torch compiled": "torch_loop",
    "jax": "jax_loop",
    "jax vmap": "jax_loop",
}
NAMES = tuple(_MODULES)
SLOW_TO_BUILD = ("torch compiled",)


def names(case: Case, compiled: bool = False) -> tuple[str, ...]:
    """Return the contenders of a case: one chain alone cannot be batched."""
    single = (PYRANK, "numpy", "torch", "jax")
    chosen = NAMES if case.chains > 1 else single
    return tuple(name for name in chosen if compiled or name not in SLOW_TO_BUILD)


def chains_together(case: Case, name: str) -> int:
    """Return how many chains a contender advances at once.

    The job is ``case.chains`` chains. Batched peers may take more of them where that spreads their overhead further;
    from width 64 on a larger batch of states and weights leaves the cache and makes them slower.
    """
    if name in ("numpy", "torch", "jax"):
        return 1
    if name == PYRANK or case.width > 32:
        return case.chains
    return max(case.chains, 256 if case.width <= 16 else 64)


def build(case: Case, name: str) -> Contender | Missing:
    """Return a contender ready to run the case, or why it cannot."""
    try:
        module = importlib.import_module(f"contenders.{_MODULES[name]}")
        layer, run = module.build(case, name, chains_together(case, name))
    except ImportError as error:
        if name == PYRANK:
            raise
        return Missing(name, str(error))
    return Contender(name, chains_together(case, name), layer, run)
