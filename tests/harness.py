"""Small helpers that run the compiled backend in every way it can be run, and commands in processes of their own."""

import math
import os
import sys

import numpy as np
import torch

from pyrank.engine import initial, native
from pyrank.estimate import Accumulator
from pyrank.reference.geometry import orthogonality_gap, outlier, pairwise_angles
from pyrank.reference.layer import WHITENING_CUTOFF
from pyrank.reference.spectral import effective_rank, isometry_gap, numerical_rank, singular_values, stable_rank
from pyrank.specs.measures import parse_measures
from pyrank.specs.plan import COUNTERS, Plan
from pyrank.studies.pool import context_with

ALL_MEASURES = ("participation_ratio", "frobenius_norm", "trace", "soft_rank(0.5)", "soft_rank(1)",
                "rank_bound_margin(0.5)")  # fmt: skip
TENSOR_MEASURES = {
    "singular_values": singular_values,
    "numerical_rank": numerical_rank,
    "stable_rank": stable_rank,
    "effective_rank": effective_rank,
    "effective_rank(power=2)": lambda H: effective_rank(H, power=2),
    "isometry_gap": isometry_gap,
    "orthogonality_gap": orthogonality_gap,
    "pairwise_angles": pairwise_angles,
    "outlier.index": lambda H: outlier(H).index,
    "outlier.norm_ratio": lambda H: outlier(H).norm_ratio,
    "outlier.angle": lambda H: outlier(H).angle,
}


def make_plan(chain, chains=3, seed=1, measures=ALL_MEASURES, burn_in=0, every=1, trace=8, start="gaussian",
              observe="state"):  # fmt: skip
    return Plan(chain, seed, chains, parse_measures(measures), burn_in, every, trace, start, observe)


def start(plan, dtype=None):
    """State, accumulator and counters of a run that has not begun."""
    chain = plan.chain
    dtype = dtype or getattr(torch, chain.dtype)
    flags = [measure.is_rank for measure in plan.measures]
    return (
        initial.state(plan.initial, chain, plan.chains, plan.seed, dtype),
        Accumulator.empty(flags, plan.chains, min(chain.width, chain.batch) + 1, plan.trace),
        np.zeros((len(COUNTERS), plan.chains), dtype=np.int64),
    )


def advance(plan, chunks, **options):
    """Run the compiled backend through chunks of layers; everything it leaves behind, as arrays by name."""
    state, accumulator, counters = start(plan)
    layer = 0
    for layers in chunks:
        native.advance(plan, state, layer, layers, accumulator, counters, **options)
        layer += layers
    return {"state": state.numpy(), "counters": counters, **accumulator.arrays()}


def assert_same(a, b):
    """Bitwise equality of two results, NaN never equal to anything."""
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name, strict=True)
        assert not np.isnan(array).any(), name


def as_arrays(run):
    """Everything a run found, as arrays by name."""
    arrays = {"state": run.state.numpy(), "exponent": run.exponent, **run.events}
    for name, e in run.estimates.items():
        arrays[f"{name} headline"] = np.array([e.mean, e.stderr, e.std, e.min, e.max, e.count])
        arrays |= {f"{name} trace": e.trace, f"{name} batches": e.batch_means}
        if e.histogram is not None:
            arrays[f"{name} histogram"] = e.histogram
    return arrays


def orthonormal(rng, n, k):
    """Orthonormal columns, k of them, of length n."""
    return np.linalg.qr(rng.standard_normal((n, k)))[0]


def planted(rng, sigma, width, batch):
    """A state (width, batch) with these singular values, and zeros; in float64."""
    k = len(sigma)
    return torch.tensor((orthonormal(rng, width, k) * sigma) @ orthonormal(rng, batch, k).T)


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def condition(Z, size=None):
    """Largest singular value, or ``size``, over the smallest that is not zero, of the worst of several matrices."""
    sigma = torch.linalg.svdvals(Z.double())
    kept = sigma.square() > WHITENING_CUTOFF * max(Z.shape[-2:]) * sigma.square().norm(dim=-1, keepdim=True)
    smallest = torch.where(kept, sigma, math.inf).amin(dim=-1)
    return ((sigma[..., 0] if size is None else size) / smallest).max().item()


def _command(arguments, folder, seconds, file_size, output):
    """Run a command in this process, with what it prints in ``folder``."""
    from pyrank import cli
    from pyrank.engine import simulation

    for number, name in ((1, output), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    simulation.CHECKPOINT_SECONDS = seconds
    if file_size is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    sys.exit(cli.main(arguments))


def start_command(arguments, folder, seconds=30.0, file_size=None, output="out"):
    """Start ``pyrank`` by a fork of a process that has imported it; what it prints is in the files out and err.

    Checkpoints are written every so many ``seconds``; no file may have more than ``file_size`` bytes.
    """
    context = context_with(["pyrank.cli.commands", "pyrank.engine.simulation"])
    process = context.Process(target=_command, args=(arguments, folder, seconds, file_size, output))
    process.start()
    return process
