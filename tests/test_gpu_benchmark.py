"""The command for a GPU, as far as it can be tested without one: steps that fail, goals, and what is reported."""

import functools
import json
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import goals
import gpu
import gpu_build
import gpu_steps
import gpu_tables
import machine
import pytest
import steps
import tables
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


@pytest.fixture
def place(tmp_path):
    """Where the steps are rehearsed."""
    out, package = tmp_path / "out", tmp_path / "package"
    out.mkdir()
    report = {"date": "today", "command": "python -m benchmarks.gpu", "machine": {}, "steps": [], "times": None}
    return gpu_steps.Place(out, package, 90, report, functools.partial(gpu.publish, report, out))


@pytest.mark.parametrize(("code", "output", "verdict", "told"), [
    (0, "....\n==== 200 passed, 1 skipped in 60 s ====", "passed", "200 passed, 1 skipped in 60 s"),
    (1, "E assert\n1 failed, 199 passed", "failed", "ended with status 1"),
    (5, "4000 deselected", "failed", "ended with status 5"),
    (0, "3 skipped", "failed", "ended with status 0"),
    (None, "[gw0] PASSED tests/a.py::b\n[gw1] FAILED tests/a.py::c\n[gw0] PASSED tests/a.py::d", "failed",
     "2 passed and 1 failed until it was stopped after 60 s"),
])  # fmt: skip
def test_tests_pass_only_if_some_passed(code, output, verdict, told, monkeypatch, place):
    monkeypatch.setattr(steps, "run", finished(code, output))
    outcome = gpu_steps.test(place, 60.0)
    assert outcome.verdict == verdict
    assert told in outcome.detail


def test_tests_are_those_that_use_a_gpu(monkeypatch, place):
    commands = []
    monkeypatch.setattr(steps, "run", lambda command, *_: commands.append(command) or steps.Finished(0, 1.0, ""))
    gpu_steps.test(place, 60.0)
    command = [sys.executable, *gpu_steps.SUITE]
    assert commands[0][: len(command)] == command
    done = subprocess.run([*command, "-q", "--collect-only"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(found) > 150
    assert all("gpu" in name and "emulated" not in name for name in found)
    for name in ("test_widths_and_batches[gpu-", "test_cuda_kernels[gpu-", "test_planted_spectra[gpu-"):
        assert any(name in test for test in found)


@pytest.mark.parametrize(("code", "output", "verdict", "told"), [
    (0, "every kernel ran\n9 passed\n===== ERROR SUMMARY: 0 errors", "passed", "ERROR SUMMARY: 0 errors"),
    (0, "", "failed", "ended with status 0"),
    (0, "every kernel ran\n9 passed\n===== Error: No attachable process found", "failed", "ended with status 0"),
    (0, "===== ERROR SUMMARY: 0 errors", "failed", "ended with status 0"),
    (86, "Invalid __shared__ read\n===== RACECHECK SUMMARY: 2 hazards", "failed", "RACECHECK SUMMARY: 2 hazards"),
    (1, "Traceback", "failed", "ended with status 1"),
    (1, "===== Error: Device not supported", "absent", "does not support this device"),
    (None, "", "failed", "stopped after 25 s"),
])  # fmt: skip
@pytest.mark.parametrize("whole", [False, True])
def test_sanitizer(code, output, verdict, told, whole, monkeypatch, place):
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: Path("/bin") / name)
    monkeypatch.setattr(steps, "run", finished(code, output))
    outcome = gpu_steps.sanitize("memcheck", place, 25.0, whole=whole)
    assert outcome.name == ("memcheck of all tests" if whole else "memcheck")
    assert outcome.verdict == verdict
    assert told in outcome.detail


def test_the_sanitizer_watches_every_kernel_or_the_whole_suite(monkeypatch, place):
    commands = []
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: Path("/bin") / name)
    monkeypatch.setattr(steps, "run", lambda command, *_: commands.append(command) or steps.Finished(0, 1.0, ""))
    gpu_steps.sanitize("racecheck", place, 25.0)
    for step in gpu.SANITIZER:
        step.work(place, 25.0)
    assert [command[command.index("--tool") + 1] for command in commands] == ["racecheck", "memcheck", "racecheck"]
    assert commands[0][-1].name == "every_kernel.py"
    assert all(set(gpu_steps.TESTS) < set(command) for command in commands[1:])


def test_a_missing_sanitizer_is_said(monkeypatch, place):
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: None)
    outcome = gpu_steps.sanitize("racecheck", place, 25.0)
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


