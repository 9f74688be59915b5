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
from pyrank.networks.moments import FROM_MOMENTS, SAFE, spectrum_of
from pyrank.networks.tally import Cell
from pyrank.reference.snapshots import snapshot
from pyrank.specs.measures import Measure
from pyrank.support.ambient import unmoved

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
        self.room = torch.empty(places, rows, X.shape[-1], dtype=X.dtype, device="cpu")
        self.places = self.room.view(places, *X.shape).unbind()
        self.cells: list[Cell] = []

    def add(self, X: Tensor, cell: Cell, centre: bool) -> None:
        """Copy a matrix to the next place."""
        place = self.places[len(self.cells)]
        if centre:
            torch.sub(X, X.mean(tuple(range(X.ndim - 1))), out=place)
        else:
            place.copy_(X)
        self.cells.append(cell)

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
            cell.push(self.at_once(X))
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
    def at_once(self, X: Tensor) -> list[float]:
        """Measure one matrix in torch."""
        found: dict[NetworkMeasure, float] = {}
        if self.moments:
            spectrum = spectrum_of(X, self.moments, self.centre)
            found = {what: spectrum.value(what) for what in self.moments}
        if self.others:
            H = X.reshape(1, -1, X.shape[-1]).mT
            H = H - H.mean(-1, keepdim=True) if self.centre else H
            found |= {what: _other(H, what) for what in self.others if isinstance(what, Measure)}
        return [found[what] for what in self.measures]

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
            cells, stack.cells = stack.cells, []
            matrices = stack.room[: len(cells)]
            most = SAFE[matrices.dtype]
            found = native.measure(matrices.mT, self._asked, threads=torch.get_num_threads())[0].T.tolist()
            for number, (cell, (size, *values)) in enumerate(zip(cells, found, strict=True)):
                cell.push(values if 1 / most < size < most else self.at_once(matrices[number]))


def _other(H: Tensor, what: Measure) -> float:
    """Return a measure that takes the matrix itself, (1, d, N)."""
    try:
        return float(snapshot(H, what))
    except FloatingPointError:
        return math.nan
