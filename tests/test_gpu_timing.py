"""What is timed on a GPU, and how, as far as it can be tested without one: cases, contenders, gate, ceilings, time."""

import dataclasses
import json
import math
import sys
import types
from pathlib import Path

import ceilings
import contenders
import every_kernel
import gate
import measuring
import numpy as np
import pytest
import report
import steps
import timing
import torch
from cases import GPU_CHAINS, ON_GPU, WIDTHS, Case, select
from contenders import cupy_loop, torch_graph, torch_loop
from roofline import Roofline

from pyrank.engine.native import Gpu

ROOT = Path(__file__).resolve().parents[1]
SMALL = Case(8, 8, chains=40)
LIMIT = Roofline(1e12, "", 1e13, "")


def fake_cupy():
    """Return numpy with what only CuPy has: a type for the legacy generator, and a stream to wait for."""

    class RandomState:
        def __init__(self, seed):
            self._generator = np.random.default_rng(seed)

        def standard_normal(self, size, dtype):
            return self._generator.standard_normal(size, dtype=dtype)

    class Cupy(types.ModuleType):
        random = types.SimpleNamespace(RandomState=RandomState)
        cuda = types.SimpleNamespace(get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: None))

        def __getattr__(self, name):
            return getattr(np, name)

    return Cupy("cupy")


@pytest.fixture
def rehearsal(monkeypatch):
    """The contenders of a GPU on the CPU: CuPy is numpy, and a graph does its work when it is replayed."""
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    monkeypatch.setattr(torch_graph, "_record", lambda work: types.SimpleNamespace(replay=torch.no_grad()(work)))


def test_every_width_is_timed_with_and_without_measures():
    assert set(GPU_CHAINS) == {*WIDTHS, 1024}
    assert {(c.width, c.batch, c.measures) for c in ON_GPU} == {(d, d, m) for d in GPU_CHAINS for m in ("none", "rank")}
    assert [c.width for c in ON_GPU[:8:2]] == [16, 32, 64, 128], "those of most worth come first"
    assert {c.device for c in ON_GPU} == {"cuda"}
    assert {c.activation for c in ON_GPU} | {c.dtype for c in ON_GPU} == {"linear", "float32"}
    at_a_time = {8: 16, 16: 16, 32: 6, 64: 3, 128: 1, 256: 1, 512: 1, 1024: 1}
    assert all(c.chains % (132 * at_a_time[c.width]) == 0 for c in ON_GPU), "whole waves"
    assert all(c.chains * c.width**2 * 4 < 2**27 * 1.1 for c in ON_GPU if c.width < 1024), "states that are soon copied"
    assert all(GPU_CHAINS[d] >= 1000 for d in WIDTHS if d <= 32)
    assert [str(c) for c in select("16x16", "cuda")] == [
        "16x16-linear-none-4224-float32-cuda", "16x16-linear-rank-4224-float32-cuda",
    ]  # fmt: skip
    with pytest.raises(SystemExit, match="3168-float32-cuda"):
        select("2048", "cuda")


def test_peers_of_a_gpu_take_enough_chains_and_not_too_many():
    for case in ON_GPU:
        names = contenders.names(case)
        assert names == ("pyrank", "torch batched", "torch graph", "jax vmap", "cupy", "torch compiled")
        for name in names:
            chains = contenders.chains_together(case, name)
            assert (chains == case.chains) if name == "pyrank" else (32 <= chains <= 65_535)
            assert chains * case.width**2 * 4 < 2**28 * (3 if case.width == 1024 else 1)
    many = Case(64, 64, "rank", device="cuda")
    assert [contenders.chains_together(many, name) for name in ("torch batched", "cupy")] == [32, 4096]
    assert contenders.chains_together(Case(512, 512, "rank", device="cuda"), "cupy") == 32, "each takes long enough"


@pytest.mark.parametrize("measures", ["none", "r"])
@pytest.mark.usefixtures("rehearsal")
def test_a_graph_is_the_loop(measures):
    case = dataclasses.replace(SMALL, measures=measures)
    gate.check(case, contenders.Contender("torch graph", 40, *torch_graph.build(case, "torch graph", 40)))
    _, run = torch_graph.build(case, "torch graph", 40)
    first, second = (run(torch_graph.LAYERS + 3) for _ in range(2))
    assert not torch.equal(first[0], second[0]), "fresh weights in every run"


@pytest.mark.usefixtures("rehearsal")
def test_cupy_does_the_job():
    for case in (SMALL, Case(6, 9, "r", chains=20), Case(9, 4, "rank", "tanh", chains=20)):
        gate.check(case, contenders.Contender("cupy", case.chains, *cupy_loop.build(case, "cupy", case.chains)))


