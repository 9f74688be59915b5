"""The benchmark for a GPU, as far as it can be tested without one: steps that fail, what is timed, what is reported."""

import dataclasses
import functools
import json
import math
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import ceilings
import contenders
import every_kernel
import gate
import goals
import gpu
import gpu_build
import gpu_tables
import machine
import measuring
import numpy as np
import pytest
import report
import steps
import tables
import torch
from cases import GPU_CHAINS, ON_GPU, WIDTHS, Case, select
from contenders import cupy_loop, torch_graph, torch_loop
from roofline import Roofline
from steps import Outcome

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
    assert {(c.width, c.batch, c.measures) for c in ON_GPU} == {(d, d, m) for d in WIDTHS for m in ("none", "rank")}
    assert {c.device for c in ON_GPU} == {"cuda"}
    assert {c.activation for c in ON_GPU} | {c.dtype for c in ON_GPU} == {"linear", "float32"}
    at_a_time = {8: 16, 16: 16, 32: 6, 64: 3, 128: 1, 256: 1, 512: 1}
    assert all(c.chains % (132 * at_a_time[c.width]) == 0 for c in ON_GPU), "whole waves"
    assert all(c.chains * c.width**2 * 4 < 2**27 * 1.1 for c in ON_GPU), "states that are soon copied"
    assert all(GPU_CHAINS[d] >= 1000 for d in WIDTHS if d <= 32)
    assert [str(c) for c in select("16x16", "cuda")] == [
        "16x16-linear-none-4224-float32-cuda", "16x16-linear-rank-4224-float32-cuda",
    ]  # fmt: skip
    with pytest.raises(SystemExit, match="3168-float32-cuda"):
        select("1024", "cuda")


def test_peers_of_a_gpu_take_enough_chains_and_not_too_many():
    for case in ON_GPU:
        names = contenders.names(case)
        assert names == ("pyrank", "torch batched", "torch graph", "torch compiled", "jax vmap", "cupy")
        for name in names:
            chains = contenders.chains_together(case, name)
            assert (chains == case.chains) if name == "pyrank" else (32 <= chains <= 65_535)
            assert chains * case.width**2 * 4 < 2**28
    many = Case(64, 64, "rank", device="cuda")
    assert [contenders.chains_together(many, name) for name in ("torch batched", "cupy")] == [32, 4096]


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

    spied = types.SimpleNamespace(Cuda=Cuda, Chain=emulator.Chain, cuda_devices=emulator.cuda_devices)
    monkeypatch.setattr("pyrank.native._cuda_extension", lambda: spied)
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
    wanted = [Case(d, d, "none", chains=4, device="cuda") for d in (32, 8, 16)]
    measured, seen = not_begun(wanted), []
    measuring.measure_within(
        wanted, LIMIT, 6, 0.1, math.inf, measured,
        lambda: seen.append((measured.begun, len(measured.results), len(measured.failed), len(measured.dropped))),
    )  # fmt: skip
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
    assert seen == [(names[0], 0, 0, 2), (None, 1, 1, 2), (names[1], 1, 1, 1), (None, 1, 2, 1), (names[2], 1, 2, 0),
                    (None, 2, 2, 0)]  # fmt: skip


def not_begun(cases):
    return measuring.Measured(dropped=[str(case) for case in cases])


