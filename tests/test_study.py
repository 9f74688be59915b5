"""A study: run once, opened again, extended, merged, read while it runs; its table, dataset and figure."""

import importlib
import json
import math
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from pyrank import ArgumentError, NotWritten, Study, Task, grid, simulate
from pyrank.specs.chain import Chain
from pyrank.studies import running, store
from pyrank.support.locks import sole_writer

import chores

CHAINS = {"width": [3, 4], "gamma": [1, math.inf], "depth": 60, "burn_in": 10, "chains": 2}


def walks(log, seeds=range(4)):
    return grid(task=chores.walk, seed=seeds, steps=5, log=str(log))


def begun(log):
    return sorted(log.read_text().split()) if log.exists() else []


def test_a_study_runs_each_cell_once_and_is_opened_again(tmp_path):
    log = tmp_path / "log"
    study = Study(tmp_path / "sweep", walks(log))
    assert not (tmp_path / "sweep").exists()
    assert study.status() == {"done": 0, "failed": 0, "waiting": 4}
    assert study.results() == [None] * 4
    assert study.run() == {"done": 4, "failed": 0, "waiting": 0}
    study.run()
    again = Study(tmp_path / "sweep", walks(log))
    again.run()
    assert begun(log) == ["0", "1", "2", "3"]
    for seed, found in enumerate(Study(tmp_path / "sweep").results()):
        expected = chores.walk(seed, 5)
        assert found["path"].tobytes() == expected["path"].tobytes()
        assert (found["end"], str(found["odd"])) == (expected["end"], str(expected["odd"]))
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["study.sqlite"]


def test_an_axis_can_be_extended_and_shortened(tmp_path):
    log = tmp_path / "log"
    Study(tmp_path / "sweep", walks(log, [0, 1])).run()
    longer = Study(tmp_path / "sweep", walks(log, range(3)))
    assert longer.status() == {"done": 2, "failed": 0, "waiting": 1}
    longer.run()
    assert begun(log) == ["0", "1", "2"]
    assert list(Study(tmp_path / "sweep", walks(log, [2])).table()["seed"]) == [2]
    assert Study(tmp_path / "sweep", walks(log, [7, 8])).status() == {"done": 0, "failed": 0, "waiting": 2}
    assert list(Study(tmp_path / "sweep").table()["seed"]) == [0, 1, 2]


def test_equal_cells_are_one(tmp_path):
    study = Study(tmp_path, [Task(chores.square, {"x": 3}), Task(chores.square, {"x": 3}, cost=2.0)])
    assert len(study) == 1
    study.run()
    assert study.results() == [{"square": 9, "root": 3**0.5}]


def test_the_table_has_a_row_for_each_cell_and_measure(tmp_path):
    study = Study(tmp_path, grid(**CHAINS, seed=range(2)))
    study.run()
    table = study.table()
    assert list(table.columns)[:8] == ["width", "gamma", "seed", "measure", "mean", "stderr", "ess", "rhat"]
    assert list(table.columns)[-1] == "seconds"
    assert len(table) == 2 * 8
    row = table[
        (table.width == 4) & (table.gamma == math.inf) & (table.seed == 1) & (table.measure == "soft_rank(0.5)")
    ]
    run = simulate(Chain(4), 60, chains=2, seed=1, burn_in=10)["soft_rank(0.5)"]
    assert row["mean"].item() == run.mean
    assert row["stderr"].item() == run.stderr
    assert row["flags"].item() == ", ".join(run.flags)
    assert (table["seconds"] > 0).all()
    read = Study(tmp_path).table()
    assert read.equals(table)


def test_the_dataset_has_the_axes_as_dimensions(tmp_path):
    cells = grid(**CHAINS, seed=[7], measures=["trace"])
    study = Study(tmp_path, cells)
    study.run()
    data = study.dataset()
    assert dict(data.sizes) == {"width": 2, "gamma": 2, "seed": 1}
    found = data.sel(width=3, gamma=1.0, seed=7)
    run = simulate(Chain(3, gamma=1.0), 60, chains=2, seed=7, burn_in=10, measures=["trace"])["trace"]
    assert float(found["trace_mean"]) == run.mean
    assert float(found["trace_stderr"]) == run.stderr
    assert {"trace_ess", "trace_rhat", "trace_flags", "seconds"} <= set(data.data_vars)
    wider = Study(tmp_path, grid(**CHAINS | {"width": [3, 4, 5]}, seed=[7], measures=["trace"])).dataset()
    assert np.isnan(wider["trace_mean"].sel(width=5)).all()
    assert not np.isnan(wider["trace_mean"].sel(width=4)).any()


