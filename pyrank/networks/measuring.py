"""Hidden matrices become numbers: small ones together at the end of a pass, large ones at once.

A small matrix is copied when its layer returns, which takes microseconds; then all of one shape are measured by the
compiled kernels in one call. A large one, as in convolutions, or one on a GPU, becomes its second moments at once,
piece by piece, so that it is never copied as a whole.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor

from pyrank.engine import native
from pyrank.networks.measures import NetworkMeasure
from pyrank.networks.moments import FROM_MOMENTS, SAFE, Spectrum, spectrum_of
from pyrank.networks.tally import Cell
from pyrank.reference.snapshots import snapshot
from pyrank.specs.measures import Measure
from pyrank.support.ambient import unmoved

SMALL = 2**18
"""Numbers of a matrix that is copied and measured later."""

WAITING = 2**21
"""Numbers that wait at most."""


class Measuring:
    """Takes matrices, and hands their measures to cells, at the latest when `finish` is called."""

    def __init__(self, measures: tuple[NetworkMeasure, ...], centre: bool) -> None:
        self.measures, self.centre = measures, centre
        self.moments = tuple(what for what in measures if what.name in FROM_MOMENTS)
        self.others = tuple(what for what in measures if what.name not in FROM_MOMENTS)
        self.thresholds = tuple(what for what in self.moments if what.argument is not None)
        kernels_do = not self.others and all(isinstance(what, Measure) for what in measures)
        self.by_kernel = kernels_do and not native.why_missing()
        self._forget()

    def _forget(self) -> None:
        self.waiting: dict[tuple[torch.Size, torch.dtype], list[tuple[Tensor, Cell]]] = defaultdict(list)
        self.numbers = 0

    def take(self, X: Tensor, cell: Cell) -> None:
        """Take a matrix (samples, features) or (items, places, features), which may change as soon as this returns."""
        if not self.by_kernel or X.numel() > SMALL or X.device.type != "cpu":
            cell.push(self.at_once(X))
            return
        rows = X if X.ndim == 2 else X.reshape(-1, X.shape[-1])
        rows = (rows - rows.mean(0)) if self.centre else rows.clone()
        self.waiting[rows.shape, rows.dtype].append((rows, cell))
        self.numbers += rows.numel()
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

    @unmoved
    def finish(self) -> None:
        """Measure what waits."""
        waiting = self.waiting
        self._forget()
        for (_, dtype), group in waiting.items():
            spectra = self._by_kernel(torch.stack([rows for rows, _ in group]))
            for (rows, cell), spectrum in zip(group, spectra, strict=True):
                safe = 1 / SAFE[dtype] < spectrum.size < SAFE[dtype]
                cell.push([spectrum.value(what) for what in self.measures] if safe else self.at_once(rows))

    def _by_kernel(self, stack: Tensor) -> list[Spectrum]:
        """Measure matrices (n, samples, features), which are H^T: eigenvalues are N / d times those of M."""
        scale = stack.shape[1] / stack.shape[2]
        thresholds = [Measure("soft_rank", (what.argument or 0.0) * scale) for what in self.thresholds]
        asked = (Measure("trace"), Measure("participation_ratio"), *thresholds)
        values = native.measure(stack, asked, threads=torch.get_num_threads())[0].T.tolist()
        return [
            Spectrum(size / scale, ratio, dict(zip(self.thresholds, counts, strict=True)))
            for size, ratio, *counts in values
        ]


def _other(H: Tensor, what: Measure) -> float:
    """Return a measure that takes the matrix itself, (1, d, N)."""
    try:
        return float(snapshot(H, what))
    except FloatingPointError:
        return math.nan
