"""The command line: quick to answer, one line for every mistake, the library's numbers."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyrank import Chain, Weights, __version__, cli, experiments, simulate
from pyrank.cli.arguments import _integer
from pyrank.estimate.intervals import Interval
from pyrank.experiments import DANESHMAND, Experiment, Result, at_least, catalogue, published

COMMAND = [sys.executable, "-m", "pyrank"]
SMALL = ["simulate", "--width", "8", "--depth", "200"]


def run(arguments, capsys):
    """Run a command in this process: status, stdout, stderr."""
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# --- quick to answer -------------------------------------------------------------------------------------------------


def test_help_says_that_experiments_may_be_files(capsys):
    status, told, _ = run(["reproduce", "--help"], capsys)
    assert status == 0
    assert "or a file such as my_experiment.py" in " ".join(told.split())


@pytest.mark.parametrize("arguments", [["--help"], ["simulate", "--help"]])
def test_help_takes_less_than_half_a_second(arguments, tmp_path):
    """Of a core: what else this machine does is no cost of it, and nothing here waits."""
    seconds = []
    for _ in range(3):
        began = cpu_seconds_of_children()
        done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        seconds.append(cpu_seconds_of_children() - began)
    assert "usage: pyrank" in done.stdout
    assert 0.0 < min(seconds) < 0.5


def cpu_seconds_of_children():
    used = os.times()
    return used.children_user + used.children_system


def test_light_commands_import_nothing_heavy(tmp_path):
    script = """if True:
        import sys
        from pyrank import cli
        for arguments in (["--help"], ["reproduce", "--help"], ["--version"], ["reproduce", "--list"], ["bogus"],
                          ["simulate", "--width", "0", "--depth", "1"], ["reproduce", "nope"]):
            cli.main(arguments)
        print({"torch", "numpy", "scipy", "matplotlib", "tqdm"} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert len(done.stderr.splitlines()) == 3


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = [
    ([], "required: COMMAND"),
    (["bogus"], "'bogus'"),
    (["simulate"], "--width, --depth"),
    (["simulate", "--width", "8"], "--depth"),
    ([*SMALL, "--bogus", "3"], "--bogus 3"),
    ([*SMALL, "--chains"], "--chains: expected"),
    ([*SMALL, "--chains", "1.5"], "--chains: '1.5': expected an integer"),
    ([*SMALL, "--chains", "1e999999999"], "--chains: '1e999999999': expected an integer"),
    ([*SMALL, "--chains", "nan"], "--chains: 'nan': expected an integer"),
    ([*SMALL, "--gamma", "a\nb"], "--gamma: 'a\\nb': expected a number"),
    ([*SMALL, "--gamma", "-1"], "gamma = -1.0: expected a number from 0"),
    ([*SMALL, "--gamma", "nan"], "gamma = nan: expected"),
    ([*SMALL, "--batch", "0"], "batch = 0: expected"),
    ([*SMALL, "--weights", "cauchy"], "weights = 'cauchy': expected one of gaussian"),
    ([*SMALL, "--weight-scale", "-1"], "weights.scale = -1.0: expected"),
    ([*SMALL, "--activation", "x"], "activation = 'x': expected one of linear"),
    ([*SMALL, "--normalization", "x"], "normalization = 'x': expected one of rescale"),
    ([*SMALL, "--dtype", "float16"], "dtype = 'float16': expected one of float32"),
    ([*SMALL, "--seed", "-1"], "seed = -1: expected"),
    ([*SMALL, "--measure", "rank"], "measure = 'rank': expected one of"),
    ([*SMALL, "--measure", "soft_rank(0)"], "tau = 0.0: expected"),
    ([*SMALL, "--initial", "zero"], "initial = 'zero': expected"),
    ([*SMALL, "--burn-in", "200"], "burn_in = 200: expected"),
    ([*SMALL, "--every", "0"], "every = 0: expected"),
    ([*SMALL, "--trace", "3"], "trace = 3: expected"),
    ([*SMALL, "--backend", "tpu"], "backend = 'tpu': expected one of auto"),
    ([*SMALL, "--threads", "0"], "threads = 0: expected"),
    ([*SMALL, "--checkpoint", "missing/x"], "checkpoint = 'missing/x': expected"),
    ([*SMALL, "--json", "missing/x"], "--json = 'missing/x': expected"),
    ([*SMALL, "--json", "."], "--json = '.': expected a file, not a folder"),
    ([*SMALL, "--plot", "missing/x.png"], "--plot = 'missing/x.png': expected"),
    ([*SMALL, "--plot", "x.jpg"], "--plot = 'x.jpg': expected a name that ends in .png or .svg or .pdf"),
    ([*SMALL, "--measure", "--plot", "x.png"], "--plot = 'x.png': expected a run that measures something"),
    (["reproduce"], "expected all or one of rank-vs-depth"),
    (["reproduce", "nope"], "experiment = 'nope': expected one of"),
    (["reproduce", "soft-rank-scaling", "--preset", "slow"], "preset = 'slow': expected one of quick"),
    (["reproduce", "soft-rank-scaling", "--out", "file/x"], "out = 'file/x': expected a folder"),
    (["reproduce", "soft-rank-scaling", "--device", "tpu"], "device = 'tpu': expected 'cpu', 'cuda' or 'cuda:N'"),
    (["reproduce", "bound-check", "--preset", "gpu"], "preset = 'gpu': expected one of quick, paper"),
    (["reproduce", "all", "--preset", "slow"], "preset = 'slow': expected one of quick, paper"),
    (["reproduce", "all", "--out", "file/x"], "out = 'file/x': expected a folder"),
    (["reproduce", "all", "--device", "tpu"], "device = 'tpu': expected 'cpu', 'cuda' or 'cuda:N'"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=lambda value: None if isinstance(value, list) else value)
def test_mistake_takes_one_line_and_status_2(arguments, said, capsys, tmp_path, monkeypatch):
    if {"--out", "--device"} & set(arguments):
        pytest.importorskip("matplotlib")  # which is looked for before
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    status, out, err = run(arguments, capsys)
    assert (status, out) == (2, "")
    assert err.startswith("pyrank: ")
    assert said in err
    assert err.count("\n") == 1
    assert ";" in err  # followed by the remedy


def test_overflow_is_a_failure_in_one_line(capsys):
    grow = ["simulate", "--width", "16", "--depth", "1e4", "--normalization", "recentre", "--activation", "gelu"]
    status, out, err = run(grow, capsys)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "overflowed" in err


def test_damaged_checkpoint_is_a_failure_in_one_line(capsys, tmp_path):
    path = tmp_path / "run.ckpt"
    path.write_bytes(b"not a checkpoint at all, but long enough to hold a digest and a header" * 2)
    status, out, err = run([*SMALL, "--checkpoint", str(path)], capsys)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "damaged" in err


def test_checkpoint_of_another_run_is_a_mistake(capsys, tmp_path):
    path = str(tmp_path / "run.ckpt")
    assert run([*SMALL, "--checkpoint", path], capsys)[0] == 0
    status, out, err = run([*SMALL, "--seed", "3", "--checkpoint", path], capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "seed: 0 in the checkpoint, 3 asked for" in err


@pytest.mark.filterwarnings("always")
def test_warning_takes_one_line(capsys, tmp_path):
    path = tmp_path / "run.ckpt"
    for depth in ("100", "200"):
        run(["simulate", "--width", "8", "--depth", depth, "--checkpoint", str(path)], capsys)
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = run([*SMALL, "--checkpoint", str(path)], capsys)
    assert (status, err.count("\n")) == (0, 1)
    assert err.startswith("pyrank: warning: ")
    assert "200 layers" in out


def test_missing_matplotlib_says_what_to_install(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = run(["reproduce", "soft-rank-scaling", "--out", str(tmp_path)], capsys)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.endswith("; pip install matplotlib\n")


def test_missing_matplotlib_is_told_before_the_run(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("pyrank.engine.simulation.simulate", None)  # which would fail if it was called
    status, out, err = run([*SMALL, "--plot", str(tmp_path / "run.png")], capsys)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.endswith("; pip install matplotlib\n")


def test_missing_extension_is_a_failure_in_one_line(capsys, monkeypatch):
    from pyrank.engine import native

    monkeypatch.setattr(native, "why_missing", lambda: "no kernels; build them with `pip install .`")
    status, out, err = run([*SMALL, "--backend", "cpu"], capsys)
    assert (status, out, err) == (1, "", "pyrank: no kernels; build them with `pip install .`\n")


# --- being stopped ---------------------------------------------------------------------------------------------------


def test_interrupt_says_how_to_resume(capsys, tmp_path):
    path = tmp_path / "run.ckpt"
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    status, out, err = run(["simulate", "--width", "8", "--depth", "4e9", "--checkpoint", str(path)], capsys)
    timer.join()
    assert (status, out, err.count("\n")) == (130, "", 1)
    assert f"run the same again to resume from {path}" in err
    assert path.exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_while_nothing_runs(number, status, capsys, monkeypatch):
    monkeypatch.setattr("pyrank.engine.config.show_config", lambda: signal.raise_signal(number))
    assert run(["info"], capsys) == (status, "", "pyrank: interrupted\n")


def test_a_signal_before_a_command_begins_is_told_too(monkeypatch, capsys):
    """It falls between the handlers, which are there first, and what would catch it."""
    monkeypatch.setattr("pyrank.cli.commands._printed", lambda _: signal.raise_signal(signal.SIGTERM))
    assert run(["info"], capsys) == (143, "", "pyrank: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
def test_reader_that_leaves_is_not_an_error(tmp_path):
    command = [*COMMAND, "reproduce", "--list"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


# --- commands --------------------------------------------------------------------------------------------------------


def test_version(capsys):
    assert run(["--version"], capsys) == (0, f"pyrank {__version__}\n", "")


def test_info(capsys):
    status, out, err = run(["info"], capsys)
    assert (status, err) == (0, "")
    for word in (__version__, "backends:", "python:"):
        assert word in out


def test_list(capsys):
    status, out, err = run(["reproduce", "--list"], capsys)
    assert (status, err) == (0, "")
    titles = [line for line in out.splitlines() if not line.startswith("  ")]
    assert titles == list(experiments.by_chapter(experiments.EXPERIMENTS))
    lines = [line for line in out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in lines] == list(experiments.EXPERIMENTS)
    assert lines[0].split()[1:3] == ["Does", "batch"]
    assert all(line.endswith("?") for line in lines)


class Fake(Experiment):
    """An experiment that computes nothing."""

    def __init__(self):
        self.__dict__.update(name="fake", presets={"quick": "small", "paper": "large"})

    def run(self, settings, out, *, device, workers, progress):
        claims = (
            published("a > b", DANESHMAND.at("Theorem 1"), Interval.around(0.5, 0.1), at_least(0.0)),
            published("c > d", DANESHMAND.at("Fig. 2"), Interval.exact(-1.0), at_least(0.0), note="seen at width 8"),
        )
        return Result("fake", "What?", "", f"table of the {settings} settings", claims, "", (out / "x.json",))


@pytest.mark.parametrize(
    ("options", "said"),
    [([], ("small", "results/fake-quick/x.json")), (["--preset", "paper"], ("large", "results/fake-paper/x.json")),
     (["--out", "here"], ("small", "here/x.json"))],
)  # fmt: skip
def test_reproduce_prints_table_verdicts_and_files(options, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib")  # which is looked for although nothing is drawn
    monkeypatch.setattr(catalogue, "load", lambda name: Fake())
    status, out, err = run(["reproduce", "fake", *options], capsys)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"table of the {said[0]} settings",
        "",
        "HOLDS: a > b",
        "    measured 0.50 ± 0.10, wanted at least 0  (Daneshmand et al. 2020, Theorem 1)",
        "FAILS: c > d",
        "    measured -1, wanted at least 0  (Daneshmand et al. 2020, Fig. 2)",
        "    seen at width 8",
        "",
        "written:",
        f"  {Path(said[1])}",
    ]


def test_simulate_prints_the_run_and_nothing_else(capsys):
    status, out, err = run(SMALL, capsys)
    assert (status, err) == (0, "")  # no progress bar outside of a terminal
    assert "16 chains of width 8, batch 8, gamma inf" in out
    assert "participation_ratio" in out
    assert "soft_rank(0.5)" in out


def test_every_option_reaches_the_library(capsys, tmp_path):
    path = tmp_path / "run.json"
    options = ["--batch", "6", "--gamma", "0.5", "--weights", "uniform", "--weight-mean", "-0.1", "--weight-scale", "2",
               "--activation", "relu", "--normalization", "batch", "--dtype", "float64", "--chains", "3", "--seed",
               str(2**64 - 1), "--measure", "trace", "soft_rank(1)", "--measure", "participation_ratio", "--initial",
               "collinear(0.01)", "--burn-in", "1e1", "--every", "2", "--trace", "1_0", "--backend", "reference",
               "--threads", "1", "--json", str(path)]  # fmt: skip
    status, out, err = run(["simulate", "--width", "4", "--depth", "6e1", *options], capsys)
    assert (status, err) == (0, "")
    expected = simulate(
        Chain(4, 6, gamma=0.5, weights=Weights("uniform", -0.1, 2.0), activation="relu", normalization="batch",
              dtype="float64"),
        60, chains=3, seed=2**64 - 1, measures=["trace", "soft_rank(1)", "participation_ratio"],
        initial="collinear(0.01)", burn_in=10, every=2, trace=10, backend="reference", progress=False,
    )  # fmt: skip
    assert json.loads(path.read_text()) | {"seconds": 0} == expected.to_dict() | {"seconds": 0}
    assert "3 chains of width 4, batch 6, gamma 0.5, relu, batch, uniform W" in out


def test_defaults_are_those_of_the_library(capsys):
    out = run([*SMALL, "--json", "-"], capsys)[1]
    expected = simulate(Chain(8), 200, progress=False)
    assert json.loads(out) | {"seconds": 0} == expected.to_dict() | {"seconds": 0}


def test_json_alone_on_stdout(capsys):
    status, out, err = run([*SMALL, "--gamma", "inf", "--chains", "1", "--measure", "--json", "-"], capsys)
    data = json.loads(out)
    assert (status, err) == (0, "")
    assert data["estimates"] == {}
    assert float(data["plan"]["chain"]["gamma"]) == math.inf


@pytest.mark.parametrize(("name", "begins"), [("run.png", b"\x89PNG"), ("run.SVG", b"<?xml"), ("run.pdf", b"%PDF")])
def test_figure_is_written_beside_the_table(name, begins, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    status, out, err = run([*SMALL, "--plot", str(tmp_path / name)], capsys)
    assert (status, err) == (0, "")
    assert "soft_rank(0.5)" in out
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("text", "value"), [("1e6", 10**6), ("1_000_000", 10**6), ("+7", 7), ("12e-1e", None),
                                             ("18446744073709551615", 2**64 - 1), ("-3", -3), ("1.0", 1)])  # fmt: skip
def test_integers_as_people_write_them(text, value):
    if value is None:
        with pytest.raises(Exception, match="expected an integer"):
            _integer(text)
    else:
        assert _integer(text) == value


def test_chains_of_the_family_can_be_spelled(tmp_path):
    """Widths in turn, a named scale, the activation observed, a snapshot measure at its own stride."""
    command = ["simulate", "--width", "6,9", "--batch", "4", "--weights", "orthogonal", "--weight-scale", "he",
               "--activation", "relu", "--observe", "activation", "--measure", "trace", "singular_values(2)",
               "--snapshot-every", "4", "--depth", "8", "--chains", "2",
               "--json", str(tmp_path / "run.json")]  # fmt: skip
    assert cli.main(command) == 0
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["plan"]["chain"]["widths"] == [6, 9]
    assert found["plan"]["chain"]["weights"] == {"law": "orthogonal", "mean": 0.0, "scale": "he"}
    assert found["plan"]["observe"] == "activation"
    assert found["estimates"]["trace"]["count"] == 8
    assert found["estimates"]["singular_values(2)[1]"]["count"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--width", "8,x"],
        ["--width", "8", "--weight-scale", "big"],
        ["--width", "8", "--weights", "nope"],
        ["--width", "8,4", "--gamma", "1"],
    ],
)
def test_bad_chains_take_one_line(arguments, capsys):
    with contextlib.suppress(SystemExit):
        assert cli.main(["simulate", "--depth", "3", *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
