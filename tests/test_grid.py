"""Grids and tasks: what is an axis, what two equal cells are, and what is refused before anything runs."""

import dataclasses
import itertools
import math
import time

import numpy as np
import pytest
import torch

import pyrank
from pyrank import ArgumentError, Chain, Normalization, Task, Weights, grid, simulate
from pyrank.studies.values import UnwritableError, argument_text, pack, unpack

import chores

SMALL = {"width": 4, "depth": 50}


def test_lists_tuples_and_ranges_are_axes_and_the_last_varies_fastest():
    cells = grid(task=chores.walk, seed=range(2), steps=(5, 7, 9), log=["a"])
    assert {name: list(points) for name, points in cells.axes.items()} == {
        "seed": [0, 1], "steps": [5, 7, 9], "log": ["a"]}  # fmt: skip
    expected = [dict(zip(("seed", "steps", "log"), point, strict=True))
                for point in itertools.product(range(2), (5, 7, 9), ["a"])]  # fmt: skip
    assert [task.parameters for task in cells] == expected == [cells.point(number) for number in range(len(cells))]
    assert cells[-1] == cells[5]
    assert cells[1:3] == [cells[1], cells[2]]
    with pytest.raises(IndexError):
        cells[6]


@pytest.mark.parametrize("cells", [
    lambda: grid(width=[4, (4, 8)], gamma=math.inf, seed=range(3), depth=[10, 20]),
    lambda: grid(width=[4, 6], batch=[None, 6], every=[1, 2], snapshot_every=[None, 3], depth=9),
    lambda: grid(width=4, depth=10, normalization=[Normalization(recentre=True), "none"], weights=[Weights(scale=2)]),
    lambda: grid(task=chores.walk, seed=[1, 1.0, True, -0.0, 0.0, math.inf], steps=3),
    lambda: grid(task=chores.moved, point=[chores.Point(1.0), chores.Point(1)], by=[np.arange(3), np.arange(3.0)]),
])  # fmt: skip
def test_keys_of_a_grid_are_those_of_its_tasks(cells):
    assert list(cells().keys()) == [task.key for task in cells()]


@pytest.mark.parametrize(("one", "other"), [
    ({"gamma": 1}, {"gamma": 1.0}),
    ({}, {"gamma": math.inf, "batch": 4, "chains": 16, "measures": ["participation_ratio", "soft_rank(0.5)"]}),
    ({"weights": Weights("gaussian"), "normalization": Normalization()}, {"dtype": torch.float32}),
    ({"measures": ["soft_rank(1)"]}, {"measures": ("soft_rank(tau=1.0)",)}),
    ({"initial": "collinear"}, {"initial": "collinear(1e-5)"}),
    ({"every": 2, "depth": 50.0}, {"every": 2, "snapshot_every": 2}),
])  # fmt: skip
def test_equal_plans_are_one_cell(one, other):
    assert grid(**SMALL | one)[0].key == grid(**SMALL | other)[0].key


def test_everything_that_changes_a_result_changes_the_key():
    changes = [{}, {"gamma": 1.0}, {"batch": 5}, {"seed": 1}, {"depth": 51}, {"chains": 2}, {"every": 2}, {"trace": 2},
               {"initial": "identity"}, {"observe": "activation"}, {"measures": []}, {"backend": "reference"},
               {"dtype": "float64"}, {"activation": "relu"}, {"weights": "uniform"}, {"burn_in": 1},
               {"normalization": Normalization(eps=1e-3)}, {"snapshot_every": 2}]  # fmt: skip
    keys = {grid(**SMALL | change)[0].key for change in changes}
    assert len(keys) == len(changes)


def test_a_cell_is_the_run_that_simulate_gives():
    cells = grid(width=[(4, 8)], depth=200, chains=3, seed=[5], measures=["soft_rank(0.5)", "trace"], trace=8)
    found = cells[0].function(**cells[0].parameters)
    run = simulate(Chain((4, 8)), 200, chains=3, seed=5, measures=["soft_rank(0.5)", "trace"], trace=8)
    for name, estimate in run.estimates.items():
        for statistic in ("mean", "stderr", "ess", "rhat", "std", "min", "max", "count", "dof"):
            assert found[name][statistic] == getattr(estimate, statistic)
        np.testing.assert_array_equal(found[name]["trace"], estimate.trace)
    np.testing.assert_array_equal(found["soft_rank(0.5)"]["histogram"], run["soft_rank(0.5)"].histogram.sum(axis=0))
    assert "histogram" not in found["trace"]
    grows = grid(width=4, depth=20, normalization="none")[0]
    expected = simulate(Chain(4, normalization="none"), 20).log_scale.mean()
    assert grows.function(**grows.parameters)["log_scale"] == expected


def test_no_trace_is_kept_unless_asked_for():
    assert grid(**SMALL)[0].parameters["trace"] == 0


