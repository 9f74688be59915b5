"""Where chains start: named random states, drawn from the stream, or a given tensor.

All of it is done on one thread: a short run beside others must not wait for the threads of torch to find each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pyrank.reference import stream
from pyrank.specs.chain import SCALE_RANGE, Chain
from pyrank.support.errors import as_number, invalid

DEFAULT_PERTURBATION = 1e-5

Normals = Callable[[int, int, tuple[int, int, int]], NDArray[np.float64]]
"""Standard normals as a function of seed, layer and shape (chains, rows, columns)."""

_NAMED = re.compile(r"\s*(gaussian|identity|collinear)\s*(?:\(\s*([^()\s]+)\s*\))?\s*")


def canonical(initial: str | ArrayLike | Tensor) -> str:
    """Return how an initial state is written in a checkpoint: its name, or the digest of a tensor."""
    if isinstance(initial, str):
        name, perturbation = _parse(initial)
        return f"{name}({perturbation!r})" if name == "collinear" else name
    data = _real_tensor(initial).double().contiguous().numpy()
    return f"tensor {tuple(data.shape)} sha256:{hashlib.sha256(data.tobytes()).hexdigest()[:16]}"


def state(
    initial: str | ArrayLike | Tensor, chain: Chain, chains: int, seed: int, dtype: torch.dtype,
    normals: Normals = stream.initial_normals,
) -> Tensor:  # fmt: skip
    """Return H_0 of shape (chains, d, N); where the width varies, d is the largest one, and further rows are zero.

    Parameters
    ----------
    initial
        ``"gaussian"``: i.i.d. N(0, 1); ``"identity"``: ones on the diagonal; ``"collinear(p)"``: every column is the
        same gaussian vector plus p times its own gaussian vector, p = 1e-5 if not given; or a tensor (d, N) shared by
        all chains or (chains, d, N).
    chain, chains, seed
        Specification, number of chains, and seed.
    dtype
        Of the result.
    normals
        What draws: the compiled generator or, if not given, its reference.

    Raises
    ------
    ArgumentError
        If the name is unknown, or a tensor has the wrong shape, is not real, or is not finite.
    """
    whole = torch.zeros((chains, chain.width, chain.batch), dtype=dtype)
    shape = (chains, chain.width_at(0), chain.batch)
    first = _named(initial, shape, seed, normals) if isinstance(initial, str) else _given(initial, shape, dtype)
    whole.numpy()[:, : chain.width_at(0)] = first
    return whole


def _named(initial: str, shape: tuple[int, int, int], seed: int, normals: Normals) -> NDArray[np.float64]:
    name, perturbation = _parse(initial)
    if name == "identity":
        return np.eye(*shape[1:])
    noise = normals(seed, 0, shape)
    return noise if name == "gaussian" else normals(seed, 1, (*shape[:2], 1)) + perturbation * noise


def _parse(initial: str) -> tuple[str, float]:
    match = _NAMED.fullmatch(initial)
    if match is None or (match[2] is not None and match[1] != "collinear"):
        raise invalid(
            "initial", initial, "gaussian, identity, collinear, collinear(p) or a tensor", "check the spelling"
        )
    if match[1] != "collinear":
        return match[1], 0.0
    text = match[2] or DEFAULT_PERTURBATION
    return match[1], as_number("initial perturbation", text, 0.0, 1e6, "write for example 'collinear(1e-5)'")


def _real_tensor(initial: ArrayLike | Tensor) -> Tensor:
    try:
        given = torch.as_tensor(initial if isinstance(initial, Tensor) else np.array(initial)).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise invalid("initial", initial, "a name or a tensor", "pass a torch tensor or a numpy array") from None
    if given.is_complex():
        raise invalid("initial", given.dtype, "real numbers", "pass a real tensor")
    return given


def _given(initial: ArrayLike | Tensor, shape: tuple[int, int, int], dtype: torch.dtype) -> NDArray[np.floating]:
    given = _real_tensor(initial)
    if tuple(given.shape) not in (shape[1:], shape):
        raise invalid("initial", tuple(given.shape), f"shape {shape[1:]} or {shape}", "(d, N) or (chains, d, N)")
    converted = given.to(dtype)
    if not torch.isfinite(converted).all():
        spoilt = f"tensor with {int((~torch.isfinite(converted)).sum())} entries that are not"
        raise invalid("initial", spoilt, f"finite numbers in {dtype}", "remove NaN and inf from the state")
    low, high = SCALE_RANGE[str(dtype).removeprefix("torch.")]
    largest = converted.abs().max().item()
    if largest and not low <= largest <= high:
        spoilt = f"tensor with largest entry {largest:g}"
        raise invalid("initial", spoilt, f"0 or {low:g} to {high:g} in {dtype}", "rescale the state")
    return converted.numpy()
