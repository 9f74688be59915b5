"""torch: eager for one chain, batched over chains, and the batched layer compiled; on a core or a GPU."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import torch
from cases import TAU, Case
from contenders import SEED, Array, Layer, Loop, UnfitError
from torch import Tensor

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # helpers would run beside what is timed

Advance = Callable[[Tensor, Tensor], tuple[Tensor, tuple[Tensor, ...]]]

_ACTIVATIONS = {"linear": lambda h: h, "relu": torch.relu, "tanh": torch.tanh}


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop, on (chains, d, N), or on plain matrices for a single chain."""
    forward = advance(case)
    if name == "torch compiled":
        if case.device != "cpu" and case.measures == "rank" and case.width > 32:
            raise UnfitError("nearly all of the time is in eigvalsh, which torch.compile leaves as it is")
        torch.compiler.reset()  # it keeps a limited number of versions of one function
        forward = torch.compile(forward, dynamic=False, fullgraph=True)
    generator = torch.Generator(case.device).manual_seed(SEED)
    start = Start(case, chains)

    @torch.no_grad()
    def run(layers: int) -> tuple[Tensor, Tensor]:
        H, W, totals = start()
        for _ in range(layers):
            H, values = forward(H, W.normal_(generator=generator))
            add(totals, values)
        return start.outcome(H, totals, layers)

    return layer_of(case, chains, forward), run


def advance(case: Case) -> Advance:
    """Return the function (H, W) -> H' and its measures."""
    d, n = case.width, case.batch
    activate = _ACTIVATIONS[case.activation]
    measured = len(case.pyrank_measures)
    root = math.sqrt(n)

    def step(H: Tensor, W: Tensor) -> Tensor:
        Z = W @ activate(H)
        return Z.mul_(root / torch.linalg.vector_norm(Z, dim=-1, keepdim=True))

    # r does not see a factor of the Gram matrix, and the threshold absorbs it: no division by N.
    def measure(H: Tensor) -> tuple[Tensor, ...]:
        M = H @ H.mT if d <= n else H.mT @ H
        if measured == 1:
            return (M.diagonal(dim1=-2, dim2=-1).sum(dim=-1).square() / M.square().sum(dim=(-2, -1)),)
        eigenvalues = torch.linalg.eigvalsh(M)
        r = eigenvalues.sum(dim=-1).square() / eigenvalues.square().sum(dim=-1)
        return r, (eigenvalues >= TAU * n).sum(dim=-1)

    def forward(H: Tensor, W: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        H = step(H, W)
        return H, measure(H) if measured else ()

    return forward


def add(totals: list[Tensor], values: tuple[Tensor, ...]) -> None:
    """Add the measures of a layer to their sums."""
    for total, value in zip(totals, values, strict=True):
        total += value


class Start:
    """What a run begins with, and what it leaves."""

    def __init__(self, case: Case, chains: int):
        self._case, self._chains = case, chains
        self._stack = () if chains == 1 else (chains,)

    def __call__(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return H, room for W, and sums of zero."""
        case, stack = self._case, self._stack
        here = {"dtype": getattr(torch, case.dtype), "device": case.device}
        H = torch.eye(case.width, case.batch, **here).expand(*stack, case.width, case.batch).contiguous()
        W = torch.empty(*stack, case.width, case.width, **here)
        zero = torch.zeros(stack, dtype=torch.float64, device=case.device)
        return H, W, [zero.clone() for _ in case.pyrank_measures]

    def outcome(self, H: Tensor, totals: list[Tensor], layers: int) -> tuple[Tensor, Tensor]:
        """Return the state and the means, when they are there."""
        if self._case.device != "cpu":
            torch.cuda.synchronize()
        sums = torch.stack(totals, dim=-1) if totals else H.new_empty(*self._stack, 0)
        return H.view(self._chains, *H.shape[-2:]), sums.view(self._chains, -1 if totals else 0) / layers


def layer_of(case: Case, chains: int, forward: Advance) -> Layer:
    """Return one layer for the gate: arrays of numpy in and out."""
    stack = () if chains == 1 else (chains,)

    @torch.no_grad()
    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        state, values = forward(
            torch.from_numpy(H).to(case.device).view(*stack, case.width, case.batch),
            torch.from_numpy(W).to(case.device).view(*stack, case.width, case.width),
        )
        numbers = np.array([value.cpu().numpy() for value in values], dtype=float)
        return state.cpu().numpy().reshape(chains, case.width, case.batch), numbers.reshape(len(values), chains).T

    return layer