def test_tasks_of_ones_own_have_a_column_for_each_number(tmp_path):
    study = Study(tmp_path / "a", [Task(chores.square, {"x": x}) for x in (1, 4)])
    study.run()
    table = study.table()
    assert list(table.columns) == ["x", "square", "root", "seconds"]
    assert table["root"].tolist() == [1.0, 2.0]
    assert study.dataset()["square"].sel(x=4) == 16
    both = Study(tmp_path / "b", grid(task=chores.measured, x=[2, 4]))
    both.run()
    assert both.table()[["x", "measure", "mean", "loss"]].values.tolist() == [
        [2, "rank", 2.0, 0.5],
        [4, "rank", 4.0, 0.25],
    ]
    alone = Study(tmp_path / "c", grid(task=chores.nap, seconds=[0, 0.001]))
    alone.run()
    assert alone.table()["value"].tolist() == [0, 0.001]


def test_a_dataset_needs_a_place_for_each_cell(tmp_path):
    study = Study(tmp_path, [Task(chores.square, {"x": 1}), Task(chores.nap, {"seconds": 0.0})])
    study.run()
    assert len(study.table()) == 2
    assert study.dataset()["square"].shape == (2, 2)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "said"), [
    (0, "ValueError: not this one"), (1, "MemoryError: "), (2, "SystemExit: 3"),
    (5, "UnwritableError: object is no number"),
])  # fmt: skip
def test_a_cell_that_fails_keeps_its_error_and_the_others_go_on(bad, said, tmp_path):
    study = Study(tmp_path, grid(task=chores.picky, x=range(6), bad=bad))
    assert study.run() == {"done": 5, "failed": 1, "waiting": 0}
    ((cell, error),) = study.failures()
    assert cell == {"x": bad}
    assert error.startswith(said.strip())
    assert "chores.py" in study.failures(traceback=True)[0][1] or bad == 5
    assert [x for x in study.results() if x is not None] == [x for x in range(6) if x != bad]
    assert len(study.table()) == 5
    assert study.run() == {"done": 5, "failed": 1, "waiting": 0}


def test_what_has_failed_can_be_tried_again(tmp_path, monkeypatch):
    study = Study(tmp_path, grid(task=chores.picky, x=[0, 1], bad=0))
    study.run()
    monkeypatch.setattr(chores.picky, "__code__", (lambda x, bad: x).__code__)
    assert study.run(retry_failed=True) == {"done": 2, "failed": 0, "waiting": 0}
    assert study.failures() == []


def test_warnings_are_errors_of_the_cell_where_they_are_errors(tmp_path):
    study = Study(tmp_path, grid(task=chores.picky, x=[5, 6], bad=6))
    study.run()
    assert study.failures() == [({"x": 6}, "UserWarning: told")]


OTHER = [
    (lambda: grid(task=chores.walk, seed=[9], steps=6), "steps: 5 there, 6 here"),
    (lambda: grid(task=chores.square, x=[1]), "functions: ['chores:walk'] there, ['chores:square'] here"),
    (lambda: grid(task=chores.walk, seed=9, steps=[5]), "axes: ['seed'] there, ['steps'] here"),
]


@pytest.mark.parametrize(("cells", "said"), OTHER)
def test_the_folder_of_another_study_is_refused(cells, said, tmp_path):
    Study(tmp_path, grid(task=chores.walk, seed=range(2), steps=5)).run()
    before = (tmp_path / "study.sqlite").read_bytes()
    with pytest.raises(ArgumentError) as error:
        Study(tmp_path, cells())
    assert said in str(error.value)
    assert (tmp_path / "study.sqlite").read_bytes() == before


def renamed():
    def square(x):
        return x

    square.__module__, square.__qualname__ = "chores", "square"
    return square


BAD = [
    (lambda folder: Study(folder / "none"), "expected the folder of a study"),
    (lambda folder: Study(""), "folder = ''"),
    (lambda folder: Study(folder, []), "cells = []: expected at least one task"),
    (lambda folder: Study(folder, [3]), "cells = 3: expected a pyrank.Task"),
    (lambda folder: Study(folder, 3), "cells = 3: expected a pyrank.grid, or tasks"),
    (lambda folder: Study(folder, [Task(chores.square, {"x": 1}), Task(renamed(), {"x": 2})]), "of different names"),
    (lambda folder: Study(folder, grid(task=chores.square, x=[1])).run(workers=0), "workers = 0"),
    (lambda folder: Study(folder, grid(task=chores.square, x=[1])).run(workers=5000), "workers = 5000"),
    (lambda folder: Study(folder, grid(task=chores.square, x=[1])).run(executor=3), "executor = 3"),
]


