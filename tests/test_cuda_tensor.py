"""The kernel for the tensor cores, in emulation and on a GPU where there is one.

Its sums have an order of their own, so that it agrees with the float64 reference as closely as plain single precision
does (test_layer.py has its activations, normalisations and widths), and with itself to the last bit whatever chunks,
blocks, devices and orders of threads there are.
"""

import itertools
import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank.engine import backends, native
from pyrank.specs.plan import COUNTERS

from harness import ALL_MEASURES, advance, assert_same, make_plan, start
from test_layer import assert_close_to_reference
from tolerances import SIGMAS, layer_tolerance

BATCHES = (1, 2, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 200, 256)
LAWS = ("gaussian", "uniform", "rademacher")
LARGEST_BATCH = 256
KERNEL = {"cuda_kernel": "tensor"}


def on_tensor_cores(plan, chunks, gpus=(0,)):
    return advance(plan, chunks, gpus=gpus, **KERNEL)


@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch, gpus):
    for k, width in enumerate((3, 16, 40)):
        norm, law = ("rescale", "batch" if batch > 2 else "rescale", "none")[k], LAWS[k]
        chain = pyrank.Chain(width, batch, gamma=1.0, activation="relu", normalization=norm, weights=law)
        assert_close_to_reference(chain, gpus=gpus, **KERNEL)


@pytest.mark.parametrize("law", LAWS)
def test_more_strips_than_warps(law, gpus):
    norm = "none" if law == "rademacher" else "rescale"
    chain = pyrank.Chain(270, 20, gamma=0.5, weights=pyrank.Weights(law, mean=0.01, scale=0.5), normalization=norm)
    assert_close_to_reference(chain, chains=1, gpus=gpus, **KERNEL)


