"""The rank while a network is trained: every curve is there, and verdicts go both ways."""

from dataclasses import replace

import numpy as np
import pytest
from test_network_trainings import planted

from pyrank.experiments import Found
from pyrank.experiments.networks import rank_during_training as experiment
from pyrank.experiments.networks.rates import Chosen, Settings
from pyrank.experiments.networks.recipes import Recipe

TINY = Recipe(3, 8, samples=32, batch=16, epochs=1)
STARTS = {"no BN": 1.1, "25 steps": 2.0, "75 steps": 3.0, "BN": 8.0, "BN, asymmetric": 1.0}


def test_every_curve_is_there(tmp_path):
    trials = tuple(replace(trial, recipe=replace(trial.recipe, raising=trial.recipe.raising and experiment.ASCENT))
                   for trial in experiment.trials(TINY, (0.01, 0.1)))  # fmt: skip
    settings = Settings(trials, 2)
    result = experiment.EXPERIMENT.run(settings, tmp_path, progress=False)
    found = experiment.EXPERIMENT.find(settings, tmp_path, progress=False)
    assert [row.kind for row in found.rows] == list(STARTS)
    assert all(each.r.shape == (2, 2) for each in found.data)
    raised, plain = (found.data[at].r[:, 0] for at in (1, 0))
    assert (raised > plain).all()
    assert result.png.read_bytes().startswith(b"\x89PNG")


def made_up(ends=None, accuracies=(0.1, 0.4, 0.6, 0.8, 0.1), complete=True):
    ends = STARTS | (ends or {})
    data = [
        Chosen(trial, 0.1, {0.1: 1.0}, tuple(planted(1.0, accuracy, [[start], [ends[kind]]]) for _ in "ab"))
        for trial, (kind, start), accuracy in zip(experiment.trials(TINY, (0.1,)), STARTS.items(), accuracies,
                                                  strict=True)
    ]  # fmt: skip
    return Found(Settings(tuple(each.trial for each in data), 2, complete=complete), data)


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return [[claim.verdict[0] for claim in claims if claim.kind == kind] for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    assert verdicts() == [["h"] * 4, ["h"] * 6]
    assert verdicts(ends={"BN": 2.5}) == [["h", "f", "h", "h"], ["h", "h", "h", "h", "f", "h"]]
    assert verdicts(ends={"BN": 1.5, "75 steps": 5.0})[0] == ["f", "f", "h", "f"]
    assert verdicts(accuracies=(0.6, 0.1, 0.2, 0.8, 0.1))[0] == ["h", "h", "f", "h"]
    assert verdicts(accuracies=(0.1, 0.1, 0.6, 0.8, 0.1)) == [["h"] * 4, ["f", *"hhhhh"]]
    assert verdicts(complete=False)[0] == ["u"] * 4


@pytest.mark.parametrize("kind", ["25 steps", "75 steps", "BN"])
def test_a_network_that_diverges_has_guessed_and_leaves_its_pairs(kind):
    """Its rank decides nothing, neither for itself nor for the order of the others."""
    found = made_up(ends={kind: np.nan}, accuracies=[np.nan if each == kind else 0.5 for each in STARTS])
    order, magnitude, correlation, apart, rise = experiment.claims(found)[:5]
    assert order.verdict == "holds"
    assert magnitude.verdict == "undecided"
    assert correlation.verdict == ("undecided" if kind == "BN" else "fails")  # all the same have none
    assert rise.value == pytest.approx(0.0 if kind == "BN" else -0.4)
    assert apart.verdict == ("undecided" if kind == "BN" else "holds")


def test_correlations_are_those_of_numpy():
    levels = np.random.default_rng(0).random((3, 4))
    expected = [np.corrcoef((0, 25, 75), accuracies)[0, 1] for accuracies in levels.T]
    np.testing.assert_allclose(experiment.correlations((0, 25, 75), list(levels)), expected, rtol=1e-12)


def test_no_pair_no_order(recwarn):
    found = made_up()
    same = [replace(each, trainings=2 * (planted(1.0, r=[[1.0], [1.0]]),)) for each in found.data]
    assert np.isnan(experiment.order_kept(same)).all()
    assert not recwarn.list


def test_order_is_counted_in_pairs_that_have_one():
    """Of the pairs of 1, 1.01, 2 the first has none; with the ends 3, 1, 2 one of the other two is turned over."""
    found = made_up(ends={"no BN": 3.0})
    r = {"no BN": 1.0, "25 steps": 1.01, "75 steps": 2.0}
    ends = (3.0, 1.0, 2.0)
    some = [replace(each, trainings=(planted(1.0, r=[[start], [end]]),))
            for each, start, end in zip(found.data, r.values(), ends, strict=False)]  # fmt: skip
    np.testing.assert_allclose(experiment.order_kept(some), [0.5])


@pytest.mark.parametrize(("preset", "says"), [
    ("paper", ["(ReLU)", "on r of each layer", "at the best of 0.01, 0.03, 0.1: by the training loss"]),
    ("as-published", ["(ReLU; BN, BN, asymmetric: tanh)", "on r of every 4th layer", "at 0.01: as in the script"]),
])  # fmt: skip
def test_captions_say_what_was_done(preset, says):
    caption = experiment.caption(Found(experiment.PRESETS[preset], []))
    assert all(each in caption for each in says), caption


@pytest.mark.parametrize("preset", ["paper", "as-published"])
def test_presets_have_the_depth_and_the_levels_of_their_source(preset):
    recipes = {trial.kind: trial.recipe for trial in experiment.PRESETS[preset].trials}
    raised = [recipe.raising.steps for recipe in recipes.values() if recipe.raising]
    assert raised == ([25, 75] if preset == "paper" else [5, 80])
    assert {recipe.depth for recipe in recipes.values()} == {32 if preset == "paper" else 30}
    assert recipes["BN"].activation == ("relu" if preset == "paper" else "tanh")
