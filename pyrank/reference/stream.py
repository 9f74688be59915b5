"""The random stream in torch: Philox4x32-10 (Salmon et al. 2011) and the mapping from its words to numbers.

Every number is a pure function of (seed, stream, chain, layer, row, column); csrc/core holds the compiled twin.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WEIGHTS, INITIAL = 0, 1
"""Stream numbers, as in csrc/core/streams.h."""

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF
_ROUNDS = 10


def _multiply(a: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a * m, in int64 arithmetic that never overflows."""
    high, low = (a >> 16) * m, (a & 0xFFFF) * m
    return (high + (low >> 16)) >> 16, ((high << 16) + low) & _MASK


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return the four 32-bit words of each counter, as int64 tensors of the broadcast shape."""
    x, y, z, w = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(x, _MULTIPLIERS[0])
        high1, low1 = _multiply(z, _MULTIPLIERS[1])
        x, y, z, w = high1 ^ y ^ k0, low1, high0 ^ w ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return x, y, z, w


def _words(seed: int, stream: int, layer: int, rows: Tensor, chains: Tensor, blocks: Tensor) -> Tensor:
    """Words of shape (chains, rows, blocks, 4)."""
    counter = (
        torch.full((1, 1, 1), layer, dtype=torch.int64),
        rows.view(1, -1, 1),
        chains.view(-1, 1, 1),
        (stream << 24) | blocks.view(1, 1, -1),
    )
    key = (seed & _MASK, seed >> 32)
    return torch.stack(torch.broadcast_tensors(*philox(counter, key)), dim=-1)  # type: ignore[no-untyped-call]


def _unit(words: Tensor, dtype: torch.dtype) -> Tensor:
    """U = (word + 1/2) 2^-32, rounded as ``dtype`` rounds it; float32 takes fma(float(word), 2^-32, 2^-33)."""
    word = words.to(dtype).double()
    return (word * 2.0**-32 + 2.0**-33).to(dtype)


def _gaussian(words: Tensor, dtype: torch.dtype) -> Tensor:
    """Box-Muller on the word pairs (0, 1) and (2, 3): radius first, then angle; cosine, then sine."""
    u = _unit(words, dtype).double().reshape(*words.shape[:-1], 2, 2)
    radius = torch.sqrt(-2.0 * torch.log(u[..., 0]))
    angle = 2.0 * math.pi * u[..., 1]
    return torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1).flatten(-2).to(dtype)


def _uniform(words: Tensor, dtype: torch.dtype) -> Tensor:
    root3 = torch.tensor(3.0, dtype=torch.float64).sqrt().to(dtype)
    return root3 * (2.0 * _unit(words, dtype) - 1.0)


def draw(
    law: str, seed: int, stream: int, layer: int, rows: int, columns: int, chains: Tensor, dtype: torch.dtype
) -> Tensor:
    """Return standardised draws of shape (chains, rows, columns).

    Parameters
    ----------
    law
        ``"gaussian"``, ``"uniform"`` or ``"rademacher"``.
    seed, stream, layer
        Key and counter words; the layer is counted from 0.
    chains
        int64 tensor with the chains' numbers.
    dtype
        Precision whose rounding of u is followed.
    """
    row = torch.arange(rows)
    if law == "rademacher":
        words = _words(seed, stream, layer, row, chains, torch.arange((columns + 127) // 128))
        bits = (words.unsqueeze(-1) >> torch.arange(32)) & 1
        return (2 * bits.flatten(-3)[..., :columns] - 1).to(dtype)
    words = _words(seed, stream, layer, row, chains, torch.arange((columns + 3) // 4))
    numbers = _gaussian(words, dtype) if law == "gaussian" else _uniform(words, dtype)
    return numbers.flatten(-2)[..., :columns]


def initial_normals(seed: int, layer: int, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return standard normals of the stream of initial states, (chains, rows, columns)."""
    chains, rows, columns = shape
    return draw("gaussian", seed, INITIAL, layer, rows, columns, torch.arange(chains), torch.float64).numpy()
