"""`pyrank study`: from a TOML file to a folder, its status and its table."""

import io
import math
import os
import signal
import time

import pytest

from pyrank import Study, cli, grid
from pyrank.cli.studies import read_grid

from harness import start_command

SWEEP = """
depth = 60
chains = 2
measures = ["trace", "soft_rank(0.5)"]

[axes]
width = [3, [2, 4]]
gamma = [inf]
seed = {range = [0, 2]}
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path / "sweep"


def run(arguments, capsys):
    status = cli.main(["study", *arguments])
    return status, *capsys.readouterr()


def test_from_a_file_to_a_table(sweep, capsys):
    assert run(["run", "sweep.toml"], capsys) == (0, "sweep: 4 done, 0 failed, 0 waiting\n", "")
    assert run(["status", "sweep"], capsys) == (0, "sweep: 4 done, 0 failed, 0 waiting\n", "")
    cells = grid(width=[3, (2, 4)], gamma=[math.inf], seed=range(2), depth=60, chains=2,
                 measures=["trace", "soft_rank(0.5)"])  # fmt: skip
    study = Study(sweep, cells)
    assert study.status()["done"] == 4
    status, out, _ = run(["table", "sweep"], capsys)
    assert status == 0
    assert len(out.splitlines()) == 9
    assert out.split()[:5] == ["width", "gamma", "seed", "measure", "mean"]
    assert run(["table", "sweep", "--csv", "t.csv"], capsys) == (0, "written: t.csv\n", "")
    import pandas as pd

    read = pd.read_csv(io.StringIO((sweep.parent / "t.csv").read_text()), keep_default_na=False)
    assert read["mean"].tolist() == study.table()["mean"].tolist()


def test_workers_and_another_folder(sweep, capsys):
    assert run(["run", "sweep.toml", "--workers", "2", "--out", "other"], capsys)[0] == 0
    assert Study("other").status()["done"] == 4
    assert not sweep.exists()


def test_cells_that_fail_are_told_and_the_status_is_one(sweep, capsys):
    (sweep.parent / "sweep.toml").write_text(
        "width = 64\ndepth = 300\nnormalization = 'none'\nactivation = 'softplus'\n[axes]\nseed = {range = [0, 7]}\n"
    )
    status, out, err = run(["run", "sweep.toml"], capsys)
    lines = out.splitlines()
    assert (status, err) == (1, "")
    assert lines[0] == "sweep: 0 done, 7 failed, 0 waiting"
    assert lines[1].startswith("failed: seed = 0: FloatingPointError: the state overflowed")
    assert lines[-1] == "failed: 2 more"
    assert len(lines) == 7


@pytest.mark.parametrize(("text", "said"), [
    ("width = ", "expected a TOML file"),
    ("width = [3]\ndepth = 9", "width = [3]: expected a single value above [axes]"),
    ("width = 3\ndepth = 9\n[axes]\nseed = 1", "axes.seed = 1: expected a list"),
    ("width = 3\ndepth = 9\n[axes]\nseed = {range = ['a']}", "axes.seed = {'range': ['a']}: expected a list"),
    ("width = 3\ndepth = 9\n[axes]\nwidth = [4]", "width = 3: expected a fixed value or an axis"),
    ("width = 3\ndepth = 9\n[more]\nx = 1", "more = {'x': 1}"),
    ("axes = 3", "axes = 3: expected a table"),
    ("width = 3\ndepth = 9\ncolour = 1", "colour = 1: expected one of width"),
    ("width = 3\ndepth = 9\n[axes]\nseed = []", "seed = []: expected at least one value"),
    ("width = 3\ndepth = 9\n[axes]\nseed = [0, -1]", "seed = -1"),
])  # fmt: skip
def test_bad_files_are_told_in_one_line_and_create_nothing(text, said, sweep, capsys):
    (sweep.parent / "sweep.toml").write_text(text)
    status, out, err = run(["run", "sweep.toml"], capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not sweep.exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["run", "none.toml"], "No such file"),
    (["run", "sweep.toml", "--workers", "0"], "workers = 0"),
    (["run", "sweep.toml", "--workers", "4097"], "workers = 4097"),
    (["run", "sweep.toml", "--out", "sweep.toml"], "folder = 'sweep.toml'"),
    (["status", "sweep"], "expected the folder of a study"),
    (["table", "sweep"], "expected the folder of a study"),
    (["table", ".", "--csv", "no/t.csv"], "--csv = 'no/t.csv'"),
    (["run"], "FILE"),
    ([], "ACTION"),
])  # fmt: skip
def test_bad_arguments_are_told_in_one_line(arguments, said, sweep, capsys):
    status, out, err = run(arguments, capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not sweep.exists()


def test_an_address_that_does_not_answer(sweep, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("pyrank.cli.studies.DASK_SECONDS", 0.5)
    status, out, err = run(["run", "sweep.toml", "--dask", "tcp://127.0.0.1:1"], capsys)
    assert (status, out) == (2, "")
    assert "--dask = 'tcp://127.0.0.1:1': expected the address of a Dask scheduler that answers" in err
    assert not sweep.exists()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_and_the_same_command_continues(number, expected, sweep, monkeypatch):
    text = "width = 16\nchains = 4\nmeasures = []\n[axes]\ndepth = [2_000, 40_000_000]\n"
    (sweep.parent / "sweep.toml").write_text(text)
    process = start_command(["study", "run", "sweep.toml"], sweep.parent, seconds=0.2)
    while not list(sweep.glob("checkpoints/*.ckpt")):
        time.sleep(0.05)
        assert process.is_alive()

    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == expected
    said = (sweep.parent / "err").read_text()
    assert said == "pyrank: interrupted, 2 of 2 cells are left; the same again continues in sweep\n"
    assert list(sweep.glob("checkpoints/*.ckpt"))


def test_a_file_gives_what_grid_takes(sweep):
    values = read_grid(sweep.parent / "sweep.toml")
    assert values == {"depth": 60, "chains": 2, "measures": ["trace", "soft_rank(0.5)"], "width": [3, (2, 4)],
                      "gamma": [math.inf], "seed": [0, 1]}  # fmt: skip
