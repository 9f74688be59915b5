"""The command for a GPU, as far as it can be tested without one: steps that fail, goals, and what is reported."""

import functools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import goals
import gpu
import gpu_build
import gpu_tables
import machine
import pytest
import steps
import tables
import torch
from cases import Case
from roofline import Roofline
from steps import Outcome

ROOT = Path(__file__).resolve().parents[1]
LIMIT = Roofline(1e12, "", 1e13, "")


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
