"""The promises of the README, literally: what a result depends on, and what it does not."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import pyrank
from pyrank.engine import checkpoint, native

from harness import advance, as_arrays, assert_same, make_plan, start, start_command

CHAINS = {
    "paper": pyrank.Chain(8),
    "textbook": pyrank.Chain(17, 9, gamma=0.3, activation="relu", normalization="batch"),
    "double": pyrank.Chain(12, 20, gamma=1.0, activation="tanh", dtype="float64", weights="rademacher"),
    "wide": pyrank.Chain(70, 66, weights="uniform"),
    "plain": pyrank.Chain(11, gamma=0.2, activation="leaky_relu", normalization="none"),
    "layer": pyrank.Chain(19, 7, activation="relu", normalization="layer"),
    "orthogonal": pyrank.Chain(18, 7, gamma=0.5, weights="orthogonal", activation="tanh"),
    "gram": pyrank.Chain(33, 6, weights="gram", activation="relu", normalization="batch"),
    "varying": pyrank.Chain((9, 20, 5), 8, activation="sigmoid", normalization="recentre"),
    "whitened": pyrank.Chain((19, 6), 11, activation="relu", normalization="whiten"),
}


@pytest.fixture(params=CHAINS)
def plan(request):
    return make_plan(CHAINS[request.param], chains=21, burn_in=3, every=2)


def test_p1_same_twice(plan, isa):
    assert_same(advance(plan, [9], isa=isa), advance(plan, [9], isa=isa))


@pytest.mark.parametrize("threads", [2, 3])
def test_p2_threads(plan, isa, threads):
    assert_same(advance(plan, [9], isa=isa), advance(plan, [9], isa=isa, threads=threads))


@pytest.mark.parametrize("chains", [1, 3])
@pytest.mark.parametrize(
    "chain",
    [
        pyrank.Chain(300),
        pyrank.Chain(290, 150, gamma=0.5, activation="relu", normalization="batch"),
        pyrank.Chain(150, 290, dtype="float64"),
        pyrank.Chain(130, weights="orthogonal"),
        pyrank.Chain(129, 128, normalization="whiten"),
    ],
    ids=str,
)
def test_p2_threads_that_share_a_chain(chain, chains, isa):
    plan = make_plan(chain, chains=chains)
    alone = advance(plan, [3], isa=isa)
    for threads in (2, 5):
        assert_same(alone, advance(plan, [3], isa=isa, threads=threads))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_p2_chunks(plan, isa, chunk):
    depth = 30
    chunks = [min(chunk, depth - done) for done in range(0, depth, chunk)]
    assert_same(advance(plan, [depth], isa=isa), advance(plan, chunks, isa=isa))


def test_p2_long_chunks():
    """Through a doubling of batches and of the trace."""
    plan = make_plan(CHAINS["paper"], chains=5)
    assert_same(advance(plan, [2100]), advance(plan, [1000, 1, 7, 1000, 92]))


@pytest.mark.parametrize("chains", [1, 2, 7, 15, 16, 17, 40])
def test_p2_position_and_number_of_chains(chains, isa):
    for chain in CHAINS.values():
        many = advance(make_plan(chain, chains=40), [5], isa=isa)
        few = advance(make_plan(chain, chains=chains), [5], isa=isa)
        for name, array in few.items():
            if name == "rank_index":
                continue
            first = many[name][:chains] if name == "state" else many[name][..., :chains]
            np.testing.assert_array_equal(array, first, err_msg=name)


def test_other_seeds_give_other_results(plan):
    other = make_plan(plan.chain, chains=21, seed=2, burn_in=3, every=2)
    assert not np.array_equal(advance(plan, [9])["state"], advance(other, [9])["state"])


def test_instruction_sets_agree_statistically():
    """Not promised to the last bit across instruction sets, but every vector set performs the same operations."""
    plan = make_plan(pyrank.Chain(16, dtype="float64"), chains=8)
    results = [advance(plan, [20], isa=isa) for isa in native.isas()]
    for result in results[1:]:
        np.testing.assert_allclose(result["state"], results[0]["state"], rtol=1e-6, atol=1e-9)


def simulate(depth, path=None, chain=None, **options):
    chain = chain or pyrank.Chain(6, 5, gamma=0.5, activation="relu", normalization="batch")
    options = {"chains": 3, "measures": ["participation_ratio", "soft_rank(0.5)"], "burn_in": 4, "every": 3,
               "trace": 4, "progress": False, **options}  # fmt: skip
    return pyrank.simulate(chain, depth, checkpoint=path, **options)


@pytest.mark.parametrize("chain", [None, pyrank.Chain((5, 9, 6), 4, weights="orthogonal", normalization="none")])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_p3_resume_at_every_layer(tmp_path, backend, chain):
    options = {"chain": chain, "backend": backend, "observe": "activation", "snapshot_every": 5,
               "measures": ["soft_rank(0.5)", "stable_rank"]}  # fmt: skip
    whole = as_arrays(simulate(50, **options))
    for layer in range(5, 50):
        path = tmp_path / f"{layer}.ckpt"
        simulate(layer, path, **options)
        assert_same(as_arrays(simulate(50, path, **options)), whole)


def test_p3_checkpoint_times(tmp_path, monkeypatch):
    monkeypatch.setattr("pyrank.engine.simulation.CHECKPOINT_SECONDS", 0.0)
    assert_same(as_arrays(simulate(500, tmp_path / "often.ckpt")), as_arrays(simulate(500)))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "times", "many"), [(signal.SIGKILL, 10, 200), (signal.SIGTERM, 10, 50)])
def test_p3_stopped_at_random_moments(number, times, many, tmp_path, request):
    """A command is stopped again and again while it begins or works; what is left always continues to the same bits."""
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "stopped.ckpt"
    command = ["simulate", "--width", "8", "--depth", "1e9", "--chains", "2", "--threads", "1"]
    command += ["--checkpoint", str(path)]
    rng = random.Random(1)
    layer = 0
    for n in range(many if request.config.getoption("--validate") else times):
        written = path.stat().st_mtime_ns if path.exists() else 0
        process = start_command(command, tmp_path, seconds=0.01)
        while n % 2 and not (path.exists() and path.stat().st_mtime_ns > written):
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.2))
        os.kill(process.pid, number)
        process.join()
        if process.exitcode == 143:
            assert len((tmp_path / "err").read_text().splitlines()) == 1
        else:  # killed, or stopped before anything listened
            assert process.exitcode == -number
        if path.exists():
            before, layer = layer, checkpoint.load(path)[0]["layer"]
            assert layer > before if n % 2 else layer >= before
    chain, depth = pyrank.Chain(8), layer + 1000
    resumed = pyrank.simulate(chain, depth, chains=2, checkpoint=path, progress=False)
    assert_same(as_arrays(resumed), as_arrays(pyrank.simulate(chain, depth, chains=2, progress=False)))
    assert sorted(file.name for file in path.parent.iterdir()) == ["stopped.ckpt", "stopped.ckpt.previous"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_resume(number, status, tmp_path):
    path = tmp_path / "interrupted.ckpt"
    command = ["simulate", "--width", "32", "--depth", "1e8", "--checkpoint", str(path)]
    process = start_command(command, tmp_path, seconds=0.1)
    while not path.exists():
        assert process.is_alive()
        time.sleep(0.005)
    began = time.monotonic()
    os.kill(process.pid, number)
    os.kill(process.pid, number)  # as `timeout` does
    process.join(30)
    assert time.monotonic() - began < 3.0  # a second to stop, the rest to leave the interpreter
    assert process.exitcode == status
    (message,) = (tmp_path / "err").read_text().splitlines()
    assert f"run the same again to resume from {path}" in message
    assert (tmp_path / "out").read_text() == ""
    assert checkpoint.load(path)[0]["layer"] > 0


BESIDE = """
import multiprocessing, sys, pyrank
from concurrent.futures import ThreadPoolExecutor

