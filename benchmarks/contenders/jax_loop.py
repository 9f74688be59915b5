"""JAX: the whole loop compiled, for one chain, or with the layer vmapped over chains; on a core or a GPU.

The loop is a `fori_loop` whose length is an argument, so that it compiles once; a `scan` becomes the same while loop.
On a GPU the host looks at the counter of such a loop before each turn: there it goes round once for many layers.
On a CPU the default generator is kept, because the others that JAX offers are several times slower. On a GPU the
generator of XLA takes its place, and products are not rounded to tf32, which would not pass the gate.
"""

from __future__ import annotations

import itertools
import math
import os
import warnings

import numpy as np
from cases import TAU, Case
from contenders import SEED, Array, Layer, Loop

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others use the same GPU

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jax
    import jax.numpy as jnp

_ACTIVATIONS = {"linear": lambda h: h, "relu": jax.nn.relu, "tanh": jnp.tanh}
GENERATOR = {"cpu": None, "cuda": "rbg"}
ABREAST = {"cpu": 1, "cuda": 16}
"""Layers in one turn of the loop."""


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop."""
    jax.config.update("jax_platforms", case.device)
    jax.config.update("jax_enable_x64", True)  # for float64 cases and exact totals; the loop names its types
    if case.device != "cpu":
        jax.config.update("jax_default_matmul_precision", "highest")
    d, n = case.width, case.batch
    stack = () if chains == 1 else (chains,)
    activate = _ACTIVATIONS[case.activation]
    measured = len(case.pyrank_measures)
    dtype = jnp.dtype(case.dtype)
    abreast = ABREAST[case.device]
    fresh_seeds = itertools.count(SEED)

    def step(H: jax.Array, W: jax.Array) -> jax.Array:
        Z = W @ activate(H)
        return Z * (math.sqrt(n) * jax.lax.rsqrt(jnp.sum(Z * Z, axis=-1, keepdims=True)))

    # r does not see a factor of the Gram matrix, and the threshold absorbs it: no division by N.
    def measure(H: jax.Array) -> jax.Array:
        M = H @ H.T if d <= n else H.T @ H
        if measured == 1:
            return jnp.stack([jnp.trace(M) ** 2 / jnp.sum(M * M)]).astype(float)
        eigenvalues = jnp.linalg.eigvalsh(M, symmetrize_input=False)
        r = jnp.sum(eigenvalues) ** 2 / jnp.sum(eigenvalues * eigenvalues)
        return jnp.stack([r.astype(float), jnp.sum(eigenvalues >= TAU * n).astype(float)])

    def advance(H: jax.Array, W: jax.Array) -> tuple[jax.Array, jax.Array]:
        H = step(H, W)
        return H, measure(H) if measured else jnp.zeros(0)

    forward = advance if chains == 1 else jax.vmap(advance)

    def loop(key: jax.Array, layers: jax.Array) -> tuple[jax.Array, jax.Array]:
        def body(index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            H, totals = carry
            W = jax.random.normal(jax.random.fold_in(key, index), (*stack, d, d), dtype)
            H, values = forward(H, W)
            return H, totals + values

        def turn(number: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return jax.lax.fori_loop(0, abreast, lambda k, carry: body(number * abreast + k, carry), carry)

        carry = (jnp.broadcast_to(jnp.eye(d, n, dtype=dtype), (*stack, d, n)), jnp.zeros((*stack, measured)))
        turns = layers // abreast
        if abreast > 1:
            carry = jax.lax.fori_loop(0, turns, turn, carry)
        return jax.lax.fori_loop(turns * abreast if abreast > 1 else 0, layers, body, carry)

    compiled_layer = jax.jit(forward)
    compiled_loop = jax.jit(loop)

    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        state, values = compiled_layer(H.reshape(*stack, d, n), W.reshape(*stack, d, d))
        return np.asarray(state).reshape(chains, d, n), np.asarray(values).reshape(chains, measured)

    def run(layers: int) -> tuple[jax.Array, jax.Array]:
        key = jax.random.key(next(fresh_seeds), impl=GENERATOR[case.device])
        state, totals = jax.block_until_ready(compiled_loop(key, np.int32(layers)))
        return state.reshape(chains, d, n), totals.reshape(chains, measured) / layers

    return layer, run