def test_cases_that_do_not_fit_into_the_time_are_dropped_the_most_expensive_ones_first(monkeypatch):
    clock = iter((0.0, 10.0, 10.0, 25.0, 25.0))
    monkeypatch.setattr(measuring.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(measuring, "measure_case", lambda case, *_, **__: {"name": str(case)})
    wanted = [Case(d, d, m, device="cuda") for d in (64, 8) for m in ("rank", "none")]
    measured = not_begun(wanted)
    measuring.measure_within(wanted, LIMIT, 6, 0.1, 39.0, measured, lambda: None)
    assert [result["name"][:8] for result in measured.results] == ["8x8-line", "8x8-line"]
    assert set(measured.dropped) == {"64x64-linear-none-16-float32-cuda", "64x64-linear-rank-16-float32-cuda"}


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
        measuring.measure_within(wanted, LIMIT, 6, 0.1, math.inf, measured, lambda: None)
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
measuring.measure_within([case], None, 6, 0.1, math.inf, measured, lambda: print(measured.begun, flush=True))
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


def result_of(case, pyrank, peer, rounds=6):
    times = {"pyrank": [pyrank] * rounds, "jax vmap": [peer] * rounds, "cupy": [2 * peer] * rounds}
    limits = {"limit_seconds": LIMIT.seconds(case), "limit_in_turn_seconds": LIMIT.seconds_in_turn(case)}
    return {"name": str(case), "case": case.to_dict(), "times": times, "missing": {"torch graph": "no graph"},
            "limit_from": LIMIT.binds(case), **limits}  # fmt: skip


def test_goals_of_a_gpu():
    def verdicts(width, measures, pyrank, peer, **options):
        found = [result_of(Case(width, width, measures, chains=99, device="cuda"), pyrank, peer, **options)]
        return [[goal.verdict for goal in kind(found)] for kind in (goals.rates, goals.ratios, goals.shares)]

    assert verdicts(64, "rank", 2e-8, 100e-8) == [["met"], ["met"], []]
    assert verdicts(64, "rank", 2.1e-8, 100e-8) == [["missed"], ["missed"], []]
    assert verdicts(64, "rank", 2e-8, 100e-8, rounds=5) == [["open"], ["open"], []]
    assert verdicts(16, "none", 0.4e-9, 2.0e-9) == [["met"], ["met"], []]
    assert verdicts(512, "none", 1.0, 4.9) == [[], ["missed"], []]
    on_cpu = [result_of(Case(16, 16, "none"), 1e-10, 1.0)]
    assert goals.rates(on_cpu) == []


def invented_times():
    cases = [Case(d, d, m, chains=99, device="cuda") for d in (16, 512) for m in ("none", "rank")]
    found = [result_of(case, 0.3e-9, 3e-9) for case in cases]
    how = {"fp32 products": {"per_second": 5.1e13, "unit": "FLOP/s", "how": "8192 x 8192"}}
    return {
        "settings": {"rounds": 6, "seconds": 0.1}, "results": found, "failed": {"64x64": "state is off"},
        "dropped": ["256x256"], "begun": "128x128", "ceilings": how, "limits": {"float32": LIMIT.to_dict()},
        "machine": {"GPU": "H200"}, "command": "python benchmarks/report.py --device cuda",
    }  # fmt: skip


def invented_report(*outcomes, times=None):
    return {"date": "today", "command": "python -m benchmarks.gpu", "machine": {"driver": "580"},
            "steps": [outcome.to_dict() for outcome in outcomes], "times": times}  # fmt: skip


def test_the_markdown_says_everything():
    broken = Outcome("tests", "failed", 150.2, "stopped after 150 s:\nFAILED | test_x\n1 failed")
    text = gpu_tables.markdown(invented_report(Outcome("build", "passed", 31, "built"), broken, times=invented_times()))
    for line in (
        "- driver: 580",
        "| build | passed | 31 | built |",
        "| tests | failed | 150 | stopped after 150 s: |",
        "The end of what tests printed:",
        "FAILED | test_x",
        "| fp32 products | 5.1e+13 FLOP/s | 8192 x 8192 |",
        "- 64x64: state is off",
        "Not finished:\n\n- 128x128",
        "- 256x256",
        "- torch graph: no graph",
        "| 16x16-linear-none-99-float32-cuda | 3.33e+09 | 3.33e+09 to 3.33e+09 | 3.33e+08 | jax vmap | 2.5e+09 | met |",
        "| 512x512-linear-none-99-float32-cuda | 3.33e+09 | 3.33e+09 to 3.33e+09 | 3.33e+08 | jax vmap | - | - |",
        "| 16x16-linear-rank-99-float32-cuda | 50x | 10x | 10x to 10x | missed |",
    ):
        assert line in text
    assert "fp32" not in gpu_tables.markdown(invented_report(broken))


def test_programs_that_end_fail_or_take_too_long(tmp_path):
    def run(code, limit=30.0):
        return steps.run([sys.executable, "-c", code], limit, tmp_path / "log", tmp_path)

    fine = run("print('well')")
    assert (fine.code, fine.tail) == (0, "well")
    failed = run("print('\\n'.join(map(str, range(99)))); raise SystemExit(3)")
    assert steps.stopped(failed, 30) == "ended with status 3:\n" + "\n".join(map(str, range(99 - steps.TAIL, 99)))
    beats = tmp_path / "beats"
    child = f"import time\nwhile True: print(file=open({str(beats)!r}, 'a')) or time.sleep(0.01)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], process_group=0)"
    code = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    endless = run(code, limit=1.5)
    assert endless.code is None
    assert endless.seconds < 10
    assert steps.stopped(endless, 1.5) == "stopped after 2 s:\nbegun"
    heard = beats.stat().st_size
    time.sleep(0.3)
    assert beats.stat().st_size == heard > 0, "its grandchild in another group is stopped as well"


def finished(code, output, seconds=1.0):
    return lambda *_, **__: steps.Finished(code, seconds, output)


@pytest.mark.parametrize(("code", "output", "verdict", "told"), [
    (0, "....\n==== 200 passed, 1 skipped in 60 s ====", "passed", "200 passed, 1 skipped in 60 s"),
    (1, "E assert\n1 failed, 199 passed", "failed", "ended with status 1"),
    (5, "4000 deselected", "failed", "ended with status 5"),
    (0, "3 skipped", "failed", "ended with status 0"),
    (None, "....", "failed", "stopped after 120 s"),
])  # fmt: skip
def test_tests_pass_only_if_some_passed(code, output, verdict, told, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu.steps, "run", finished(code, output))
    outcome = gpu.test(tmp_path, {})
    assert outcome.verdict == verdict
    assert told in outcome.detail


def test_tests_are_those_that_use_a_gpu(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(gpu.steps, "run", lambda command, *_: commands.append(command) or steps.Finished(0, 1.0, ""))
    gpu.test(tmp_path, {})
    done = subprocess.run([*commands[0], "--collect-only"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(found) > 150
    assert all("gpu" in name and "emulated" not in name for name in found)
    for name in ("test_widths_and_batches[gpu-", "test_cuda_kernels[gpu-", "test_planted_spectra[gpu-"):
        assert any(name in test for test in found)


@pytest.mark.parametrize(("code", "output", "verdict", "told"), [
    (0, "every kernel ran\n===== ERROR SUMMARY: 0 errors", "passed", "ERROR SUMMARY: 0 errors"),
    (0, "", "failed", "ended with status 0"),
    (0, "every kernel ran\n===== Error: No attachable process found", "failed", "ended with status 0"),
    (86, "Invalid __shared__ read\n===== RACECHECK SUMMARY: 2 hazards", "failed", "RACECHECK SUMMARY: 2 hazards"),
    (1, "Traceback", "failed", "ended with status 1"),
    (1, "===== Error: Device not supported", "absent", "does not support this device"),
    (None, "", "failed", "stopped after 75 s"),
])  # fmt: skip
def test_sanitizer(code, output, verdict, told, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu.machine, "find_cuda_tool", lambda name: Path("/bin") / name)
    monkeypatch.setattr(gpu.steps, "run", finished(code, output))
    outcome = gpu.sanitize("memcheck", tmp_path, {})
    assert outcome.verdict == verdict
    assert told in outcome.detail


def test_a_missing_sanitizer_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu.machine, "find_cuda_tool", lambda name: None)
    outcome = gpu.sanitize("racecheck", tmp_path, {})
    assert outcome.verdict == "absent"
    assert "compute-sanitizer is not on the PATH" in outcome.detail


def test_tools_are_found_on_the_path_or_in_the_toolkit(monkeypatch, tmp_path):
    tool = tmp_path / "bin" / "a-tool-of-cuda"
    tool.parent.mkdir()
    tool.write_text("")
    assert machine.find_cuda_tool(tool.name) is None
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert machine.find_cuda_tool(tool.name) == tool
    monkeypatch.delenv("CUDA_HOME")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert machine.find_cuda_tool(tool.name) == tool


@pytest.fixture
def a_gpu(monkeypatch):
    """What the command asks a machine before it begins."""
    monkeypatch.setattr(gpu, "why_not", lambda: "")


STEPS = {
    "build": lambda *_: Outcome("build", "passed", 1.0, "built"),
    "test": lambda *_: Outcome("tests", "passed", 1.0, "200 passed"),
    "sanitize": lambda tool, *_: Outcome(tool, "absent", 0.0, "no tool"),
    "measure": lambda *_: Outcome("times", "passed", 1.0, "14 cases timed"),
}


def run_with(monkeypatch, tmp_path, **changed):
    """Run the command with invented steps; its exit status, and the verdicts it wrote."""
    for name, step in (STEPS | changed).items():
        monkeypatch.setattr(gpu_build if name == "build" else gpu, name, step)
    status = gpu.main(["--out", str(tmp_path)])
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert (tmp_path / "gpu.md").read_text() == gpu_tables.markdown(written)
    return status, {step["name"]: step["verdict"] for step in written["steps"]}


def fails(name):
    return lambda *_: Outcome(name, "failed", 1.0, "it fails")


def raises(*_):
    raise OSError("disk full")


ALL_FINE = {"build": "passed", "tests": "passed", "memcheck": "absent", "racecheck": "absent", "times": "passed"}


@pytest.mark.usefixtures("a_gpu")
def test_the_exit_status_is_that_of_all_steps_and_one_does_not_stop_the_others(monkeypatch, tmp_path):
    run = functools.partial(run_with, monkeypatch, tmp_path)
    assert run() == (0, ALL_FINE)
    assert run(test=fails("tests")) == (1, ALL_FINE | {"tests": "failed"})
    assert run(measure=fails("times")) == (1, ALL_FINE | {"times": "failed"})
    assert run(sanitize=raises) == (1, ALL_FINE | {"memcheck": "failed", "racecheck": "failed"})
    assert run(build=fails("build")) == (1, {"build": "failed", **dict.fromkeys(list(ALL_FINE)[1:], "not run")})


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize(("code", "verdict"), [(None, "failed"), (0, "failed")])
def test_cases_that_were_timed_before_the_end_are_reported(code, verdict, monkeypatch, tmp_path):
    """Of a program that was stopped, and of one in which a gate was red."""

    def run(command, limit, log, *_):
        (tmp_path / "benchmarks.json").write_text(json.dumps(invented_times()))
        return steps.Finished(code, 1.0, "")

    monkeypatch.setattr(steps, "run", run)
    measure = gpu.measure
    status, verdicts = run_with(monkeypatch, tmp_path, measure=measure)
    assert (status, verdicts["times"]) == (1, verdict)
    assert tables.markdown(invented_times()) in (tmp_path / "gpu.md").read_text()


@pytest.mark.usefixtures("a_gpu")
def test_times_go_on_after_a_program_that_ended(monkeypatch, tmp_path):
    """As long as each program gets further than the one before."""
    written = iter([(1, ["16x16", "32x32"]), (1, ["32x32"]), (1, ["32x32"]), (0, [])])
    commands = []

    def run(command, limit, log, *_):
        commands.append((command[-1], log.name))
        code, dropped = next(written)
        (tmp_path / "benchmarks.json").write_text(json.dumps(invented_times() | {"dropped": dropped}))
        return steps.Finished(code, 1.0, "the end")

    monkeypatch.setattr(steps, "run", run)
    status, verdicts = run_with(monkeypatch, tmp_path, measure=gpu.measure)
    assert (status, verdicts["times"]) == (1, "failed")
    assert [log for _, log in commands] == ["times-1.log", "times-2.log", "times-3.log"]
    assert [last == "--resume" for last, _ in commands] == [False, True, True]


@pytest.mark.usefixtures("a_gpu")
def test_checks_run_side_by_side(monkeypatch, tmp_path):
    together = threading.Barrier(3, timeout=20)

    def wait_for_the_others(*names):
        together.wait()
        return Outcome("checks", "passed", 1.0, "")

    status, _ = run_with(monkeypatch, tmp_path, test=wait_for_the_others, sanitize=wait_for_the_others)
    assert status == 0


def test_without_a_gpu_or_a_compiler_nothing_begins(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: None)
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert ["a GPU" in line or "nvcc" in line for line in printed.err.splitlines()] == [True, True]
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


def test_the_command_imports_nothing_of_the_package():
    code = "import benchmarks.gpu, sys; print([name for name in sys.modules if name.split('.')[0] == 'pyrank'])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_what_was_built_from_the_same_sources_is_not_built_again(monkeypatch, tmp_path):
    sources, out = tmp_path / "sources", tmp_path / "out"
    for name in ("CMakeLists.txt", "pyproject.toml", "setup.py", "csrc/core/a.h", "pyrank/a.py"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text(name)
    out.mkdir()
    commands = []

    def run(command, *_):
        commands.append(str(command[2]))
        (out / "package").mkdir(exist_ok=True)
        return steps.Finished(0, 1.0, "75,80,90 on H200")

    def build():
        commands.clear()
        return gpu_build.build(sources, out, 9.0, {})

    monkeypatch.setattr(steps, "run", run)
    assert (build().verdict, commands) == ("passed", ["pip", "-c"])
    assert ("same" in build().detail or "last build" in build().detail, commands) == (True, ["-c"])
    (sources / "csrc/core/a.h").write_text("other")
    assert (build().detail, commands) == ("built: 75,80,90 on H200", ["pip", "-c"])
    monkeypatch.setattr(steps, "run", finished(1, "a.h: error: expected ;"))
    (sources / "csrc/core/a.h").write_text("broken")
    assert (build().verdict, build().detail) == ("failed", "ended with status 1:\na.h: error: expected ;")
    monkeypatch.setattr(steps, "run", run)
    (sources / "csrc/core/a.h").write_text("other")
    assert (build().verdict, commands) == ("passed", ["pip", "-c"]), "a failed build spoils what was there"


def test_programs_find_the_built_package_first(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert gpu_build.environment(tmp_path)["PYTHONPATH"].split(":") == [str(tmp_path / "package"), "elsewhere"]


@pytest.mark.usefixtures("rehearsal")
def test_rehearsal_of_a_whole_report(monkeypatch, tmp_path):
    """Everything that the report for a GPU does, with the CPU in the place of the GPU."""
    kinds = ("normals, drawn by chains", "normals, filled by torch", "fp32 products", "tf32 products")
    rates = (1e12, 1e11, 1e13, 1e14)
    invented = {kind: ceilings.Ceiling(rate, "1/s", "invented") for kind, rate in zip(kinds, rates, strict=True)}
    monkeypatch.setattr(ceilings, "measure", lambda seconds: invented)
    monkeypatch.setattr("pyrank.native.cuda_devices", lambda: (["H200"], ""))
    monkeypatch.setattr("cases.GPU_SELECTIONS", {"core": (SMALL, Case(8, 8, "none", chains=40))})
    names = ("pyrank", "torch batched", "torch graph", "cupy")
    monkeypatch.setattr(contenders, "names", lambda case, compiled: names)
    arguments = ["--device", "cuda", "--rounds", "2", "--seconds", "0.001", "--out", str(tmp_path)]
    assert report.main(arguments) == 0
    written = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [set(result["times"]) for result in written["results"]] == [set(names), set(names) - {"torch graph"}]
    assert (written["failed"], written["dropped"]) == ({}, [])
    assert written["limits"]["float32"]["flops_from"].startswith("tf32 in three terms")
    assert written["machine"]["GPU, memory, compute capability, driver"]
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
