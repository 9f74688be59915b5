"""What `simulate` and `Run` do: schedules, backends, memory, presentation."""

import math
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pyrank
from pyrank import reference
from pyrank.engine import native

from harness import make_plan, start

CHAIN = pyrank.Chain(6, 5, gamma=0.5)
OPTIONS = {"chains": 3, "progress": False}


@pytest.mark.parametrize(
    ("burn_in", "every", "depth"), [(0, 1, 10), (3, 1, 10), (3, 4, 20), (9, 1, 10), (9, 7, 10), (2, 3, 3)]
)
def test_recorded_layers_are_those_of_the_schedule(burn_in, every, depth):
    """Measure H_{l+1} at l = burn_in, burn_in + every, ... and nothing else."""
    run = pyrank.simulate(
        CHAIN, depth, burn_in=burn_in, every=every, measures=["trace", "participation_ratio"], **OPTIONS
    )
    layers = range(burn_in, depth, every)
    states = [pyrank.simulate(CHAIN, layer + 1, measures=[], **OPTIONS).state for layer in layers]
    expected = torch.stack([pyrank.participation_ratio(state.double()) for state in states], dim=-1)
    e = run["participation_ratio"]
    assert (
        e.count
        == run.recorded
        == len(layers)
        == make_plan(CHAIN, burn_in=burn_in, every=every).schedule.recorded(depth)
    )
    np.testing.assert_allclose(e.trace, expected, rtol=1e-5)
    assert e.mean == pytest.approx(expected.mean().item(), rel=1e-5)
    assert run.to_xarray()["layer"].values.tolist() == list(layers)


def test_measures_are_named_in_any_spelling():
    run = pyrank.simulate(
        CHAIN, 5, measures=["soft_rank(1)", pyrank.Measure("soft_rank", 0.5), "soft_rank(1.0)"], **OPTIONS
    )
    assert list(run) == ["soft_rank(1.0)", "soft_rank(0.5)"]
    assert run["soft_rank(tau=1)"] is run[pyrank.Measure("soft_rank", 1)]
    assert "soft_rank(.5)" in run
    assert "trace" not in run
    with pytest.raises(pyrank.ArgumentError, match="trace"):
        run["trace"]


def test_histogram_counts_every_sample():
    run = pyrank.simulate(CHAIN, 40, **OPTIONS)
    e = run["soft_rank(0.5)"]
    assert e.histogram.shape == (3, 6)
    np.testing.assert_array_equal(e.histogram.sum(axis=1), 40)
    assert (e.histogram * np.arange(6)).sum() / 120 == pytest.approx(e.mean)


def test_backends_agree_and_explain_themselves():
    compiled, oracle = (pyrank.simulate(CHAIN, 15, backend=backend, **OPTIONS) for backend in ("cpu", "reference"))
    np.testing.assert_array_equal(compiled["soft_rank(0.5)"].histogram, oracle["soft_rank(0.5)"].histogram)
    assert compiled["participation_ratio"].mean == pytest.approx(oracle["participation_ratio"].mean, rel=1e-5)
    assert native.isa_in_use() in compiled.explain()
    assert "float64" in oracle.explain()
    assert oracle.state.dtype == torch.float64


def test_isa_can_be_chosen(monkeypatch, isa):
    monkeypatch.setenv("PYRANK_ISA", isa)
    assert isa in pyrank.simulate(CHAIN, 2, **OPTIONS).explain()
    assert isa in pyrank.show_config()


def test_printed_table_aligns():
    run = pyrank.simulate(CHAIN, 2000, measures=["trace", "soft_rank(0.5)", "rank_bound_margin(0.25)"], **OPTIONS)
    lines = str(run).splitlines()
    table = lines[3:7]
    ends = [[match.end() for match in re.finditer(r"\S+", line.split("flags")[0].rstrip())][1:5] for line in table]
    assert len({tuple(columns) for columns in ends}) == 1, str(run)
    assert all(len(line) <= 120 for line in lines)


def test_to_dict_is_json():
    import json

    run = pyrank.simulate(CHAIN, 30, **OPTIONS)
    data = json.loads(json.dumps(run.to_dict()))
    assert data["estimates"]["soft_rank(0.5)"]["mean"] == run["soft_rank(0.5)"].mean
    assert data["plan"]["chain"]["gamma"] == 0.5
    assert pyrank.simulate(pyrank.Chain(4), 2, **OPTIONS).to_dict()["plan"]["chain"]["gamma"] == "inf"


def test_run_is_a_mapping():
    run = pyrank.simulate(CHAIN, 5, measures=["trace"], **OPTIONS)
    assert run.get("trace") is run["trace"]
    assert run.get("participation_ratio") is None
    assert "bogus" not in run
    with pytest.raises(KeyError, match="measure"):
        run["participation_ratio"]