@pytest.mark.parametrize(("ask", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_input_is_told_in_one_line_and_creates_nothing(ask, said, tmp_path):
    with pytest.raises(ArgumentError) as error:
        ask(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda file: file.write_bytes(b"no database at all, but long enough" * 99), "file is not a database"),
    (lambda file: sqlite3.connect(file).execute("CREATE TABLE other (x)").connection.close(), "no such table: cells"),
    (lambda file: sqlite3.connect(file).execute("PRAGMA user_version = 2").connection.close(), "format 1 at most"),
])  # fmt: skip
def test_a_file_that_is_no_study_of_this_pyrank_is_refused(spoil, said, tmp_path):
    cells = grid(task=chores.square, x=[1])
    if "format" in said:
        Study(tmp_path, cells).run()
    spoil(tmp_path / "study.sqlite")
    for ask in (lambda: Study(tmp_path), lambda: Study(tmp_path, cells)):
        with pytest.raises(ArgumentError) as error:
            ask()
        assert said in str(error.value)


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_file_can_be_read_with_plain_sql(tmp_path):
    Study(tmp_path, grid(task=chores.measured, x=[2, 4])).run()
    connection = sqlite3.connect(tmp_path / "study.sqlite")
    query = ("SELECT json_extract(axes, '$.x'), json_extract(result, '$.rank.mean'), json_extract(parameters, '$.x') "
             "FROM cells WHERE status = 'done' ORDER BY number")  # fmt: skip
    assert connection.execute(query).fetchall() == [(2, 2.0, 2), (4, 4.0, 4)]
    assert dict(connection.execute("SELECT name, value FROM study"))["functions"] == '["chores:measured"]'
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_cell_takes_at_most_two_kilobytes(tmp_path):
    Study(tmp_path, grid(width=32, depth=100, chains=[4], seed=range(40))).run()
    assert (tmp_path / "study.sqlite").stat().st_size <= 40 * 2048


def test_two_folders_can_be_merged(tmp_path):
    for name, seeds in (("a", [0, 1]), ("b", [1, 2])):
        Study(tmp_path / name, walks(tmp_path / "log", seeds)).run()
    study = Study(tmp_path / "a", walks(tmp_path / "log", range(4)))
    study.merge(tmp_path / "b")
    assert study.status() == {"done": 3, "failed": 0, "waiting": 1}
    assert [found and found["end"] for found in study.results()] == [
        *(chores.walk(seed, 5)["end"] for seed in range(3)), None]  # fmt: skip
    whole = Study(tmp_path / "a")
    whole.merge(tmp_path / "b")
    assert len(whole) == 4
    with pytest.raises(ArgumentError, match="folder of a study"):
        study.merge(tmp_path / "c")


def test_one_run_at_a_time(tmp_path):
    study = Study(tmp_path, grid(task=chores.square, x=[1]))
    with sole_writer("x", tmp_path), pytest.raises(ArgumentError, match="no other run writes to"):
        study.run()
    study.run()


def test_a_study_can_be_read_while_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "COMMIT_SECONDS", 0.0)
    seen = []

    def watch():
        while not seen or seen[-1]["waiting"]:
            if (tmp_path / "study.sqlite").exists():
                study = Study(tmp_path)
                seen.append(study.status())
                assert len(study.table()) >= seen[-1]["done"]

    study = Study(tmp_path, grid(task=chores.walk, seed=range(30), steps=3))
    study._enter()
    thread = threading.Thread(target=watch)
    thread.start()
    study.run()
    thread.join()
    assert len({each["done"] for each in seen}) > 2
    assert seen[-1] == {"done": 30, "failed": 0, "waiting": 0}


@pytest.mark.parametrize("when", ["while it is made", "later"])
def test_what_a_killed_writer_leaves_is_tidied_up(when, tmp_path):
    """A journal that a process killed in the middle of a transaction has left, with pages already in the file."""
    cells = grid(task=chores.square, x=range(3))
    if when == "later":
        Study(tmp_path, cells).run()
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE junk (x)")
for number in range(2000):
    connection.execute("INSERT INTO junk VALUES (?)", ("x" * 1000,))
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "study.sqlite"], check=False)
    assert (tmp_path / "study.sqlite-journal").exists()
    study = Study(tmp_path, cells)
    assert study.status()["done"] == (3 if when == "later" else 0)
    assert not (tmp_path / "study.sqlite-journal").exists()
    assert study.run()["done"] == 3
    assert store.Store(tmp_path).check() == "ok"


