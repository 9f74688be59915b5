"""What all experiments share: files complete, stopped runs continued, experiments of one's own, honest errors."""

import dataclasses
import json
import math
import sys

import pytest

from pyrank import Chain, Interrupted, experiments
from pyrank.engine import backends, simulation
from pyrank.experiments import Column, Computation, Experiment, Row, Simulation
from pyrank.experiments.chains import soft_rank_scaling as scaling
from pyrank.experiments.chains.scaling_law import Setting
from pyrank.experiments.tasks import TaskError, run_tasks
from pyrank.plotting import Panel, Sheet
from pyrank.studies import Study
from pyrank.support.errors import ArgumentError

import chores
from harness import as_arrays, assert_same

TINY = scaling.Settings(
    tuple(Setting(width, gamma, chains=4, burn_in=20, layers=100) for gamma in (1.0, math.inf) for width in (4, 6, 8)),
    seed=7,
)
FORMATS = ("csv", "txt", "png", "svg", "json")
QUESTION = scaling.EXPERIMENT


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, QUESTION.run(TINY, folder)


# --- one run ---------------------------------------------------------------------------------------------------------


def test_every_file_is_written_and_complete(finished):
    folder, result = finished
    assert result.files == tuple(folder / f"soft-rank-scaling.{form}" for form in FORMATS)
    files = contents(folder)
    assert set(files) == {path.name for path in result.files}
    assert files["soft-rank-scaling.png"].startswith(b"\x89PNG")
    assert files["soft-rank-scaling.svg"].rstrip().endswith(b"</svg>")
    assert result.table in files["soft-rank-scaling.txt"].decode()
    for claim in result.claims:
        assert claim.statement in files["soft-rank-scaling.txt"].decode()
    data = json.loads(files["soft-rank-scaling.json"])
    assert data["question"] == result.question == QUESTION.question
    assert "arXiv:2003.01652" in data["citation"]
    assert list(data["rows"][0]) == [column.name for column in QUESTION.columns if column.name]


def test_finished_settings_are_not_recomputed(finished, monkeypatch):
    folder, result = finished
    before = contents(folder)

    def idle(*args):
        return dataclasses.replace(backends_choose(*args), advance=lambda *_: pytest.fail("recomputed"))

    backends_choose = backends.choose
    monkeypatch.setattr(backends, "choose", idle)
    again = QUESTION.run(TINY, folder)
    assert again == result
    assert contents(folder) == before


def test_interrupted_run_continues_where_it_stopped(finished, tmp_path, monkeypatch):
    calls, simulate = [], simulation.simulate

    def stop_at_third(*args, **kwargs):
        calls.append(args)
        run = simulate(*args, **kwargs)
        if len(calls) == 3:
            raise Interrupted("stopped", run)
        return run

    monkeypatch.setattr(simulation, "simulate", stop_at_third)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted, 4 of 6 cells are left; the same again continues in"):
        QUESTION.run(TINY, tmp_path)
    assert contents(tmp_path) == {}
    result = QUESTION.run(TINY, tmp_path)
    assert (result.table, result.claims) == (finished[1].table, finished[1].claims)


def test_other_settings_in_the_same_folder_keep_what_is_done(tmp_path, monkeypatch):
    first, other = dataclasses.replace(TINY, seed=70), dataclasses.replace(TINY, seed=71)
    for settings in (first, other):
        QUESTION.run(settings, tmp_path)
    monkeypatch.setattr(simulation, "simulate", lambda *_, **__: pytest.fail("simulated again"))
    assert QUESTION.run(first, tmp_path).table == QUESTION.run(first, tmp_path).table


def test_experiments_share_a_folder_for_files(tmp_path):
    squares = declared().run(Settings(3), tmp_path)
    cubes = declared(name="cubes", tasks=lambda _: [Computation("x=2", chores.picky, {"x": 2, "bad": 0})]).run(
        Settings(), tmp_path
    )
    assert all(path.is_file() for path in squares.files + cubes.files)
    assert not set(squares.files) & set(cubes.files)


def test_a_task_that_fails_is_named_once_the_others_are_done_and_tried_again(tmp_path):
    tasks = [
        Computation("bad", chores.picky, {"x": 0, "bad": 0}),
        Computation("good", chores.picky, {"x": 1, "bad": 0}),
    ]
    for _ in range(2):
        with pytest.raises(TaskError, match=r"^bad failed: ValueError: not this one$"):
            declared(tasks=lambda _: tasks).find(Settings(), tmp_path)
    assert Study(tmp_path / "squares.study", [task.cell("cpu") for task in tasks]).status()["done"] == 1


