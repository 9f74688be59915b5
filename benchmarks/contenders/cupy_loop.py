"""CuPy: batched products, and eigenvalues by its batched Jacobi solver."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
from cases import TAU, Case
from contenders import SEED, Array, Layer, Loop, on_host


def build(case: Case, name: str, chains: int, cupy: ModuleType | None = None) -> tuple[Layer, Loop]:
    """Return one layer and the loop, on (chains, d, N)."""
    if cupy is None:
        import cupy
    d, n = case.width, case.batch
    activate = {"linear": lambda h: h, "relu": lambda h: cupy.maximum(h, 0), "tanh": cupy.tanh}[case.activation]
    generator = cupy.random.RandomState(SEED)
    measured = len(case.pyrank_measures)
    root = math.sqrt(n)

    def step(H: Any, W: Any) -> Any:
        Z = cupy.matmul(W, activate(H))
        Z *= root / cupy.linalg.norm(Z, axis=-1, keepdims=True)
        return Z

    # r does not see a factor of the Gram matrix, and the threshold absorbs it: no division by N.
    def measure(H: Any) -> tuple[Any, ...]:
        T = H.swapaxes(-1, -2)
        M = cupy.matmul(H, T) if d <= n else cupy.matmul(T, H)
        if measured == 1:
            return (cupy.trace(M, axis1=-2, axis2=-1) ** 2 / (M * M).sum(axis=(-2, -1)),)
        eigenvalues = cupy.linalg.eigvalsh(M)
        r = eigenvalues.sum(axis=-1) ** 2 / (eigenvalues * eigenvalues).sum(axis=-1)
        return r, cupy.count_nonzero(eigenvalues >= TAU * n, axis=-1)

    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        state = step(cupy.asarray(H), cupy.asarray(W))
        values = measure(state) if measured else ()
        numbers = np.array([on_host(value) for value in values], dtype=float)
        return on_host(state), numbers.reshape(measured, chains).T

    def run(layers: int) -> tuple[Any, Any]:
        H = cupy.broadcast_to(cupy.eye(d, n, dtype=case.dtype), (chains, d, n))
        totals = cupy.zeros((measured, chains))
        for _ in range(layers):
            H = step(H, generator.standard_normal((chains, d, d), dtype=case.dtype))
            for total, value in zip(totals, measure(H) if measured else (), strict=True):
                total += value
        cupy.cuda.get_current_stream().synchronize()
        return H, totals.T / layers

    return layer, run