def test_jax_does_the_job_with_several_layers_a_turn(monkeypatch):
    jax_loop = pytest.importorskip("contenders.jax_loop")
    monkeypatch.setitem(jax_loop.ABREAST, "cpu", 3)  # the gate's 64 layers are 21 turns and one layer
    monkeypatch.setitem(jax_loop.GENERATOR, "cpu", jax_loop.GENERATOR["cuda"])
    gate.check(SMALL, contenders.Contender("jax vmap", 40, *jax_loop.build(SMALL, "jax vmap", 40)))


@pytest.mark.usefixtures("emulated")
def test_pyrank_on_a_gpu_passes_the_gate():
    for measures in ("none", "rank"):
        case = Case(8, 8, measures, chains=40, device="cuda")
        gate.check(case, contenders.build(case, "pyrank"))


def test_every_kernel_is_watched(emulator, monkeypatch, capsys):
    emulator.configure()
    called = set()

    class Cuda:
        def __init__(self, *arguments):
            self._kernels = emulator.Cuda(*arguments)

        def __getattr__(self, name):
            called.add(name)
            return getattr(self._kernels, name)

    spied = types.ModuleType("spied")
    spied.__dict__.update(vars(emulator) | {"Cuda": Cuda, "__name__": "spied"})
    monkeypatch.setattr("pyrank.engine.native._cuda_extension", lambda: spied)
    monkeypatch.setattr(every_kernel, "SHAPES", ((8, 8), (17, 5)))
    every_kernel.main()
    assert called >= {"advance", "measure", "draw_weights"}
    assert capsys.readouterr().out == "every kernel ran\n"


def test_every_size_of_kernel_is_watched():
    """Those for the tensor cores have room for 16, 32, 64, 128 and 256 samples; beyond that there is the plain one."""
    largest = (16, 32, 64, 128, 256)
    assert [sum(batch > most for most in largest) for _, batch in every_kernel.SHAPES] == [0, 1, 2, 3, 4, 5]


def test_what_a_library_cannot_do_is_said_with_the_reason():
    for name, reason in (("torch graph", "eigvalsh waits for the GPU"), ("torch compiled", "in eigvalsh")):
        missing = contenders.build(Case(64, 64, "rank", chains=32, device="cuda"), name)
        assert isinstance(missing, contenders.Missing)
        assert reason in missing.reason


def test_the_gate_finds_what_only_the_last_of_many_chains_have_wrong(monkeypatch):
    monkeypatch.setattr(gate, "CHECKED", 128)  # 16 chains of width 8, of 40

    def spoilt(chain):
        def layer(H, W):
            H, values = honest.layer(H, W)
            H[chain] *= np.float32(1.001)
            return H, values

        return dataclasses.replace(honest, layer=layer)

    honest = contenders.Contender("torch batched", 40, *torch_loop.build(SMALL, "torch batched", 40))
    gate.check(SMALL, honest)
    with pytest.raises(gate.GateError, match="state is off"):
        gate.check(SMALL, spoilt(39))
    compiled = contenders.build(SMALL, "pyrank")
    gate.check(SMALL, compiled)
    honest = compiled
    with pytest.raises(gate.GateError, match="state is off"):
        gate.check(SMALL, spoilt(15))


def named(name, **changes):
    return contenders.Contender(name, 4, None, lambda layers: None, **changes)


def test_a_red_gate_or_a_broken_pyrank_costs_one_case(monkeypatch):
    def build(case, name):
        if (case.width, name) == (16, "pyrank"):
            raise RuntimeError("CUDA: out of memory\nand more")
        return named(name)

    def check(case, contender):
        if (case.width, contender.name) == (8, "cupy"):
            raise gate.GateError("8x8, cupy: state is off")
        if (case.width, contender.name) == (32, "jax vmap"):
            raise MemoryError("no workspace")

    monkeypatch.setattr(contenders, "build", build)
    monkeypatch.setattr(gate, "check", check)
    monkeypatch.setattr(measuring.timing, "interleave", lambda present, *_: {who.name: [1e-9] for who in present})
    wanted = [Case(d, d, "none", chains=4, device="cuda") for d in (8, 16, 32)]
    measured, seen = not_begun(wanted), []

    def publish():
        now = (measured.begun, len(measured.results), len(measured.failed), len(measured.dropped))
        if now not in seen:
            seen.append(now)

    measuring.measure_within(wanted, 6, 0.1, measuring.time.monotonic() + 1000, measured, publish)
    names = [f"{d}x{d}-linear-none-4-float32-cuda" for d in (8, 16, 32)]
    assert measured.failed == {
        f"{names[0]}, cupy": "8x8, cupy: state is off",
        names[1]: "RuntimeError: CUDA: out of memory",
    }
    assert [result["name"] for result in measured.results] == [names[0], names[2]]
    everybody = {"pyrank", "torch batched", "torch graph", "torch compiled", "jax vmap", "cupy"}
    assert [set(result["times"]) for result in measured.results] == [everybody - {"cupy"}, everybody - {"jax vmap"}]
    assert [result["missing"] for result in measured.results] == [
        {"cupy": "8x8, cupy: state is off"}, {"jax vmap": "MemoryError: no workspace"},
    ]  # fmt: skip
    assert seen == [
        (names[0], 0, 0, 2), (names[0], 1, 0, 2), (names[0], 1, 1, 2), (None, 1, 1, 2),
        (names[1], 1, 1, 1), (None, 1, 2, 1),
        (names[2], 1, 2, 0), (names[2], 2, 2, 0), (None, 2, 2, 0),
    ]  # fmt: skip