def total(_=None):
    return pyrank.simulate(pyrank.Chain(64), 20, chains=4, progress=False).state.sum().item()

if __name__ == "__main__":
    here = total()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(total, range(8)))
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        found += pool.map_async(total, [0]).get(timeout=60)
    sys.exit(found != [here] * 9)
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_threads_and_other_processes_work_and_agree(method, tmp_path):
    (tmp_path / "beside.py").write_text(BESIDE)
    subprocess.run([sys.executable, "beside.py", method], cwd=tmp_path, check=True, timeout=120)


def test_p5_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    simulate(20, path)
    with pytest.raises(pyrank.ArgumentError, match=r"seed: 0 in the checkpoint, 1 asked for"):
        simulate(20, path, seed=1)
    with pytest.raises(pyrank.ArgumentError, match="measures"):
        simulate(20, path, measures=["trace"])
    with pytest.raises(pyrank.ArgumentError, match="depth"):
        simulate(10, path)


def test_p5_corrupt_checkpoint_is_not_used(tmp_path):
    path = tmp_path / "run.ckpt"
    simulate(20, path)
    simulate(30, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="previous"):
        resumed = simulate(50, path)
    assert_same(as_arrays(resumed), as_arrays(simulate(50)))


def test_compiled_record_equals_its_numpy_twin():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, (900, 6, 5)) + rng.random((900, 6, 5)) * (np.array([1, 1, 1, 0, 0, 1])[:, None])
    plan = make_plan(pyrank.Chain(8), chains=5, trace=64)
    _, compiled, _ = start(plan)
    twin = compiled.copy()
    native.accumulate(compiled, values[:313], 0)
    native.accumulate(compiled, values[313:], 313)
    for n, sample in enumerate(values):
        twin.push(sample, n)
    assert_same(compiled.arrays(), twin.arrays())
