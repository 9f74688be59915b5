"""The CUDA backend, in emulation and on a GPU where there is one.

Its plain kernel gives the same bits as the kernels for the CPU. What its others give is the matter of
test_cuda_tensor.py and test_cuda_quick.py.
"""

import math
import platform
import re

import numpy as np
import pytest
import torch

import pyrank
from pyrank.cli import main
from pyrank.engine import checkpoint, native
from pyrank.specs.chain import ACTIVATIONS, DTYPES
from pyrank.specs.measures import parse_measures
from pyrank.specs.normalization import NORMALIZATIONS

from harness import ALL_MEASURES, advance, as_arrays, assert_same, make_plan, start
from test_zero_lines import FAMILY, SIGNS

EDGES = (1, 2, 3, 7, 8, 9, 16, 17, 31, 33)
LAWS = ("gaussian", "uniform", "rademacher")


@pytest.fixture(scope="module", autouse=True)
def _the_cpu_fuses():
    if native.isas() == ("baseline",) and platform.machine() != "aarch64":
        pytest.skip("this CPU has no fused product and sum, which the CUDA kernels use")


def advance_on(gpus, plan, chunks):
    return advance(plan, chunks, gpus=gpus, cuda_kernel="plain")


def assert_same_as_cpu(chain, gpus, layers=2, observe="state", **options):
    plan = make_plan(chain, **{"chains": 2, **options}, observe=observe)
    assert_same(advance_on(gpus, plan, [layers]), advance(plan, [layers]))


