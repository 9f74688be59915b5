"""JAX: the whole loop compiled, for one chain, or vmapped over chains.

The loop is a `fori_loop` whose length is an argument, so that it compiles once; a `scan` becomes the same while loop.
The default generator is kept: on a CPU the others that JAX offers are several times slower.
"""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
from cases import TAU, Case

from contenders import SEED, Array, Layer, Loop

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jax
    import jax.numpy as jnp

_ACTIVATIONS = {"linear": lambda h: h, "relu": jax.nn.relu, "tanh": jnp.tanh}


def build(case: Case, name: str, chains: int) -> tuple[Layer, Loop]:
    """Return one layer and the loop."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)  # for float64 cases and exact totals; the loop names its types
    d, n = case.width, case.batch
    activate = _ACTIVATIONS[case.activation]
    measured = len(case.pyrank_measures)
    dtype = jnp.dtype(case.dtype)
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

    def loop(key: jax.Array, layers: jax.Array) -> tuple[jax.Array, jax.Array]:
        def body(index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            H, totals = carry
            W = jax.random.normal(jax.random.fold_in(key, index), (d, d), dtype)
            H, values = advance(H, W)
            return H, totals + values

        return jax.lax.fori_loop(0, layers, body, (jnp.eye(d, n, dtype=dtype), jnp.zeros(measured)))

    if chains == 1:
        compiled_layer = jax.jit(advance)
        compiled_loop = jax.jit(loop)
    else:
        compiled_layer = jax.jit(jax.vmap(advance))
        compiled_loop = jax.jit(jax.vmap(loop, in_axes=(0, None)))

    def layer(H: Array, W: Array) -> tuple[Array, Array]:
        state, values = compiled_layer(H[0], W[0]) if chains == 1 else compiled_layer(H, W)
        return np.asarray(state).reshape(chains, d, n), np.asarray(values).reshape(chains, measured)

    def run(layers: int) -> tuple[Array, Array]:
        key = jax.random.key(next(fresh_seeds))
        keys = key if chains == 1 else jax.random.split(key, chains)
        state, totals = jax.block_until_ready(compiled_loop(keys, np.int32(layers)))
        return np.asarray(state).reshape(chains, d, n), np.asarray(totals).reshape(chains, measured) / layers

    return layer, run
