"""Descents on least squares: steps against closed forms and plain loops, rates against theory, verdicts both ways."""

import dataclasses
import math

import numpy as np
import pytest

from pyrank import theory
from pyrank.experiments import Found
from pyrank.experiments.optimization import descent_steps as steps
from pyrank.experiments.optimization.descent_claims import KAPPAS, LITTLE, RATES, claims
from pyrank.experiments.optimization.descent_figure import shown
from pyrank.experiments.optimization.descent_steps import WITHIN, Setting
from pyrank.experiments.optimization.normalized_least_squares import EXPERIMENT, Settings, grid, tasks
from pyrank.optimization import LeastSquares

from oracles import agrees
from tolerances import EXACT

TINY = Settings(
    tuple(Setting(d, kappa, 6, seed=3) for d in (2, 3) for kappa in KAPPAS),
    per_decade=2, most=400, steps=200, mapped=Setting(2, 10.0, 2), mapped_most=60,
)  # fmt: skip
SMALL = Setting(3, 20.0, 12, seed=5)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return EXPERIMENT.find(TINY, tmp_path_factory.mktemp("tiny"))


# --- steps -----------------------------------------------------------------------------------------------------------


def test_plain_steps_are_those_of_the_closed_form():
    """In the directions of H an error is multiplied by 1 - rate lambda."""
    rates, drawn = (0.03, 0.06, 0.095), SMALL.draw()
    found = steps.steps_at(SMALL, False, rates, 400)
    eigenvalues, Q = np.linalg.eigh(drawn.H)
    error = np.einsum("nji,nj->ni", Q, np.full(3, 3**-0.5) - drawn.u)
    for rate, some in zip(rates, found, strict=True):
        left = (1 - rate * eigenvalues) ** np.arange(401)[:, None, None] * error
        residual = np.sqrt((eigenvalues * left**2).sum(axis=-1))
        done = residual <= WITHIN * residual[0]
        np.testing.assert_array_equal(some, np.where(done.any(axis=0), done.argmax(axis=0), math.inf))
    assert np.isfinite(found).any()
    assert np.isinf(steps.steps_at(SMALL, False, (0.11,), 400)).all()  # above 2 / 20


@pytest.mark.parametrize("normalized", [True, False])
def test_a_race_is_won_by_the_fewest_steps(normalized):
    rates = grid(normalized, SMALL.condition, 3)
    race, every = steps.race(SMALL, normalized, rates, 300), steps.steps_at(SMALL, normalized, rates, 300)
    np.testing.assert_array_equal(race.steps, every.min(axis=0))
    won = np.isfinite(race.steps)
    assert won.any()
    for k in np.flatnonzero(won):
        assert every[rates.index(race.rate[k]), k] == race.steps[k]
    assert max(rates) < 2 / SMALL.condition or normalized


def test_parts_are_the_whole(monkeypatch):
    rates = grid(True, SMALL.condition, 2)
    whole = steps.race(SMALL, True, rates, 200)
    monkeypatch.setattr(steps, "PART", 5)
    parts = [steps.race(SMALL, True, rates, 200, part) for part in range(3)]
    assert [len(part.steps) for part in parts] == [5, 5, 2]
    np.testing.assert_array_equal(steps.Race.of(parts).steps, whole.steps)
    np.testing.assert_array_equal(steps.Race.of(parts).rate, whole.rate)


def test_normalised_steps_are_those_of_a_path():
    drawn = SMALL.draw()
    found = steps.steps_at(SMALL, True, (0.3,), 500)[0]
    path = drawn.descend(True, 0.3, 500, scale_rate=1.0)
    done = path.residual <= WITHIN * path.residual[0]
    np.testing.assert_array_equal(found, np.where(done.any(axis=0), done.argmax(axis=0), math.inf))
    assert np.isfinite(found).any()


def test_steps_near_the_solution_are_those_of_the_rate():
    """What theory says of the end, at five standard errors; only slow problems are long enough to tell."""
    rate, ratios = 0.08, []
    for d in range(2, 13):
        problems = LeastSquares.random(d, 20, seed=d, problems=40)
        start = problems.u + 1e-3 * np.random.default_rng(d).standard_normal(problems.u.shape)
        path = problems.descend(True, rate, 80, scale_rate=1.0, start=start)  # faster directions end here
        lengths = np.linalg.norm(path.w[-1], axis=-1)
        expected = theory.normalized_descent_rate(problems.H, problems.g, rate, lengths, scale_rate=1.0)
        left = {"start": path.w[-1], "scale": path.scale[-1]}
        needed = steps.steps_needed(problems, True, np.full(40, rate), 2000, left)
        slow = (expected > 0.9) & np.isfinite(needed)
        ratios.append(np.log(WITHIN) / (needed[slow] - 0.5) / np.log(expected[slow]))  # half a step is rounded up
    ratios = np.concatenate(ratios)
    assert len(ratios) > 100
    agrees(ratios, 1)


def test_ends_tell_what_settles():
    """Below and above 2 / lambda_max, and a path that stands still."""
    found = steps.ends(SMALL, False, (0.0, 0.099, 0.101, 1.0), 4000)
    assert found.settles[:, 0].tolist() == [False, True, False, False]
    assert found.residual[1].max() < WITHIN
    assert found.residual[2].min() > 1
    assert np.all(found.residual[3] == steps.DIVERGED)