@pytest.mark.parametrize("width", EDGES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_widths_and_batches(width, dtype, gpus):
    for law, batch in zip(LAWS, (width, max(2, width // 3), width + 5), strict=True):
        chain = pyrank.Chain(width, batch, gamma=0.5, activation="relu", dtype=dtype, weights=law,
                             normalization="batch" if batch > 2 else "rescale")  # fmt: skip
        assert_same_as_cpu(chain, gpus)


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_one_panel(dtype, gpus):
    """More rows than a panel has, more columns than are shifted together, more than one pass over a product."""
    for width, batch in ((65, 70), (131, 6), (5, 131), (131, 129)):
        assert_same_as_cpu(pyrank.Chain(width, batch, gamma=1.0, dtype=dtype), gpus, layers=1, chains=1)


@pytest.mark.parametrize("normalization", [name for name in NORMALIZATIONS if name != "whiten"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_and_normalizations(activation, normalization, dtype, gpus):
    for gamma in (math.inf, 0.3):
        chain = pyrank.Chain(17, 9, gamma=gamma, activation=activation, normalization=normalization, dtype=dtype)
        assert_same_as_cpu(chain, gpus, observe="activation" if math.isinf(gamma) else "state")


@pytest.mark.parametrize("over", ["batch", "features"])
@pytest.mark.parametrize("recentre", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_and_orders(order, recentre, over, dtype, gpus):
    norm = pyrank.Normalization(recentre=recentre, order=order, over=over, eps=0.2, alpha=0.3, beta=-1.5)
    for chain in (
        pyrank.Chain(9, 17, activation="relu", normalization=norm, dtype=dtype),
        pyrank.Chain(17, 5, gamma=0.5, normalization=pyrank.Normalization(recentre, True, order, over), dtype=dtype),
    ):
        assert_same_as_cpu(chain, gpus)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights(law, dtype, gpus):
    chain = pyrank.Chain((135, 34, 5), 7, weights=pyrank.Weights(law, mean=0.1, scale=0.7), dtype=dtype)
    for layer in (0, 1, 2, 2**32 - 1):
        on_gpu = native.draw_weights(chain, 2**63 + 5, layer, 3, gpus=gpus)
        np.testing.assert_array_equal(on_gpu, native.draw_weights(chain, 2**63 + 5, layer, 3), strict=True)
        if law != "gaussian":
            np.testing.assert_array_equal(on_gpu, pyrank.draw_weights(chain, 2**63 + 5, layer, 3))
    assert_same_as_cpu(chain, gpus, layers=4)


def test_widths_that_vary(gpus):
    for activation in ("linear", "sigmoid"):
        assert_same_as_cpu(pyrank.Chain((9, 20, 5), 8, activation=activation, normalization="batch"), gpus, layers=4)


def test_degenerate_lines(gpus):
    chain = pyrank.Chain(9, 7, activation="relu", weights=pyrank.Weights("rademacher", scale=0.0))
    plan = make_plan(chain, measures=())
    result = advance_on(gpus, plan, [3])
    assert (result["counters"][0] == 27).all()
    assert_same(result, advance(plan, [3]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_counts_that_need_more_than_one_precision(dtype, gpus):
    """Every way through the rule: accepted, factored in double, summed in double, ambiguous; a NaN row as well."""
    rng = np.random.default_rng(4)
    size, measures = 24, parse_measures([f"soft_rank({tau})" for tau in (0.25, 1, 1e-3, 3)])
    basis = [np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(2)]
    states = [
        rng.standard_normal((size, size)),
        np.sqrt(size) * np.eye(size),
        np.sqrt(size) * basis[0] * np.sqrt(np.linspace(0.01, 4.0, size)),
        np.sqrt(size) * basis[0] * np.sqrt(np.repeat([1.0, 0.25 * (1 + 1e-6), 1e-3 * (1 + 1e-3), 9.0], 6)) @ basis[1],
        np.where(np.arange(size)[:, None] == 3, math.nan, 1.0) * np.ones((size, size)),
    ]
    states = torch.tensor(np.array(states), dtype=getattr(torch, dtype))
    expected, events = native.measure(states, measures)
    counted, counters = native.measure(states, measures, gpus=gpus)
    np.testing.assert_array_equal(counted, expected)
    for name, count in events.items():
        np.testing.assert_array_equal(counters[name], count, err_msg=name)
    assert events["flagged"].sum() > 3
    assert events["ambiguous"].sum() > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_lines_that_are_zero_but_for_rounding(dtype, gpus):
    """Weights of which sums may cancel have a kernel of their own, and each of these chains meets lines of zeros."""
    for change in FAMILY:
        chain = pyrank.Chain(**{"width": 8, "batch": 1, "dtype": dtype, **SIGNS, **change})
        if chain.weights.law != "orthogonal" and not chain.normalization.whiten:
            plan = make_plan(chain, 8, measures=())
            expected = advance(plan, [4])
            assert expected["counters"][0].any()
            assert_same(advance_on(gpus, plan, [4]), expected)


def test_thinned_recording_in_chunks(gpus):
    plan = make_plan(pyrank.Chain(7, 9, gamma=0.5), burn_in=3, every=2, trace=8)
    assert_same(advance_on(gpus, plan, [1, 7, 30, 2]), advance(plan, [40]))


def test_calls_that_begin_where_the_stride_of_the_trace_doubles(gpus):
    plan = make_plan(pyrank.Chain(3, 4), trace=8)
    assert_same(advance_on(gpus, plan, [8, 8, 3, 13, 1]), advance(plan, [33]))


def test_through_a_doubling_of_the_batches(gpus):
    plan = make_plan(pyrank.Chain(2, 3), chains=2, measures=["participation_ratio", "soft_rank(0.5)"])
    assert_same(advance_on(gpus, plan, [300]), advance(plan, [300]))


@pytest.mark.parametrize("chains", [1, 2, 7])
def test_position_and_number_of_chains(chains, gpus):
    many = advance_on(gpus, make_plan(pyrank.Chain(9), chains=11), [3])
    few = advance_on(gpus, make_plan(pyrank.Chain(9), chains=chains), [3])
    np.testing.assert_array_equal(few["state"], many["state"][:chains])
    np.testing.assert_array_equal(few["moments"], many["moments"][..., :chains])


@pytest.mark.parametrize("shared_limit", [0, 1000, 20_000, 227 << 10])
def test_wherever_matrices_lie(shared_limit, emulated):
    """In shared memory, in global memory, or some here and some there."""
    for seed, chain in enumerate((pyrank.Chain(18, 11, activation="tanh"), pyrank.Chain(9, 20, dtype="float64"))):
        emulated.configure(seed=seed, shared_limit=shared_limit)
        assert_same_as_cpu(chain, (0,))


@pytest.mark.parametrize("resident_blocks", [1, 3, 100])
@pytest.mark.parametrize("devices", [1, 2, 3, 9])
def test_blocks_and_devices(devices, resident_blocks, emulated):
    """More chains than blocks, more blocks than chains, more devices than chains."""
    emulated.configure(devices=devices, resident_blocks=resident_blocks)
    chain = pyrank.Chain(8, 5, activation="gelu", normalization="none")
    assert_same_as_cpu(chain, tuple(range(devices)), chains=7)


def test_too_little_memory_is_told_in_one_line(emulated, capsys):
    emulated.configure(free_memory=10_000)
    with pytest.raises(MemoryError, match=r"7 chains of 30 x 12; run fewer") as error:
        pyrank.simulate(pyrank.Chain(30, 12), 2, chains=7, device="cuda", progress=False)
    assert len(str(error.value).splitlines()) == 1
    assert main(["simulate", "--width", "30", "--depth", "2", "--chains", "7", "--device", "cuda"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    emulated.configure()
    pyrank.simulate(pyrank.Chain(30, 12), 2, chains=7, device="cuda", progress=False)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_threads(seed, emulated):
    emulated.configure(seed=seed)
    assert_same_as_cpu(pyrank.Chain(19, 21, gamma=0.5, activation="relu", normalization="batch"), (0,))


OPTIONS = {"chains": 3, "seed": 5, "measures": ALL_MEASURES, "trace": 16, "progress": False}


@pytest.mark.usefixtures("gpus")
def test_simulate_on_cuda():
    chain = pyrank.Chain(9, 12, gamma=0.5, activation="relu", dtype="float64")
    run = pyrank.simulate(chain, 40, device="cuda", **OPTIONS)
    assert run.backend == "cuda"
    assert "cuda:0" in run.explain()
    assert_same(as_arrays(run), as_arrays(pyrank.simulate(chain, 40, **OPTIONS)))
    assert_same(as_arrays(run), as_arrays(pyrank.simulate(chain, 40, device="cuda:0", **OPTIONS)))
    assert_same(as_arrays(run), as_arrays(pyrank.simulate(chain, 40, backend="cuda", **OPTIONS)))


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("dtype", DTYPES)
def test_resumed_equals_uninterrupted(dtype, tmp_path):
    chain, path = pyrank.Chain(8, dtype=dtype), tmp_path / "run.ckpt"
    whole = pyrank.simulate(chain, 60, device="cuda", **OPTIONS)
    pyrank.simulate(chain, 23, device="cuda", checkpoint=path, **OPTIONS)
    assert checkpoint.load(path)[0]["layer"] == 23
    assert_same(as_arrays(pyrank.simulate(chain, 60, device="cuda", checkpoint=path, **OPTIONS)), as_arrays(whole))


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("devices", [("cpu", "cuda"), ("cuda", "cpu")])
def test_checkpoints_move_between_devices(tmp_path, devices):
    chain, path = pyrank.Chain(11, 7, activation="tanh", dtype="float64"), tmp_path / "run.ckpt"
    pyrank.simulate(chain, 20, device=devices[0], checkpoint=path, **OPTIONS)
    with pytest.warns(UserWarning, match=r"resumed with backend"):
        moved = pyrank.simulate(chain, 50, device=devices[1], checkpoint=path, **OPTIONS)
    assert_same(as_arrays(moved), as_arrays(pyrank.simulate(chain, 50, **OPTIONS)))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(("chain", "options", "message"), [
    (pyrank.Chain(8), {"device": "cuda:3"}, "cuda:0 to cuda:0"),
    (pyrank.Chain(8), {"device": "tpu"}, "'cuda:N'"),
    (pyrank.Chain(8), {"device": "cuda", "backend": "cpu"}, "device='cpu'"),
    (pyrank.Chain(8), {"device": "cuda", "backend": "reference"}, "device='cpu'"),
    (pyrank.Chain(8, weights="orthogonal"), {"device": "cuda"}, "device='cpu'"),
    (pyrank.Chain(8, weights="gram"), {"device": "cuda"}, "device='cpu'"),
    (pyrank.Chain(8, normalization="whiten"), {"device": "cuda"}, "device='cpu'"),
    (pyrank.Chain(2**19, 2**12), {"device": "cuda"}, "device='cpu'"),
])  # fmt: skip
def test_what_cuda_does_not_do_is_told_in_one_line(chain, options, message):
    with pytest.raises(pyrank.ArgumentError, match=message) as error:
        pyrank.engine.backends.choose(chain, **options)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("law", ["orthogonal", "gram"])
def test_the_backend_refuses_what_it_has_no_kernel_for(law, gpus):
    with pytest.raises(ValueError, match="expected a gaussian"):
        advance_on(gpus, make_plan(pyrank.Chain(8, weights=law)), [1])


def test_a_state_on_the_gpu_is_advanced_there(gpus):
    if native._cuda_extension() is not native._extension() or not torch.cuda.is_available():
        pytest.skip("the emulator cannot reach the memory of a GPU, or torch sees none")
    plan = make_plan(pyrank.Chain(9, 12), chains=5)
    state, accumulator, counters = start(plan)
    there = state.cuda()
    native.advance(plan, there, 0, 7, accumulator, counters, gpus=gpus, cuda_kernel="plain")
    here = advance(plan, [7])
    assert_same({"state": there.cpu().numpy(), "counters": counters, **accumulator.arrays()}, here)


def test_a_machine_without_a_gpu_says_so(capsys):
    if not native.cuda_devices()[1]:
        pytest.skip("this machine has a GPU")
    for options in ({"device": "cuda"}, {"device": "cuda:1"}, {"backend": "cuda"}):
        with pytest.raises(pyrank.ArgumentError, match=r"expected a GPU, but .*; use device='cpu'") as error:
            pyrank.simulate(pyrank.Chain(4), 2, **options)
        assert len(str(error.value).splitlines()) == 1
    assert re.search(r"^GPUs: +none \(.+\)$", pyrank.show_config(), flags=re.M)
    assert main(["simulate", "--width", "8", "--depth", "2", "--device", "cuda"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


CONTROLS = {
    "missing_barrier": "reads what",
    "early_write": "writes what .* reads|reads what .* writes",
    "race": "writes what thread .* writes",
    "divergent_exit": "divergent barrier .* has returned",
    "divergent_barriers": r"divergent barrier .* waits at controls.h:\d+, .* waits at controls.h:\d+",
    "divergent_warp": r"divergent operation of a warp .* waits at controls.h:\d+, thread \d+ has returned|"
    r"divergent operation of a warp .* has returned, thread \d+ waits at controls.h:\d+",
    "out_of_bounds": "touches entry 64 of 64",
    "never_written": "reads what nobody has written",
    "race_of_blocks": "writes what another block writes",
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fault", CONTROLS)
def test_the_emulator_finds_what_is_planted(fault, seed, emulated):
    emulated.configure(seed=seed)
    emulated.run_control(fault, planted=False)
    with pytest.raises(RuntimeError, match=CONTROLS[fault]):
        emulated.run_control(fault, planted=True)
    emulated.run_control(fault, planted=False)
