"""Hidden matrices become numbers: small ones together at the end of a pass, large ones at once.

A small matrix is copied when its layer returns, which takes microseconds, to a place beside the others of its shape,
and all of one shape are measured by the compiled kernels in one call. A large one, as in convolutions, or one on a GPU,
becomes its second moments at once, piece by piece, so that it is never copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pyrank.engine import native
from pyrank.networks.measures import NetworkMeasure
from pyrank.networks.moments import FROM_MOMENTS, SAFE, mean_of, rounding, spectrum_of, working
from pyrank.networks.tally import Cell
from pyrank.reference.snapshots import snapshot
from pyrank.specs.measures import Measure
from pyrank.support.ambient import unmoved
from pyrank.support.errors import ArgumentError

SMALL = 2**18
"""Numbers of a matrix that is copied and measured later."""

WAITING = 2**21
"""Numbers that wait at most."""

PLACES = 8
"""Places for matrices of one shape at first; twice as many whenever these were too few."""


class Stack:
    """Matrices of one shape side by side, (places, samples, features), and the cell that each one is for."""

    @unmoved
    def __init__(self, X: Tensor, places: int) -> None:
        rows = X.numel() // X.shape[-1]
        self.dtype = X.dtype
        self.room = torch.empty(places, rows, X.shape[-1], dtype=working(X.dtype), device="cpu")
        self.places = self.room.view(places, *X.shape).unbind()
        self.cells: list[Cell] = []
        self.means: list[Tensor] = []

    def add(self, X: Tensor, cell: Cell, centre: bool) -> None:
        """Copy a matrix to the next place."""
        place = self.places[len(self.cells)]
        if centre:
            mean = X.mean(tuple(range(X.ndim - 1)), dtype=place.dtype)
            torch.sub(X, mean, out=place)
            self.means.append(mean)
        else:
            place.copy_(X)
        self.cells.append(cell)

    def empty(self) -> tuple[list[Cell], Tensor, list[float]]:
        """Return cells, their matrices, and the Tr that is rounding in each; the places are free again."""
        cells, means = self.cells, self.means
        self.cells, self.means = [], []
        least = rounding(torch.stack(means), self.dtype).tolist() if means else [0.0] * len(cells)
        return cells, self.room[: len(cells)], least

    @property
    def is_full(self) -> bool:
        """Whether no place is left."""
        return len(self.cells) == len(self.places)


class Measuring:
    """Takes matrices, and hands their measures to cells, at the latest when `finish` is called."""

    def __init__(self, measures: tuple[NetworkMeasure, ...], centre: bool) -> None:
        self.measures, self.centre = measures, centre
        self.moments = tuple(what for what in measures if what.name in FROM_MOMENTS)
        self.others = tuple(what for what in measures if what.name not in FROM_MOMENTS)
        kernels = tuple(what for what in self.moments if isinstance(what, Measure))
        self.by_kernel = kernels == measures and not native.why_missing()
        self._asked = (Measure("trace"), *kernels)
        self.places: dict[tuple[torch.Size, torch.dtype], int] = {}
        self.waiting: dict[tuple[torch.Size, torch.dtype], Stack] = {}
        self.numbers = 0

    def take(self, X: Tensor, cell: Cell) -> None:
        """Take a matrix (samples, features) or (items, places, features), which may change as soon as this returns."""
        size = X.numel()
        if not self.by_kernel or size > SMALL or not X.is_cpu:
            self.at_once(X, cell)
            return
        key = (X.shape, X.dtype)
        stack = self.waiting.get(key)
        if stack is None or stack.is_full:
            if stack is not None:
                self.places[key] = 2 * len(stack.cells)
                self.finish()
            stack = self.waiting[key] = Stack(X, min(self.places.get(key, PLACES), WAITING // size + 1))
        stack.add(X, cell, self.centre)
        self.numbers += size
        if self.numbers > WAITING:
            self.finish()

    @unmoved
    def at_once(self, X: Tensor, cell: Cell) -> None:
        """Measure one matrix now."""
        mean = mean_of(X) if self.centre else None
        size, values = self.by_torch(X, mean)
        cell.push(values, mean is not None and size < float(rounding(mean, X.dtype)))

    def by_torch(self, X: Tensor, mean: Tensor | None) -> tuple[float, list[float]]:
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

    def finish(self) -> None:
        """Measure what waits. Its places are used again; those of a shape that has not come since are given up."""
        if self.numbers:
            self.waiting = {key: stack for key, stack in self.waiting.items() if stack.cells}
            self.numbers = 0
            self._measure(self.waiting.values())

    def release(self) -> None:
        """Measure what waits, and give up all places."""
        self.finish()
        self.waiting = {}

    @unmoved
    def _measure(self, stacks: Iterable[Stack]) -> None:
        for stack in stacks:
            cells, matrices, least = stack.empty()
            most = SAFE[matrices.dtype]
            found = native.measure(matrices.mT, self._asked, threads=torch.get_num_threads())[0].T.tolist()
            for X, cell, rounded, (size, *values) in zip(matrices, cells, least, found, strict=True):
                if not 1 / most < size < most:
                    size, values = self.by_torch(X, None)
                cell.push(values, size < rounded)


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
