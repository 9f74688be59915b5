"""torch: eager for one chain, batched over chains, and the batched layer compiled."""

from __future__ import annotations

import math

import numpy as np
import torch
from cases import TAU, Case
from torch import Tensor

from contenders import SEED, Array, Layer, Loop

_ACTIVATIONS = {"linear": lambda h: h, "relu": torch.relu, "tanh": torch.tanh}


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop, on (chains, d, N), or on plain matrices for a single chain."""
    d, n = case.width, case.batch
    stack = () if chains == 1 else (chains,)
    activate = _ACTIVATIONS[case.activation]
    generator = torch.Generator().manual_seed(SEED)
    measured = len(case.pyrank_measures)
    dtype = getattr(torch, case.dtype)
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

    def advance(H: Tensor, W: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        H = step(H, W)
        return H, measure(H) if measured else ()

    if name == "torch compiled":
        advance = torch.compile(advance, dynamic=False, fullgraph=True)

    @torch.no_grad()
    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        state, values = advance(torch.from_numpy(H).view(*stack, d, n), torch.from_numpy(W).view(*stack, d, d))
        numbers = np.array([value.numpy() for value in values], dtype=float)
        return state.view(chains, d, n).numpy(), numbers.reshape(measured, chains).T

    @torch.no_grad()
    def run(layers: int) -> tuple[Array, Array]:
        H = torch.eye(d, n, dtype=dtype).expand(*stack, d, n).contiguous()
        W = torch.empty(*stack, d, d, dtype=dtype)
        totals = [torch.zeros(stack, dtype=torch.float64) for _ in range(measured)]
        for _ in range(layers):
            H, values = advance(H, W.normal_(generator=generator))
            for total, value in zip(totals, values, strict=True):
                total += value
        means = np.array([total.numpy() for total in totals]).reshape(measured, chains).T / layers
        return H.view(chains, d, n).numpy(), means

    return layer, run