def test_initial_states():
    """Identity; and collinear: one gaussian column for all samples plus a perturbation of the stated size."""
    frozen = pyrank.Chain(6, 5, gamma=0.0, normalization="none", dtype="float64", activation="tanh")
    options = {"measures": [], "chains": 2, "progress": False, "seed": 3}
    eye = pyrank.simulate(frozen, 1, initial="identity", **options).state
    assert torch.equal(eye, torch.eye(6, 5, dtype=torch.float64).expand(2, 6, 5))
    gaussian = pyrank.simulate(frozen, 1, initial="gaussian", **options).state
    for text, size in (("collinear", 1e-5), ("collinear(0.25)", 0.25)):
        common = pyrank.simulate(frozen, 1, initial=text, **options).state - size * gaussian
        torch.testing.assert_close(common, common[..., :1].expand_as(common), rtol=0, atol=1e-14)
        assert not torch.equal(common[0], common[1])


def test_no_trace():
    run = pyrank.simulate(CHAIN, 30, trace=0, **OPTIONS)
    assert run["participation_ratio"].trace is None
    with pytest.raises(pyrank.ArgumentError, match="trace"):
        run.to_xarray()


def test_progress_bar_shows_rate_and_remaining_time(capsys):
    pytest.importorskip("tqdm")
    pyrank.simulate(CHAIN, 200, chains=2, progress=True)
    bar = capsys.readouterr().err
    assert "200/200" in bar
    assert "layers/s" in bar
    pyrank.simulate(CHAIN, 200, chains=2)
    assert capsys.readouterr().err == ""  # not a terminal


def test_functions_on_tensors():
    rng = np.random.default_rng(1)
    H = torch.tensor(rng.standard_normal((2, 3, 7, 4)), requires_grad=True)
    M = (H @ H.mT / 4).detach().numpy()
    eigenvalues = np.linalg.eigvalsh(M)
    np.testing.assert_allclose(pyrank.trace(H).detach(), np.trace(M, axis1=-2, axis2=-1))
    np.testing.assert_allclose(pyrank.frobenius_norm(H).detach(), np.linalg.norm(M, axis=(-2, -1)))
    ratio = eigenvalues.sum(axis=-1) ** 2 / (eigenvalues**2).sum(axis=-1)
    np.testing.assert_allclose(pyrank.participation_ratio(H).detach(), ratio)
    np.testing.assert_array_equal(pyrank.soft_rank(H, tau=0.7), (eigenvalues >= 0.7).sum(axis=-1))
    assert torch.autograd.gradcheck(pyrank.participation_ratio, (H,))
    W = torch.tensor(rng.standard_normal((7, 7)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, w: pyrank.layer_step(h, w, gamma=0.3, activation="tanh"), (H[0], W))


def test_layer_step_is_the_textbook_layer():
    """Against torch's own batch normalisation in training mode."""
    rng = np.random.default_rng(2)
    H, W = torch.tensor(rng.standard_normal((9, 12))), torch.tensor(rng.standard_normal((9, 9)))
    norm = pyrank.Normalization(recentre=True, eps=1e-5)
    ours = pyrank.layer_step(H, W, gamma=math.inf, activation="relu", normalization=norm)
    theirs = torch.nn.functional.batch_norm((W @ torch.relu(H)).T, None, None, training=True, eps=1e-5).T
    torch.testing.assert_close(ours, theirs)
    with pytest.raises(pyrank.ArgumentError, match="W"):
        reference.layer_step(H, W[:, :5])


MEMORY = """
import pathlib, sys, pyrank

def peak():  # of this program alone; getrusage has that of the process which started it, too
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

chain = pyrank.Chain(8)
pyrank.simulate(chain, 10_000, chains=16, progress=False)
before = peak()
pyrank.simulate(chain, int(sys.argv[1]), chains=16, progress=False)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_memory_is_flat_in_depth(tmp_path):
    """Peak memory at 10^6 layers within 20 MB of that at 10^4."""
    command = [sys.executable, "-c", MEMORY, "1_000_000"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert int(result.stdout) <= 20 * 1024


def test_other_threads_run_meanwhile():
    """The kernels release the interpreter's lock: a second thread is not held up by a call of half a second."""
    plan = make_plan(pyrank.Chain(256), chains=2, measures=())
    state, accumulator, counters = start(plan)
    worker = threading.Thread(target=native.advance, args=(plan, state, 0, 1_000, accumulator, counters))
    worker.start()
    turns = 0
    while worker.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 20