def driver(status=0, count=1):
    """A driver of one GPU, of none, or one that answers with an error."""

    def count_devices(into):
        into._obj.value = count

    def name_device(into, length, device):
        into.value = b"NVIDIA H200"

    def tell_attribute(into, which, device):
        into._obj.value = {75: 9, 76: 0}[which]

    return types.SimpleNamespace(
        cuInit=lambda flags: status, cuDeviceGetCount=count_devices, cuDeviceGet=lambda into, number: None,
        cuDeviceGetName=name_device, cuDeviceGetAttribute=tell_attribute,
    )  # fmt: skip


def test_the_driver_is_asked_what_there_is(monkeypatch):
    monkeypatch.setattr(machine, "_driver", driver)
    assert machine.first_gpu() == ("NVIDIA H200", 90)
    for broken, told in ((driver(status=803), "803"), (driver(count=0), "shows none")):
        monkeypatch.setattr(machine, "_driver", lambda broken=broken: broken)
        with pytest.raises(OSError, match=told):
            machine.first_gpu()


@pytest.fixture
def a_gpu(monkeypatch):
    """What the command asks a machine before it begins."""
    monkeypatch.setattr(machine, "_driver", driver)
    monkeypatch.setattr(gpu, "why_not", lambda place: "")


FINE = {
    "build": lambda *_: Outcome("build", "passed", 1.0, "built"),
    "test": lambda *_: Outcome("tests", "passed", 1.0, "200 passed"),
    "measure": lambda *_: Outcome("times", "passed", 1.0, "14 cases timed"),
    "ceilings": lambda *_: Outcome("ceilings", "passed", 1.0, "6 rates"),
    "sanitize": lambda tool, *_: Outcome(tool, "absent", 0.0, "no tool"),
    "figure": lambda *_: Outcome("figure", "stopped", 1.0, "the time was up"),
}
ALL_FINE = {"build": "passed", "tests": "passed", "times": "passed", "ceilings": "passed", "memcheck": "absent",
            "racecheck": "absent", "figure": "stopped"}  # fmt: skip


def run_with(monkeypatch, tmp_path, *options, **changed):
    """Run the command with invented steps; its exit status, and the verdicts it wrote."""
    for name, step in (FINE | changed).items():
        monkeypatch.setattr(gpu_steps, name, step)
    status = gpu.main(["--out", str(tmp_path), *options])
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert (tmp_path / "gpu.md").read_text() == gpu_tables.markdown(written)
    return status, {step["name"]: step["verdict"] for step in written["steps"]}


def fails(name):
    return lambda *_: Outcome(name, "failed", 1.0, "it fails")


def raises(*_):
    raise OSError("disk full")


@pytest.mark.usefixtures("a_gpu")
def test_the_exit_status_is_that_of_all_steps_and_one_does_not_stop_the_others(monkeypatch, tmp_path):
    run = functools.partial(run_with, monkeypatch, tmp_path)
    assert run() == (0, ALL_FINE)
    assert run(test=fails("tests")) == (1, ALL_FINE | {"tests": "failed"})
    assert run(measure=fails("times")) == (1, ALL_FINE | {"times": "failed"})
    assert run(sanitize=raises) == (1, ALL_FINE | {"memcheck": "failed", "racecheck": "failed"})
    assert run(build=fails("build")) == (1, {"build": "failed", **dict.fromkeys(list(ALL_FINE)[1:], "not run")})


