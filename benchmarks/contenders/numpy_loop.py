"""numpy: a step with the weights drawn in place, and eigvalsh of the smaller Gram matrix."""

from __future__ import annotations

import math

import numpy as np
from cases import TAU, Case
from contenders import SEED, Array, Layer, Loop

_ACTIVATIONS = {"linear": lambda h: h, "relu": lambda h: np.maximum(h, 0), "tanh": np.tanh}


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop, on stacks of matrices, or on plain ones for a single chain."""
    d, n = case.width, case.batch
    stack = () if chains == 1 else (chains,)
    activate = _ACTIVATIONS[case.activation]
    generator = np.random.default_rng(SEED)
    measured = len(case.pyrank_measures)
    dtype = np.dtype(case.dtype)
    root = dtype.type(math.sqrt(n))

    def step(H: Array, W: Array, out: Array | None = None) -> Array:
        Z = np.matmul(W, activate(H), out=out)
        Z *= (root / np.sqrt(np.einsum("...ij,...ij->...i", Z, Z)))[..., None]
        return Z

    # r does not see a factor of the Gram matrix, and the threshold absorbs it: no division by N.
    def measure(H: Array) -> tuple[Array, ...]:
        T = np.swapaxes(H, -1, -2)
        M = H @ T if d <= n else T @ H
        if measured == 1:
            # As a product this is twice as fast as by einsum, which also loses a digit.
            entries = M.reshape(*stack, 1, -1)
            return (np.einsum("...ii->...", M) ** 2 / (entries @ np.swapaxes(entries, -1, -2))[..., 0, 0],)
        eigenvalues = np.linalg.eigvalsh(M)
        r = eigenvalues.sum(axis=-1) ** 2 / np.einsum("...i,...i->...", eigenvalues, eigenvalues)
        return r, np.count_nonzero(eigenvalues >= TAU * n, axis=-1)

    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        state = step(H.reshape(*stack, d, n), W.reshape(*stack, d, d))
        values = measure(state) if measured else ()
        return state.reshape(chains, d, n), np.array(values, dtype=float).reshape(measured, chains).T

    def run(layers: int) -> tuple[Array, Array]:
        H = np.broadcast_to(np.eye(d, n, dtype=dtype), (*stack, d, n)).copy()
        Z = np.empty_like(H)
        W = np.empty((*stack, d, d), dtype=dtype)
        totals = np.zeros((measured, *stack))
        for _ in range(layers):
            generator.standard_normal(out=W, dtype=dtype)
            H, Z = step(H, W, out=Z), H
            if measured:
                totals += measure(H)
        return H.reshape(chains, d, n), totals.reshape(measured, chains).T / layers

    return layer, run