def test_of_rate_and_length_only_the_ratio_counts():
    some = steps.steps_from(Setting(2, 10.0, 3), (0.25, 1.0, 4.0), (0.5, 1.0, 2.0), 200)
    np.testing.assert_array_equal(some[1:, 1:], some[:-1, :-1])
    assert not np.array_equal(some[1:], some[:-1])
    np.testing.assert_array_equal(some[1, 1], steps.steps_at(Setting(2, 10.0, 3), True, (1.0,), 200)[0])


# --- the experiment --------------------------------------------------------------------------------------------------


def test_rows_have_the_problems_of_the_settings(found):
    assert [(row.features, row.kappa) for row in found.rows] == [(s.features, s.condition) for s in TINY.races]
    for row, (plain, normalized) in zip(found.rows, found.data.races.values(), strict=True):
        assert row.faster == (normalized.steps < plain.steps).sum()
        assert row.faster_low <= row.faster / 6 <= row.faster_high
    assert [row.pseudo for row in found.rows[:2]] == pytest.approx([1.0, 1.0], abs=EXACT)
    assert all(1 < row.pseudo < row.kappa for row in found.rows[2:])


def test_ideal_steps_are_those_of_the_best_rate():
    assert theory.best_descent_rate(50.0) ** steps.ideal_steps(50.0) == pytest.approx(WITHIN, rel=EXACT)
    assert steps.ideal_steps(1.0) == 1


def test_the_problem_that_is_drawn_is_the_median_one(found):
    setting = TINY.races[0]
    problem, paths = shown(found, setting)
    plain, normalized = found.data.races[setting]
    index = [np.array_equal(u, problem.u) for u in setting.draw().u].index(True)
    assert (
        (normalized.steps < normalized.steps[index]).sum() <= 3 <= (normalized.steps <= normalized.steps[index]).sum()
    )
    last = min(int(plain.steps[index]), len(paths[1].residual) - 1)
    assert paths[1].residual[last] <= WITHIN * paths[1].residual[0]
    np.testing.assert_allclose(paths[0].weights[0], paths[1].weights[0])


def planted(found, **changes):
    """The claims on results that are made up: all rates settle, steps as given for (d, kappa)."""
    named, races = dict(found.data.named), {}
    for setting in TINY.races:
        names = [f"{kind} {setting.features} {setting.condition:g}" for kind in ("plain", "normalised")]
        races[setting] = tuple(steps.Race(np.full(6, changes.get(name, 50.0)), np.ones(6)) for name in names)
        many = np.ones((len(RATES), 300), dtype=bool)
        many[0, : changes.get("unsettled", 0)] = False
        named[f"any rate,{setting}"] = steps.Ends(np.where(many, 0.0, 1.0), many)
        flags = np.array([[True], [False]]) & np.ones(300, dtype=bool)
        named[f"edges,{setting}"] = steps.Ends(np.where(flags, 0.0, changes.get("above", 2.0)), flags)
        named[f"any rate of w,{setting}"] = named[f"any rate,{setting}"]
        named[f"rate of the scale,{setting}"] = steps.Ends(np.full((1, 300), 1e30), many[:1])
    data = dataclasses.replace(found.data, named=named, races=races)
    return claims(Found(TINY, data, found.rows))


def test_verdicts(found):
    def verdicts(**changes):
        return [claim.verdict for claim in planted(found, **changes) if claim.kind == "published"]

    as_published = {"plain 3 10": 40.0, "normalised 3 1000": 40.0}
    assert verdicts(**as_published) == ["holds"] * 6
    assert verdicts(**as_published, unsettled=30)[0] == "fails"
    assert verdicts(**as_published, unsettled=15)[0] == "undecided"
    assert verdicts(**as_published, above=0.5)[1] == "fails"
    more = {"normalised 2 1000": 50.0 * LITTLE + 1}
    assert verdicts(**as_published, **more)[2] == "fails"
    assert verdicts(**as_published, **{"normalised 2 1000": math.inf})[2] == "fails"
    assert verdicts()[4:] == ["fails", "fails"]  # equally fast is not faster
    assert verdicts(**{"plain 3 10": 60.0})[4] == "fails"


def test_where_normalisation_becomes_faster(found):
    def first(**changes):
        return next(c for c in planted(found, **changes) if c.statement.startswith("d = 3: kappa from which")).value

    assert first() == math.inf
    assert first(**{"normalised 3 1000": 40.0}) == 1000
    assert first(**{"normalised 3 1000": 40.0, "normalised 3 10": 40.0}) == 10
    assert first(**{"normalised 3 10": 40.0}) == math.inf


def test_presets_have_what_is_published():
    for preset in EXPERIMENT.presets.values():
        assert len(preset.claimed) == 4
        assert all(setting.problems >= 200 for setting in preset.races)
        names = [task.name for task in tasks(preset)]
        assert len(set(names)) == len(names)


def test_files_are_complete(found, tmp_path):
    result = EXPERIMENT.run(TINY, tmp_path)
    assert all(path.stat().st_size for path in result.files)
    assert [claim.kind for claim in result.claims[:6]] == ["published"] * 6
    assert {claim.kind for claim in result.claims[6:]} == {"extension"}