@pytest.mark.usefixtures("a_gpu")
def test_steps_can_be_chosen(monkeypatch, tmp_path, capsys):
    run = functools.partial(run_with, monkeypatch, tmp_path)
    assert run("--only", "figure")[1] == {"build": "passed", "figure": "stopped"}
    assert run("--only", "ceilings,tests")[1] == {"build": "passed", "tests": "passed", "ceilings": "passed"}
    assert gpu.main(["--out", str(tmp_path), "--only", "figures"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("--only figures: expected names of steps")


def test_budgets_are_those_of_six_minutes_and_in_the_order_of_worth():
    assert sum(step.budget for step in gpu.STEPS) <= gpu.TOTAL <= 360
    assert [step.name for step in gpu.STEPS] == list(ALL_FINE)


@pytest.mark.parametrize("slow", [(), ("build",), ("tests",), ("times",), tuple(ALL_FINE)])
def test_no_step_takes_the_time_of_the_others(slow, monkeypatch, place):
    """Whatever hangs, the end comes in time, and each step has had its budget."""
    needed = {"build": 40, "tests": 30, "times": 60, "ceilings": 8, "memcheck": 5, "racecheck": 5, "figure": 5}
    needed |= dict.fromkeys(slow, 1e9)
    now = [0.0]

    def work(name, place, limit):
        now[0] += min(limit, needed[name])
        return Outcome(name, "passed" if limit >= needed[name] else "failed", min(limit, needed[name]), "")

    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    invented = [gpu.Step(step.name, step.budget, functools.partial(work, step.name)) for step in gpu.STEPS]
    gpu.run_steps(invented, place, gpu.TOTAL)
    assert now[0] <= gpu.TOTAL
    done = {step["name"]: step for step in place.report["steps"]}
    for step in gpu.STEPS:
        if "build" in slow and step.name != "build":
            assert done[step.name]["verdict"] == "not run"
        else:
            assert done[step.name]["verdict"] == ("failed" if step.name in slow else "passed")
            assert done[step.name]["seconds"] >= min(step.budget, needed[step.name])


HANG = "import time; print('begun', flush=True); time.sleep(600)"
CRASH = "import os; print('dying', flush=True); os.abort()"
PROGRAMS = {"pip": "print('built')", "-c": "print('H200: machine code for sm_90')", "pytest": HANG, "pyrank": HANG}


@pytest.mark.usefixtures("a_gpu")
def test_rehearsal_of_programs_that_hang_crash_and_end(monkeypatch, tmp_path):
    """The whole command with real programs in the place of its own, in a sixtieth of the time."""
    real = steps.run

    def run(command, limit, log, *others):
        words = [str(word) for word in command]
        if "--within" in words:
            (tmp_path / "benchmarks.json").write_text(json.dumps(invented_times() | {"dropped": []}))
        program = next((PROGRAMS[word] for word in words if word in PROGRAMS), CRASH)
        return real([sys.executable, "-c", program], limit, log, *others)

    monkeypatch.setattr(steps, "run", run)
    monkeypatch.setattr(steps, "BEAT", 0.1)
    monkeypatch.setattr(gpu_build, "digest", lambda *_: "the same")
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: None)
    monkeypatch.setattr(gpu, "STEPS", tuple(gpu.Step(s.name, s.budget / 60, s.work) for s in gpu.STEPS))
    began = time.monotonic()
    status = gpu.main(["--out", str(tmp_path), "--package", str(tmp_path / "package"), "--seconds", "6"])
    assert time.monotonic() - began < 12
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert {step["name"]: step["verdict"] for step in written["steps"]} == ALL_FINE | {
        "tests": "failed", "times": "failed", "ceilings": "failed",
    }  # fmt: skip
    assert status == 1
    text = (tmp_path / "gpu.md").read_text()
    assert "0 passed and 0 failed until it was stopped after" in text
    assert "dying" in text
    assert "| 16x16-linear-none-99-float32-cuda | 3.33e+09 |" in text


KILLED = """
import signal, sys
sys.path.insert(0, {benchmarks!r})
import gpu, gpu_steps, machine
signal.signal(signal.SIGTERM, signal.default_int_handler)
machine.first_gpu = lambda: ("H200", 90)
gpu.why_not = lambda place: ""
gpu_steps.build = lambda *_: gpu.Outcome("build", "passed", 1.0, "built")
gpu_steps.test = lambda place, limit: gpu_steps.steps.run(
    [sys.executable, "-c", {child!r}], limit, place.out / "log", place.out)
sys.exit(gpu.main(["--out", {out!r}]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_a_report(number, tmp_path):
    beats, lasts = tmp_path / "beats", 20 if number == signal.SIGTERM else 2
    child = f"""
import time
end = time.monotonic() + {lasts}
while time.monotonic() < end: print(file=open({str(beats)!r}, 'a'), flush=True) or time.sleep(0.01)"""
    code = KILLED.format(benchmarks=str(ROOT / "benchmarks"), child=child, out=str(tmp_path))
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = subprocess.Popen([sys.executable, "-c", code], **silent)
    while not beats.exists() and command.poll() is None:
        time.sleep(0.02)
    command.send_signal(number)
    command.wait(timeout=30)
    text = (tmp_path / "gpu.md").read_text()
    assert "| build | passed | 1 | built |" in text
    assert "| tests | not run | 0 | begun, and not ended when this was written |" in text
    if number == signal.SIGTERM:
        assert command.returncode == 1
        heard = beats.stat().st_size
        time.sleep(0.3)
        assert beats.stat().st_size == heard, "what it had begun is stopped"


@pytest.mark.usefixtures("a_gpu")
@pytest.mark.parametrize(("code", "verdict"), [(None, "failed"), (0, "failed")])
def test_cases_that_were_timed_before_the_end_are_reported(code, verdict, monkeypatch, tmp_path):
    """Of a program that was stopped, and of one in which a gate was red; while it runs, they are there already."""
    seen = []

    def run(command, limit, log, cwd, environment, meanwhile):
        (tmp_path / "benchmarks.json").write_text(json.dumps(invented_times()))
        meanwhile()
        seen.append("| 16x16-linear-none-99-float32-cuda | 3.33e+09 |" in (tmp_path / "gpu.md").read_text())
        return steps.Finished(code, 1.0, "")

    monkeypatch.setattr(steps, "run", run)
    status, verdicts = run_with(monkeypatch, tmp_path, measure=gpu_steps.measure)
    assert (status, verdicts["times"]) == (1, verdict)
    assert seen == [True]
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
    status, verdicts = run_with(monkeypatch, tmp_path, measure=gpu_steps.measure)
    assert (status, verdicts["times"]) == (1, "failed")
    assert [log for _, log in commands] == ["times-1.log", "times-2.log", "times-3.log"]
    assert [last == "--resume" for last, _ in commands] == [False, True, True]


@pytest.mark.parametrize(("code", "verdict"), [(0, "passed"), (1, "failed"), (None, "stopped")])
def test_the_figure_may_need_more_than_one_run(code, verdict, monkeypatch, place):
    monkeypatch.setattr(steps, "run", finished(code, "slope 0.63"))
    assert gpu_steps.figure(place, 9.0).verdict == verdict


def test_without_what_is_needed_nothing_begins(monkeypatch, tmp_path, capsys):
    def begin(missing):
        monkeypatch.setattr(machine, "_driver", lambda: driver(count=0 if missing == "a GPU" else 1))
        monkeypatch.setattr(gpu, "has", lambda package: missing != package)
        nvcc = None if missing == "nvcc" else Path("/bin/nvcc")
        monkeypatch.setattr(machine, "find_cuda_tool", lambda name: nvcc)
        return gpu.main(["--out", str(tmp_path / "out"), "--package", str(tmp_path / "package")])

    for missing in ("a GPU", "torch", "pybind11", "nvcc"):
        assert begin(missing) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert line.startswith(f"this needs {missing}")
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_built_needs_no_compiler_and_a_build_needs_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_driver", lambda: driver(count=0))
    monkeypatch.setattr(gpu, "has", lambda package: True)
    monkeypatch.setattr(steps, "run", finished(0, ""))
    out, package = tmp_path / "out", tmp_path / "package"
    arguments = ["--out", str(out), "--package", str(package), "--only", "build", "--architecture", "90"]
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: Path("/bin") / name)
    assert gpu.main(arguments) == 0
    monkeypatch.setattr(machine, "find_cuda_tool", lambda name: None)
    assert gpu.main(arguments) == 0
    assert "the sources are those of the last build" in (out / "gpu.md").read_text()
    monkeypatch.setattr(gpu, "has", lambda package: package not in gpu.NEEDED_TO_BUILD)
    assert gpu.main(arguments) == 0
    assert gpu.main([*arguments[:-1], "80"]) == 2


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
        return steps.Finished(0, 1.0, "H200: machine code for sm_90")

    def build(architecture=90):
        commands.clear()
        return gpu_build.build(sources, out / "package", architecture, out, 9.0, {})

    monkeypatch.setattr(steps, "run", run)
    assert (build().verdict, commands) == ("passed", ["pip", "-c"])
    assert ("same" in build().detail or "last build" in build().detail, commands) == (True, ["-c"])
    (sources / "csrc/core/a.h").write_text("other")
    assert (build().detail, commands) == ("built for 90: H200: machine code for sm_90", ["pip", "-c"])
    assert (build(80).verdict, commands) == ("passed", ["pip", "-c"]), "for another GPU it is another package"
    assert build(90).verdict == "passed"
    monkeypatch.setattr(steps, "run", finished(1, "a.h: error: expected ;"))
    (sources / "csrc/core/a.h").write_text("broken")
    assert (build().verdict, build().detail) == ("failed", "ended with status 1:\na.h: error: expected ;")
    monkeypatch.setattr(steps, "run", run)
    (sources / "csrc/core/a.h").write_text("other")
    assert (build().verdict, commands) == ("passed", ["pip", "-c"]), "a failed build spoils what was there"


def test_programs_find_the_built_package_first(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert gpu_build.environment(tmp_path)["PYTHONPATH"].split(":") == [str(tmp_path), "elsewhere"]