def not_begun(cases):
    return measuring.Measured(dropped=[str(case) for case in cases])


def test_cases_that_do_not_fit_into_the_time_are_dropped_those_of_least_worth_first(monkeypatch):
    now, shares = [0.0], []

    def measure_case(case, limit, rounds, seconds, names, red, deadline, tell):
        shares.append(deadline - now[0])
        now[0] += 10
        return {"name": str(case)}

    monkeypatch.setattr(measuring.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(measuring, "measure_case", measure_case)
    wanted = [Case(d, d, m, device="cuda") for d in (64, 8) for m in ("rank", "none")]
    measured = not_begun(wanted)
    measuring.measure_within(wanted, 6, 0.1, 35.0, measured, lambda: None)
    assert [result["name"] for result in measured.results] == [str(case) for case in wanted[:3]]
    assert measured.dropped == [str(wanted[3])]
    assert shares == [2 * 35 / 4, 2 * 25 / 3, 15], "twice what each of those left would have, and no more than there is"


def test_slow_peers_cost_themselves_and_not_pyrank(monkeypatch):
    """Late ones are not built, later rounds are pyrank's alone, and what was timed is told from the first round on."""
    now, told = [0.0], []
    layer_seconds = {"pyrank": 1.0, "torch batched": 1.0, "cupy": 30.0, "torch compiled": 1.0}

    def build(case, name):
        def run(layers):
            now[0] += layer_seconds[name] * layers

        now[0] += 1
        return contenders.Contender(name, 1, None, run)

    monkeypatch.setattr(contenders, "build", build)
    monkeypatch.setattr(gate, "check", lambda *_: None)
    monkeypatch.setattr(measuring.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(measuring.timing.time, "perf_counter", lambda: now[0])
    result = measuring.measure_case(
        Case(8, 8, device="cuda"), None, 6, 1.0, tuple(layer_seconds), {}, deadline=5.5,
        tell=lambda result: told.append({name: len(times) for name, times in result["times"].items()}),
    )  # fmt: skip
    assert result["missing"] == {"torch compiled": measuring.NO_TIME}
    assert {name: len(times) for name, times in result["times"].items()} == {"pyrank": 6, "torch batched": 1, "cupy": 1}
    assert told[0] == {"pyrank": 1}
    assert [counts["pyrank"] for counts in told[1:]] == [1, 2, 3, 4, 5, 6]
    assert timing.ratio(result["times"], "cupy").rounds == 1
    assert not [key for key in result if key.startswith("limit")]


def test_a_lost_gpu_ends_the_program_after_the_case(monkeypatch):
    """What a kernel left behind would be found by every later case."""

    def lost():
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    monkeypatch.setattr(measuring, "measure_case", lambda *_, **__: lost())
    wanted = [Case(d, d, "none", device="cuda") for d in (8, 16)]
    measured = not_begun(wanted)
    with pytest.raises(RuntimeError, match="illegal"):
        measuring.measure_within(wanted, 6, 0.1, math.inf, measured, lambda: None)
    assert (list(measured.failed), measured.dropped, measured.begun) == ([str(wanted[0])], [str(wanted[1])], None)


def test_a_case_that_stands_still_ends_the_program(tmp_path):
    code = """
import math, time, sys, json
import measuring
from cases import Case
measuring.CASE_SECONDS = 0.5
measuring.measure_case = lambda *_: time.sleep(60)
case = Case(8, 8, device="cuda")
measured = measuring.Measured(dropped=[str(case)])
measuring.measure_within([case], 6, 0.1, math.inf, measured, lambda: print(measured.begun, flush=True))
"""
    ended = steps.run([sys.executable, "-c", code], 50.0, tmp_path / "log", ROOT / "benchmarks")
    assert ended.code == 1
    assert ended.output.startswith("8x8-linear-rank-16-float32-cuda\nTimeout")


def test_patience_makes_a_round_longer(monkeypatch):
    asked = []
    monkeypatch.setattr(measuring.timing, "calibrate", lambda run, seconds, least: asked.append((seconds, least)) or 1)
    measuring.timing.interleave([named("pyrank", patience=5.0), named("cupy")], 1, 0.1)
    assert asked == [(0.5, 1), (0.1, 1)]
    assert ON_GPU[0].least_layers == 1


def test_ceilings_and_the_limit_they_make(monkeypatch):
    for name, small in {"SIDE": 32, "COPIED": 2**12, "DRAWN": 2**10, "CHAINS": 4, "WIDTHS": (8,)}.items():
        monkeypatch.setattr(ceilings, name, small)
    found = ceilings.measure(1e-4, device="cpu")
    assert {name: c.unit for name, c in found.items()} == {
        "normals, filled by torch": "1/s", "fp32 products": "FLOP/s", "tf32 products": "FLOP/s",
        "bf16 products": "FLOP/s", "copy": "B/s", "normals, drawn by chains": "1/s",
    }  # fmt: skip
    assert all(c.per_second > 0 for c in found.values())
    assert torch.get_float32_matmul_precision() == "highest"
    rates = dict(zip(found, (2.0, 10.0, 33.0, 99.0, 1.0, 3.0), strict=True))
    limit = ceilings.limit({name: dataclasses.replace(found[name], per_second=rates[name]) for name in found})
    assert (limit.weights_per_second, limit.flops_per_second) == (3.0, 11.0)
    assert limit.flops_from.startswith("tf32 in three terms")


def test_a_kernel_that_fails_does_not_cost_the_other_ceilings(monkeypatch, capsys):
    def fails(*_, **__):
        raise RuntimeError("CUDA: an illegal memory access was encountered")

    for name, small in {"SIDE": 32, "COPIED": 2**12, "DRAWN": 2**10}.items():
        monkeypatch.setattr(ceilings, name, small)
    monkeypatch.setattr(ceilings.pyrank, "simulate", fails)
    found = ceilings.measure(1e-4, device="cpu")
    assert "illegal memory access" in capsys.readouterr().err
    assert ceilings.limit(found).weights_from.startswith("normals, filled by torch")


@pytest.mark.usefixtures("rehearsal")
def test_rehearsal_of_a_whole_report(monkeypatch, tmp_path):
    """Everything that the report for a GPU does, with the CPU in the place of the GPU."""
    kinds = ("normals, drawn by chains", "normals, filled by torch", "fp32 products", "tf32 products")
    rates = (1e12, 1e11, 1e13, 1e14)
    invented = {kind: ceilings.Ceiling(rate, "1/s", "invented") for kind, rate in zip(kinds, rates, strict=True)}
    monkeypatch.setattr(ceilings, "measure", lambda seconds: invented)
    monkeypatch.setattr("pyrank.engine.native.cuda_devices", lambda: ([Gpu("H200", 90)], ""))
    monkeypatch.setattr("cases.GPU_SELECTIONS", {"core": (SMALL, Case(8, 8, "none", chains=40))})
    names = ("pyrank", "torch batched", "torch graph", "cupy")
    monkeypatch.setattr(contenders, "names", lambda case, compiled: names)
    arguments = ["--device", "cuda", "--rounds", "2", "--seconds", "0.001", "--out", str(tmp_path)]
    assert report.main(arguments) == 0
    written = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [set(result["times"]) for result in written["results"]] == [set(names) - {"torch graph"}, set(names)]
    assert (written["failed"], written["dropped"], written["limits"]) == ({}, [], {})
    assert written["machine"]["GPU, memory, compute capability, driver"]
    assert "of limit" in (tmp_path / "benchmarks.md").read_text()
    assert report.main([*arguments, "--ceilings"]) == 0
    completed = json.loads((tmp_path / "benchmarks.json").read_text())
    assert completed["limits"]["float32"]["flops_from"].startswith("tf32 in three terms")
    assert [result["times"] for result in completed["results"]] == [result["times"] for result in written["results"]]
    assert all(result["limit_seconds"] > 0 for result in completed["results"])
    assert "## Ceilings of the GPU" in (tmp_path / "benchmarks.md").read_text()
    assert report.main([*arguments, "--within", "0"]) == 0
    none = json.loads((tmp_path / "benchmarks.json").read_text())
    assert len(none["dropped"]) == 2
    first, last = none["dropped"]
    (tmp_path / "benchmarks.json").write_text(json.dumps(none | {"dropped": [last], "begun": first}))
    assert report.main([*arguments, "--resume"]) == 0
    resumed = json.loads((tmp_path / "benchmarks.json").read_text())
    assert ([result["name"] for result in resumed["results"]], resumed["dropped"]) == ([last], [])
    assert list(resumed["failed"]) == [first]
    assert resumed["ceilings"] == none["ceilings"]
