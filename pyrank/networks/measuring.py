"""Hidden matrices become numbers as soon as a layer returns them: small ones by the compiled kernels, others by torch.

A large matrix, as in convolutions, or one on a GPU, becomes its second moments piece by piece, so that it is never
copied as a whole. A small one is read by the kernels, as it lies where its layer returned it row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]

from pyrank.engine import native
from pyrank.networks.measures import NetworkMeasure
from pyrank.networks.moments import FROM_MOMENTS, SAFE, mean_of, rounding, spectrum_of, working
from pyrank.networks.tally import Cell
from pyrank.reference.snapshots import snapshot
from pyrank.specs.measures import Measure
from pyrank.support.ambient import unmoved
from pyrank.support.errors import ArgumentError

SMALL = 2**18
"""Numbers of a matrix that the kernels are given as a whole."""

SHAPES = 256
"""Shapes of which kernels are kept ready."""


class Measuring:
    """Takes matrices, and hands their measures to cells."""

    def __init__(self, measures: tuple[NetworkMeasure, ...], centre: bool) -> None:
        self.measures, self.centre = measures, centre
        self.moments = tuple(what for what in measures if what.name in FROM_MOMENTS)
        self.others = tuple(what for what in measures if what.name not in FROM_MOMENTS)
        kernels = tuple(what for what in self.moments if isinstance(what, Measure))
        self.by_kernel = kernels == measures and not native.why_missing()
        self._asked = (Measure("trace"), *kernels)
        self._kernels: dict[tuple[torch.Size, torch.dtype], Callable[[Any], list[float]]] = {}

    def took(self, output: Any, cell: Cell, when: int) -> bool:
        """Measure what a layer returned, if it is of a shape and precision that was measured before; most are.

        It is the short way of `take`: with caches full of a network each question to a tensor costs a microsecond.
        """
        if type(output) is not Tensor or self.centre:
            return False
        try:
            shape, dtype = output.shape, output.dtype
            kernel = self._kernels.get((shape, dtype))
            found = kernel and not is_functorch_wrapped_tensor(output) and kernel(to_dlpack(output))
        except (RuntimeError, BufferError):  # nested, sparse, on the meta device
            return False
        if not found or not 1 / SAFE[dtype] < found[0] < SAFE[dtype]:
            return False
        cell.saw(shape, when)
        cell.push(found[1:], False)
        return True

    @unmoved
    def take(self, X: Tensor, cell: Cell) -> None:
        """Measure a matrix (samples, features) or (items, places, features)."""
        mean = mean_of(X) if self.centre else None
        if self.by_kernel and X.is_cpu and X.numel() <= SMALL:
            size, values = self._by_kernel(X, mean)
        else:
            size, values = self._by_torch(X, mean)
        cell.push(values, mean is not None and size < float(rounding(mean, X.dtype)))

    def _by_kernel(self, X: Tensor, mean: Tensor | None) -> tuple[float, list[float]]:
        H = (X if mean is None else X - mean).to(working(X.dtype)).contiguous()
        if type(H) is not Tensor:  # some kinds have their numbers elsewhere
            H = torch.empty(H.shape, dtype=H.dtype, device=H.device).copy_(H)
        found = self._kernel(H)(to_dlpack(H))
        if not found or not 1 / SAFE[H.dtype] < found[0] < SAFE[H.dtype]:
            return self._by_torch(X, mean)
        return found[0], found[1:]

    def _kernel(self, H: Tensor) -> Callable[[Any], list[float]]:
        kernel = self._kernels.get((H.shape, H.dtype))
        if kernel is None:
            if len(self._kernels) >= SHAPES:
                self._kernels.clear()
            samples, features = H.numel() // H.shape[-1], H.shape[-1]
            kernel = self._kernels[H.shape, H.dtype] = native.measurement(samples, features, H.dtype, self._asked)
        return kernel

    def _by_torch(self, X: Tensor, mean: Tensor | None) -> tuple[float, list[float]]:
        """Return Tr M, if that is needed, and the measures of a matrix less a mean sample."""
        size = 0.0
        found: dict[NetworkMeasure, float] = {}
        if self.moments or mean is not None:
            spectrum = spectrum_of(X, self.moments, mean)
            size, found = spectrum.size, {what: spectrum.value(what) for what in self.moments}
        if self.others:
            H = X.reshape(1, -1, X.shape[-1]).mT
            H = (H if mean is None else H - mean[:, None]).to(working(X.dtype))
            found |= {what: _other(H, what) for what in self.others if isinstance(what, Measure)}
        return size, [found[what] for what in self.measures]


def _other(H: Tensor, what: Measure) -> float:
    """Return a measure that takes the matrix itself, (1, d, N); NaN where it has none, as an outlier among one."""
    try:
        return float(snapshot(H, what))
    except FloatingPointError:
        return math.nan
    except ArgumentError:
        if what.function is not None:
            raise
        return math.nan