def test_a_dataclass_comes_back_as_the_annotation_of_its_function_says(tmp_path):
    point = chores.Point(0.5, (3,))
    found = run_tasks([Computation("p", chores.moved, {"point": point, "by": 1.0})], tmp_path, workers=1)
    assert found == [chores.Point(1.5, (3, 1))]


def test_a_run_comes_back_whole(tmp_path):
    chain = Chain(6, activation="relu")
    options = {"chains": 3, "seed": 4, "measures": ["soft_rank(0.5)", "stable_rank"], "snapshot_every": 5, "trace": 16}
    found, again = (run_tasks([Simulation("a", chain, 60, options)], tmp_path)[0] for _ in range(2))
    run = simulation.simulate(chain, 60, **options)
    assert (found.plan, found.depth, found.backend, found.reason) == (run.plan, run.depth, run.backend, run.reason)
    for each in (found, again):
        assert_same(as_arrays(each), as_arrays(run))
        assert each["stable_rank"].interval() == run["stable_rank"].interval()
    assert again.seconds == found.seconds


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match=r"^out = .*expected a folder"):
        QUESTION.run(TINY, tmp_path / "file" / "below")


def test_missing_matplotlib_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(simulation, "simulate", lambda *_, **__: pytest.fail("simulated"))
    with pytest.raises(ImportError, match=r"pip install matplotlib$"):
        experiments.reproduce("soft-rank-scaling", out=tmp_path)


def test_unknown_names_are_refused():
    with pytest.raises(ArgumentError, match=r"experiment = 'nope': expected one of .*soft-rank-scaling"):
        experiments.reproduce("nope")
    with pytest.raises(ArgumentError, match="preset = 'slow': expected one of quick, paper"):
        experiments.reproduce("soft-rank-scaling", "slow")


# --- declarations ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int = 3


def seeded(seed):
    return seed


def declared(**changes):
    """An experiment without simulations: squares."""
    whole = {
        "name": "squares",
        "question": "How large is a square?",
        "sources": (),
        "presets": {"quick": Settings()},
        "tasks": lambda settings: [Computation(f"x={x}", pow, {"base": x, "exp": 2}) for x in range(settings.size)],
        "columns": (Column("x", "x"), Column("square", "x^2", meaning="its square"), Column("flags")),
        "rows": lambda settings, squares: [{"x": x, "square": y, "flags": "odd" if y % 2 else ""}
                                           for x, y in enumerate(squares)],
        "claims": lambda found: [],
        "sheet": Sheet("Squares", [Panel(lambda axes, found: axes.plot([row.square for row in found.rows], label="y"),
                                         xlabel="x")]),
        "caption": lambda found: "Squares.",
    }  # fmt: skip
    return Experiment(**(whole | changes))


def test_results_come_in_the_order_of_tasks_and_become_rows(tmp_path):
    found = declared().find(Settings(4), tmp_path)
    assert found.data == [0, 1, 4, 9]
    assert found.rows == [Row(x=x, square=x * x, flags="odd" if x % 2 else "") for x in range(4)]
    assert found.rows_by("flags") == {"": [found.rows[0], found.rows[2]], "odd": [found.rows[1], found.rows[3]]}
    assert list(found.rows_by("x", "flags")) == [(0, ""), (1, "odd"), (2, ""), (3, "odd")]


def test_analysis_stands_between_tasks_and_rows(tmp_path):
    doubled = declared(analyse=lambda settings, results: [2 * result for result in results])
    assert doubled.find(Settings(), tmp_path).data == [0, 2, 8]


def test_caption_names_flagged_rows_and_seeds(tmp_path):
    assert declared().find(Settings(), tmp_path).rows[1].flags == "odd"
    assert declared().run(Settings(), tmp_path).caption == "Squares. Flagged rows: 1 of 3."
    tasks = [Simulation("a", Chain(4), 5, {"seed": 4}), Computation("b", pow, {"base": 1, "exp": 1}),
             Computation("c", seeded, {"seed": 9})]  # fmt: skip
    found = declared(tasks=lambda _: tasks, columns=(), rows=lambda *_: []).find(Settings(), tmp_path / "seeds")
    assert declared(columns=()).full_caption(found) == "Squares. Seeds: 4 to 9."


