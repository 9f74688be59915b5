"""Pre-training in the place of batch normalisation: every curve is there, verdicts go both ways, seconds stay apart."""

from dataclasses import replace

import numpy as np
import pytest
from test_network_trainings import planted

from pyrank.experiments import Found
from pyrank.experiments.networks import pretraining_and_batchnorm as experiment
from pyrank.experiments.networks.pretraining_and_batchnorm import Data
from pyrank.experiments.networks.rates import Chosen, Settings
from pyrank.experiments.networks.recipes import Raising, Recipe
from pyrank.experiments.networks.timing import SECONDS, seconds_of

TINY = Recipe(width=8, images="cifar-10", samples=128, tests=32, batch=16, epochs=1)
DEPTHS = (2, 4)
KINDS = ("pre-trained", "BN", "neither", "pre-trained, not scaled")


def trials():
    return experiment.trials(TINY, DEPTHS, Raising(3), (0.01, 0.1))


def test_every_curve_is_there(tmp_path):
    given = tuple(replace(trial, rates=(0.01,)) for trial in trials())
    result = experiment.EXPERIMENT.run(Settings(given, 2), tmp_path, progress=False)
    found = experiment.EXPERIMENT.find(Settings(given, 2), tmp_path, progress=False)
    assert [(row.depth, row.kind) for row in found.rows] == [(depth, kind) for depth in DEPTHS for kind in KINDS]
    assert "Seconds, measured once" in result.table
    assert result.png.read_bytes().startswith(b"\x89PNG")


def test_seconds_are_kept_apart():
    fast = made_up()
    slow = replace(fast, data=replace(fast.data, seconds=np.full((8, 2), 60.0)))
    assert experiment.claims(slow) == experiment.claims(fast)
    lines = [list(experiment.EXPERIMENT.rows(found.settings, found.data)) for found in (slow, fast)]
    np.testing.assert_equal(*lines)
    assert [line["epoch"] for line in SECONDS.rows(slow)] == 8 * [60.0]


def test_pretraining_takes_time_and_the_others_have_none():
    recipes = [replace(TINY, images="fashion-mnist", depth=2, raising=raising) for raising in (Raising(200), None)]
    (raising, epoch), (none, _) = seconds_of(recipes)
    assert raising > none == 0.0
    assert epoch > 0.0


def made_up(losses=((1.0, 0.9), (1.0, 1.5), (2.3, 2.3)), accuracies=(0.7, 0.5, 0.1), unscaled=0.6, complete=True):
    """Losses of the shallow and the deep network, and accuracies, by kind."""
    losses, accuracies = (*losses, (1.5, 2.0)), (*accuracies, unscaled)
    data = []
    for trial in trials():
        kind = KINDS.index(trial.kind)
        loss = losses[kind][DEPTHS.index(trial.recipe.depth)]
        r = [[8.0 - 3 * kind], [5.0]]
        data.append(Chosen(trial, 0.1, {0.1: loss}, tuple(planted(loss, accuracies[kind], r) for _ in "ab")))
    return Found(Settings(trials(), 2, complete=complete), Data(data, np.ones((8, 2))))


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return ["".join(claim.verdict[0] for claim in claims if claim.kind == kind) for kind in ("published", "extension")]


@pytest.mark.parametrize(("changes", "published"), [
    ({}, "hhhhh"),
    ({"losses": ((1.0, 2.0), (1.0, 1.5), (2.3, 2.3))}, "ffhfh"),
    ({"losses": ((0.5, 1.4), (1.0, 1.5), (2.3, 2.3))}, "fhhhh"),
    ({"accuracies": (0.4, 0.5, 0.39)}, "hhfhf"),
    ({"complete": False}, "uuuuu"),
])  # fmt: skip
def test_verdicts_go_both_ways(changes, published):
    at_rate = "f" if changes.get("losses", ((0, 0),))[0][1] > 1.5 else "h"
    assert verdicts(**changes) == [published, "hhh" + at_rate]


def test_without_scaling_it_may_not_learn():
    assert verdicts(unscaled=0.11) == ["hhhhh", "hhfh"]


def test_claims_and_caption_say_what_was_done():
    found = made_up()
    assert all("in place of CIFAR-10" in claim.note for claim in experiment.claims(found))
    assert "Pre-training: 3 steps of Adam on log(r - 1) layer by layer, hidden layers scaled" in experiment.caption(
        found
    )
    script = experiment.caption(Found(experiment.PRESETS["as-published"], None))
    assert "40,000 steps of plain ascent on r at 0.001 of the last layer." in script
    assert "at the best of 0.001, 0.01, 0.1 (some networks have fewer, see the table)" in script


def test_what_diverges_has_learnt_nothing():
    assert verdicts(accuracies=(0.7, 0.5, np.nan)) == verdicts()


def test_the_script_has_pixels_up_to_255_and_raises_the_last_layer():
    settings = experiment.PRESETS["as-published"]
    assert {trial.recipe.pixels for trial in settings.trials} == {255.0}
    assert {trial.kind for trial in settings.trials} == set(KINDS[:3]), "the script scales nothing"
    assert {trial.recipe.raising.schedule for trial in settings.trials if trial.recipe.raising} == {"last"}
    assert {len(trial.rates) for trial in settings.trials if trial.kind == "BN"} == {3}