@pytest.mark.parametrize("recentre", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
def test_orders(order, recentre, gpus):
    norm = pyrank.Normalization(recentre=recentre, order=order, eps=0.2, alpha=0.3, beta=-1.5)
    for batch in (5, 35, 70, 131):
        chain = pyrank.Chain(17, batch, gamma=0.5, normalization=norm, weights="uniform")
        assert_close_to_reference(chain, gpus=gpus, **KERNEL)


@pytest.mark.parametrize("law", LAWS)
def test_weights(law, gpus):
    """The identity picks them out: the bits of two tf32 numbers are left of each, all of them for signs."""
    chain = pyrank.Chain(131, 128, weights=law, normalization="none")
    plan = make_plan(chain, chains=1, measures=(), start="identity")
    result = on_tensor_cores(plan, [1], gpus)
    found = np.ldexp(result["state"][0], result["counters"][3, 0])
    drawn = native.draw_weights(chain, plan.seed, 0)[:, :128]
    if law == "rademacher":
        np.testing.assert_array_equal(found, drawn)
    np.testing.assert_allclose(found, drawn, rtol=2.0**-23, atol=0)


def test_measures_are_those_of_the_state(gpus):
    """What is recorded at the last layer, of H or of F(H), is what the kernels for the CPU measure of it."""
    for batch, observe in itertools.product((9, 40, 135), ("state", "activation")):
        chain = pyrank.Chain(21, batch, activation="relu", normalization="batch")
        plan = make_plan(chain, chains=2, burn_in=3, observe=observe)
        result = on_tensor_cores(plan, [4], gpus)
        state = torch.from_numpy(result["state"])
        expected, _ = native.measure(state.relu() if observe == "activation" else state, plan.measures)
        np.testing.assert_array_equal(result["trace"][:, 0], expected)


@pytest.mark.parametrize("kernel", ["tensor", "plain"])
@pytest.mark.parametrize("batch", [9, 24, 40, 64, 135])
def test_as_many_counts_are_left_open_as_on_a_cpu(batch, kernel, gpus):
    """Of thresholds ever closer to the first pivot, by which S doubles, all from the same one on."""
    chain, options = pyrank.Chain(48, batch), {"gpus": gpus, "cuda_kernel": kernel}
    state = advance(make_plan(chain, chains=1, burn_in=1, measures=()), [2], **options)["state"]
    rows = state[0].astype(float) if batch >= 48 else state[0].T.astype(float)
    first = ((0.8 * rows[0] + 0.6 * rows[len(rows) // 2]) ** 2).sum() / batch
    plan = make_plan(chain, chains=1, burn_in=1, measures=[f"soft_rank({first - 2.0**-k})" for k in range(4, 24)])
    result = advance(plan, [2], **options)
    expected, events = native.measure(torch.from_numpy(state), plan.measures)
    np.testing.assert_array_equal(result["trace"][:, 0], expected)
    np.testing.assert_array_equal(result["counters"][COUNTERS.index("flagged")], events["flagged"])
    assert 2 < events["flagged"][0] < 18


def test_widths_that_vary(gpus):
    options = {"activation": "sigmoid", "normalization": "batch", "weights": "uniform"}
    plan, double = (
        make_plan(pyrank.Chain((9, 40, 5), 8, dtype=dtype, **options), measures=()) for dtype in ("float32", "float64")
    )
    exact, single = (torch.from_numpy(advance(each, [1])["state"]) for each in (double, plan))
    error = np.abs(on_tensor_cores(plan, [1], gpus)["state"] - exact.numpy()).max()
    assert error <= layer_tolerance(exact, single, "float32")
    after = on_tensor_cores(plan, [1, 1, 1], gpus)["state"]
    assert not after[:, 9:].any()
    assert np.isfinite(after).all()


def test_degenerate_lines(gpus):
    for batch in (7, 150):
        chain = pyrank.Chain(19, batch, activation="relu")
        negative = -torch.ones(19, batch)
        result = on_tensor_cores(make_plan(chain, measures=(), start=negative), [3], gpus)
        assert (result["counters"][0] == 57).all()
        assert not result["state"].any()


def test_a_nan_stays_in_its_chain_and_is_not_lost(gpus):
    """Neither of the two parts into which numbers are split may lose it: here the NaN that GPUs make, all ones."""
    plan = make_plan(pyrank.Chain(20, 12), measures=())
    state, accumulator, counters = start(plan)
    state[1, 3, 4] = torch.tensor(0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    native.advance(plan, state, 0, 2, accumulator, counters, gpus=gpus, **KERNEL)
    assert torch.isfinite(state[[0, 2]]).all()
    assert state[1].isnan().all()


@pytest.mark.parametrize("chain", [
    pyrank.Chain(9, 12, gamma=0.5, activation="tanh"),
    pyrank.Chain(40, 70, activation="relu", normalization="recentre"),
    pyrank.Chain(17, 150, gamma=0.5, normalization="batch"),
], ids=str)  # fmt: skip
def test_chunks_and_positions_change_no_bit(chain, gpus):
    plan = make_plan(chain, chains=5, burn_in=1, every=2)
    whole = on_tensor_cores(plan, [7], gpus)
    assert_same(on_tensor_cores(plan, [1, 4, 2], gpus), whole)
    few = on_tensor_cores(make_plan(chain, chains=2, burn_in=1, every=2), [7], gpus)
    np.testing.assert_array_equal(few["state"], whole["state"][:2])
    np.testing.assert_array_equal(few["moments"], whole["moments"][..., :2])


def test_blocks_devices_memories_and_orders_change_no_bit(emulated):
    plan = make_plan(pyrank.Chain(40, 33, gamma=0.5, activation="relu", normalization="batch"), chains=5)
    whole = on_tensor_cores(plan, [2])
    for seed, (blocks, devices, limit) in enumerate(itertools.product((1, 2, 9), (1, 3), (0, 9000, 227 << 10))):
        emulated.configure(seed=seed, resident_blocks=blocks, devices=devices, shared_limit=limit)
        assert_same(on_tensor_cores(plan, [2], tuple(range(devices))), whole)


@pytest.mark.parametrize("normalization", ["rescale", "batch"])
@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("law", ["gaussian", "uniform"])
def test_layers_of_the_cases_change_no_bit(law, activation, normalization, emulated):
    """They want the right-hand side in shared memory; without any, the other layers take their place."""
    kernel = {"gpus": (0,), "cuda_kernel": "quick" if law == "gaussian" else "tensor"}
    for gamma, (width, batch) in itertools.product((math.inf, 0.5), ((20, 13), (40, 32), (35, 50))):
        chain = pyrank.Chain(width, batch, gamma=gamma, activation=activation, normalization=normalization, weights=law)
        plan = make_plan(chain, chains=2, burn_in=1, every=2)
        emulated.configure(shared_limit=227 << 10)
        whole = advance(plan, [4], **kernel)
        emulated.configure(shared_limit=0)
        assert_same(advance(plan, [4], **kernel), whole)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_three_blocks_have_room_on_a_multiprocessor(size, emulated):
    """As many as the registers are shared out for; a Hopper has 228 kB, and takes 1 kB more for each block.

    Where a block is and what it measures take 320 bytes there, as `-Xptxas -v` says.
    """
    emulated.configure(shared_limit=227 << 10)
    on_tensor_cores(make_plan(pyrank.Chain(size), chains=1), [1])
    assert 3 * (emulated.shared_bytes_of_last_launch() + 320 + 1024) <= 228 << 10


def test_the_law_is_that_of_the_cpu(gpus):
    """Other seeds, so that only the law can agree: mean ranks after a burn-in, within their errors."""
    chain, burn_in, depth = pyrank.Chain(8), 10, 30
    means = []
    for seed, options in enumerate(({}, {"gpus": gpus, **KERNEL})):
        plan = make_plan(chain, chains=48, seed=seed, burn_in=burn_in, trace=32)
        means.append(advance(plan, [depth], **options)["trace"][:, : depth - burn_in].mean(axis=1))
    error = np.sqrt(sum(mean.var(axis=1, ddof=1) / mean.shape[1] for mean in means))
    gap = np.abs(means[0].mean(axis=1) - means[1].mean(axis=1))
    random = [name != "trace" for name in ALL_MEASURES]
    assert (gap <= SIGMAS * error)[random].all()


def test_which_kernel(emulated, monkeypatch):
    """The tensor cores wherever they can be used; a run says so, and its checkpoints are not those of the other."""
    layers = pyrank.Normalization(over="features")
    chains = {
        pyrank.Chain(16): "quick",
        pyrank.Chain(16, LARGEST_BATCH): "quick",
        pyrank.Chain(16, weights="uniform"): "tensor",
        pyrank.Chain(16, LARGEST_BATCH + 1): "plain",
        pyrank.Chain(4097, 4): "plain",
        pyrank.Chain(16, dtype="float64"): "plain",
        pyrank.Chain(16, normalization=layers): "plain",
        pyrank.Chain(16, weights="rademacher"): "plain",
        pyrank.Chain(16, weights="rademacher", normalization="recentre"): "tensor",
        pyrank.Chain(16, weights=pyrank.Weights(scale=0.0, mean=0.1)): "plain",
        pyrank.Chain(16, normalization=pyrank.Normalization(recentre=False, rescale=False, over="features")): "quick",
    }
    for chain, kernel in chains.items():
        monkeypatch.delenv("PYRANK_CUDA_KERNEL", raising=False)
        assert native.cuda_kernel(chain, (0,)) == kernel
        chosen = backends.choose(chain, device="cuda")
        assert kernel in chosen.identity
        assert kernel in chosen.reason
        if kernel == "plain":
            with pytest.raises(ValueError, match="expected tensor cores"):
                on_tensor_cores(make_plan(chain, chains=1), [1])
        monkeypatch.setenv("PYRANK_CUDA_KERNEL", "tensor")
        assert native.cuda_kernel(chain, (0,)) == ("plain" if kernel == "plain" else "tensor")
        monkeypatch.setenv("PYRANK_CUDA_KERNEL", "plain")
        assert native.cuda_kernel(chain, (0,)) == "plain"
    monkeypatch.setenv("PYRANK_CUDA_KERNEL", "quickest")
    with pytest.raises(
        pyrank.ArgumentError, match="PYRANK_CUDA_KERNEL = 'quickest': expected one of plain, tensor, quick"
    ):
        native.cuda_kernel(pyrank.Chain(16), (0,))
    monkeypatch.delenv("PYRANK_CUDA_KERNEL")
    emulated.configure(compute_capability=75)
    assert native.cuda_kernel(pyrank.Chain(16), (0,)) == "plain"