def test_a_column_that_rows_lack_is_an_error(tmp_path):
    with pytest.raises(KeyError, match="columns cube"):
        declared(columns=(*declared().columns, Column("cube"))).find(Settings(), tmp_path)


def test_an_interrupted_computation_says_how_to_go_on(tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted, 1 of 1 cells are left; the same again continues in"):
        declared(tasks=lambda _: [Computation("stop", chores.stop)]).find(Settings(), tmp_path)


# --- the catalogue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_is_declared_in_full(name):
    experiment = experiments.load(name)
    assert experiment.name == name
    assert {"quick", "paper"} <= set(experiment.presets)
    assert experiment.question.endswith("?")
    assert experiment.sources
    assert experiment.question == experiments.question(name)
    tasks = experiment.tasks(experiment.presets["quick"])
    assert len({task.name for task in tasks}) == len(tasks), "errors would be mixed up"


OWN = """
from pyrank.experiments import Column, Experiment
from pyrank.plotting import Panel, Sheet
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings:
    last: int = 3

EXPERIMENT = Experiment(
    name="my-own", question="What?", sources=(), presets={"quick": Settings()},
    tasks=lambda s: [],
    columns=(Column("n", "n"),), rows=lambda s, data: [{"n": s.last}], claims=lambda found: [],
    sheet=Sheet("t", [Panel(lambda axes, found: axes.plot([0, 1], label="line"))]), caption=lambda found: "c",
)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes an experiment into a file with a name that no other test uses; what is imported is forgotten."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    loaded = dict(sys.modules)

    def write(text, stem=f"own_{tmp_path.name}"):
        path = tmp_path / f"{stem}.py"
        path.write_text(text)
        return str(path)

    yield write
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
    sys.modules.update(loaded)


def test_an_experiment_in_a_file_of_ones_own(own, tmp_path):
    result = experiments.reproduce(own(OWN), out=tmp_path / "out")
    assert result.name == "my-own"
    assert (tmp_path / "out/my-own.csv").read_text() == "n\n3\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_of_ones_own_may_use_its_neighbour(workers, own, tmp_path):
    own("def twice(x):\n    return 2 * x\n", "neighbour_of_own")
    text = "from neighbour_of_own import twice\nfrom pyrank.experiments import Computation\n" + OWN
    text = text.replace("lambda s: []", "lambda s: [Computation('n', twice, {'x': s.last})]", 1)
    path = own(text.replace("s.last}]", "data[0]}]"))
    experiments.reproduce(path, out=tmp_path / "out", workers=workers)
    assert (tmp_path / "out/my-own.csv").read_text() == "n\n6\n"


@pytest.mark.parametrize("stem", ["random", "time", "queue", "torch", "chores", "__main__", "with.dot"])
def test_a_file_with_the_name_of_another_module_is_refused(stem, own):
    before = sys.modules.get(stem)
    with pytest.raises(ArgumentError, match=r"expected a name that .* no other one has; rename it"):
        experiments.load(own(OWN, stem))
    assert sys.modules.get(stem) is before


@pytest.mark.parametrize(("text", "told"), [
    ("x = 1\nx = = 2\n", r"SyntaxError: invalid syntax \(own_\S+\.py, line 2\)"),
    ("\n\nimport no_such_module\n", "line 3: ModuleNotFoundError: No module named 'no_such_module'"),
    ("def f():\n    return 1 / 0\n\nf()", "line 2: ZeroDivisionError: division by zero"),
    ("import pyrank\npyrank.Chain(0)", "line 2: ArgumentError: width = 0: .*"),
])  # fmt: skip
def test_an_error_in_a_file_of_ones_own_is_told_in_a_line(text, told, own):
    path = own(text)
    with pytest.raises(ArgumentError, match=rf"^experiment = .*\({told}\); correct it, `python {path}` shows more$"):
        experiments.load(path)


def test_a_file_of_ones_own_is_read_anew(own):
    assert experiments.load(own(OWN)).question == "What?"
    assert experiments.load(own(OWN.replace("What?", "And what else?"))).question == "And what else?"


@pytest.mark.parametrize(("text", "wanted"), [(None, "a Python file"), ("x = 1", "EXPERIMENT = "),
                                              ("EXPERIMENT = 3", "EXPERIMENT = ")])  # fmt: skip
def test_a_file_without_an_experiment_is_refused(text, wanted, own):
    path = "no_such_file.py" if text is None else own(text)
    with pytest.raises(ArgumentError, match=f"experiment = .*expected .*{wanted}"):
        experiments.load(path)