BAD = [
    (lambda: grid(**SMALL, colour=1), "colour = 1: expected one of width, batch"),
    (lambda: grid(**SMALL, threads=2), "threads = 2: expected one of width"),
    (lambda: grid(width=4), "depth = 'missing'"),
    (lambda: grid(width=[], depth=5), "width = []: expected at least one value"),
    (lambda: grid(width=range(1, 4000), depth=range(1, 4000)), "expected at most 10,000,000 cells"),
    (lambda: grid(**SMALL, gamma=[1.0, -1.0]), "gamma = -1.0"),
    (lambda: grid(**SMALL, seed=[0, 1, -1]), "seed = -1"),
    (lambda: grid(width=4, depth=[100, 10], burn_in=20), "burn_in = 20: expected fewer layers than depth = 10"),
    (lambda: grid(width=[4, 8], depth=9, weights="gram", batch=[2, 6]), "batch = 6"),
    (lambda: grid(**SMALL, every="auto"), "every = 'auto'"),
    (lambda: grid(**SMALL, initial=["gaussian", "gausian"]), "initial = 'gausian'"),
    (lambda: grid(**SMALL, backend=["cpu", "gpu"]), "backend = 'gpu'"),
    (lambda: grid(**SMALL, measures=[torch.trace]), "measure = 'trace'"),
    (lambda: grid(**SMALL, measures="rank"), "measure = 'rank'"),
    (lambda: grid(task=chores.square, y=[1]), "y = [1]: expected a name that the task takes: x"),
    (lambda: grid(task=chores.walk, seed=[1]), "steps = 'missing'"),
    (lambda: grid(task=chores.square, x=[object()]), "x = <object"),
    (lambda: grid(task=lambda x: x, x=[1]), "expected a function at the top of a module"),
    (lambda: Task(chores.square, {"x": {1: 2}}), "1 is no name"),
    (lambda: Task(chores.square, {"x": np.array([object()])}), "x = "),
    (lambda: Task("square", {}), "task = 'square'"),
    (lambda: Task(chores.square, ["x"]), "parameters = ['x']"),
    (lambda: Task(chores.square, {"a b": 1}), "parameters = 'a b'"),
    (lambda: Task(chores.square, {}, cost=math.nan), "cost = nan"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_grids_are_refused_in_one_line(make, said):
    with pytest.raises(ArgumentError) as error:
        make()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_of_many_cells_is_checked_and_that_is_cheap():
    began = time.perf_counter()
    with pytest.raises(ArgumentError, match="burn_in"):
        grid(width=range(1, 9), gamma=[*range(1, 100)], seed=range(1000), depth=[*range(20, 10, -1)], burn_in=11)
    assert time.perf_counter() - began < 5.0  # 8 million cells


# --- values ----------------------------------------------------------------------------------------------------------


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("value", [
    None, True, 3, -0.0, 0.1 + 0.2, math.inf, -math.inf, math.nan, 2**70, (1, (2.0, [3])), {"b": 1, "a": {"c": ()}},
    {"x": np.arange(6, dtype=np.int16).reshape(2, 3), "y": (np.array(2.5), np.array([], dtype=bool))},
    [np.array([np.nan, np.inf, -0.0], dtype=np.float32)],
])  # fmt: skip
def test_results_come_back_to_the_bit(value):
    assert same(unpack(*pack(value)), value)


def test_results_of_other_kinds_come_back_as_what_is_kept_of_them():
    assert unpack(*pack(chores.Point(np.float32(0.5), (1, 2)))) == {"x": 0.5, "y": (1, 2)}
    assert same(unpack(*pack(torch.arange(3.0, requires_grad=True))), np.arange(3, dtype=np.float32))
    for value in (object(), {1: 2}, {"$float": 1}, np.array(["a"]), {1, 2}, b"x"):
        with pytest.raises(UnwritableError):
            pack(value)


def test_arguments_differ_where_values_do():
    values = [1, 1.0, "1", True, None, "inf", math.inf, -math.inf, 0.0, -0.0, [1], [[1]], {"a": 1}, chores.Point(1.0),
              {"x": 1.0, "y": []}, np.arange(3), np.arange(3.0), np.arange(3)[:, None], chores.square]  # fmt: skip
    texts = [argument_text(value) for value in values]
    assert len(set(texts)) == len(values)
    assert argument_text({"a": 1, "b": 2}) == argument_text({"b": 2, "a": 1})
    assert (
        argument_text((1, 2)) == argument_text([1, 2]) == argument_text(range(1, 3)) == argument_text([np.int8(1), 2])
    )


def test_a_task_is_a_value():
    task = Task(chores.walk, {"seed": 1, "steps": 2})
    assert task == dataclasses.replace(task, cost=9.0)
    assert task.key == dataclasses.replace(task, cost=9.0).key
    assert task.name == "chores:walk"
    assert pyrank.Task is Task