def test_results_that_cannot_be_written_are_kept_and_written_later(tmp_path, monkeypatch):
    put, full = store.Store.put, True

    def refuse(self, outcomes, hidden):
        if full:
            raise OSError(28, "No space left on device", str(self.path))
        put(self, outcomes, hidden)

    monkeypatch.setattr(store.Store, "put", refuse)
    study = Study(tmp_path, grid(task=chores.square, x=range(3)))
    with pytest.warns(NotWritten, match="study.sqlite.*No space left.*make room"):
        assert study.run()["done"] == 3
    assert study.table()["square"].tolist() == [0, 1, 4]
    assert study.results()[2]["square"] == 4
    assert Study(tmp_path).status()["done"] == 0
    full = False
    assert study.run()["done"] == 3
    assert Study(tmp_path).status()["done"] == 3


def test_another_version_goes_on_with_a_warning(tmp_path):
    Study(tmp_path, grid(task=chores.square, x=[1])).run()
    connection = sqlite3.connect(tmp_path / "study.sqlite")
    connection.execute("UPDATE study SET value = ? WHERE name = 'pyrank'", (json.dumps("0.0.1"),))
    connection.commit()
    connection.close()
    study = Study(tmp_path, grid(task=chores.square, x=[1, 2]))
    with pytest.warns(UserWarning, match=r"begun with 0\.0\.1"):
        study.run()
    assert study.status()["done"] == 2


def test_a_function_whose_file_has_changed_keeps_its_results_with_a_warning(tmp_path, monkeypatch):
    module = tmp_path / "changing.py"
    monkeypatch.syspath_prepend(tmp_path)

    def study(text, x):
        module.write_text(f"def scaled(x):\n    {text}\n")
        monkeypatch.delitem(sys.modules, "changing", raising=False)
        return Study(tmp_path / "sweep", grid(task=importlib.import_module("changing").scaled, x=x))

    study("return 1.0 / 0", [1]).run()
    study("return 2 * x", [1]).run(retry_failed=True)  # nothing was done yet
    changed = study("return 'thrice', 3 * x", [1, 2])
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"file of changing has changed .* delete the folder .*sweep$"):
            changed.run()
    assert changed.results() == [2, ("thrice", 6)]
    study("return 2 * x", [1, 2]).run()


# --- figures ---------------------------------------------------------------------------------------------------------


def test_a_figure_has_error_bars_logarithmic_axes_and_a_panel_for_each_further_axis(tmp_path):
    pytest.importorskip("matplotlib")
    study = Study(tmp_path, grid(width=[3, 6, 12], gamma=[1, math.inf], activation=["linear", "relu"], seed=range(3),
                                 depth=40, chains=2))  # fmt: skip
    study.run()
    figure = study.plot(x="width", y="soft_rank(0.5)", hue="gamma")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["activation = linear", "activation = relu"]
    left = figure.axes[0]
    assert left.get_xscale() == "log"
    assert len(left.containers) == 2
    table = study.table()
    rows = table[(table.width == 6) & (table.gamma == 1) & (table.activation == "linear")
                 & (table.measure == "soft_rank(0.5)")]  # fmt: skip
    assert left.containers[0].lines[0].get_ydata()[1] == pytest.approx(rows["mean"].mean())
    (low, high) = left.containers[0].lines[2][0].get_segments()[1][:, 1]
    assert high - low >= 2 * 1.96 * math.sqrt((rows["stderr"] ** 2).sum()) / 3 * 0.999
    other = study.plot(x="gamma", y="participation_ratio")
    assert [text.get_text() for text in other.axes[-1].get_xticklabels()] == ["1", r"$\infty$"]
    with pytest.raises(ArgumentError, match="x = 'depth'"):
        study.plot(x="depth", y="trace")
    with pytest.raises(ArgumentError, match=r"y = 'trace': expected one of .*soft_rank"):
        study.plot(x="width", y="trace")


def test_a_number_of_ones_own_is_drawn_with_the_scatter_of_its_seeds(tmp_path):
    pytest.importorskip("matplotlib")
    study = Study(tmp_path, grid(task=chores.measured, x=[1, 2], seed=range(4)))
    study.run()
    from scipy import stats

    figure = study.plot(x="x", y="rank")
    segments = figure.axes[0].containers[0].lines[2][0].get_segments()
    means = np.arange(4.0) + 1
    expected = stats.norm.ppf(0.975) * means.std(ddof=1) / 2
    assert segments[0][1, 1] - segments[0][0, 1] == pytest.approx(2 * expected)
