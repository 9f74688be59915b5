"""BN, torch's weights and He's: every curve is there, and verdicts go both ways."""

from dataclasses import replace

import numpy as np
from test_network_trainings import planted

from pyrank.experiments import Found
from pyrank.experiments.networks import depth_curves as curves
from pyrank.experiments.networks import initialization_and_learning as experiment
from pyrank.experiments.networks.depth_curves import Data, Settings
from pyrank.experiments.networks.rates import Chosen

KINDS = ("BN", "no BN", "no BN, He")
SMALL = {kind: replace(recipe, width=8, samples=32, batch=16, epochs=1) for kind, recipe in experiment.ALL.items()}


def settings(complete=True):
    return Settings(curves.trials(SMALL, (2, 6), (0.1,)), 2, complete=complete, depths=(1, 15), rank_seeds=2)


def test_every_curve_is_there(tmp_path):
    found = experiment.EXPERIMENT.find(settings(), tmp_path, progress=False)
    assert [(row.kind, row.depth) for row in found.rows] == [(kind, depth) for kind in KINDS for depth in (1, 15)]
    assert [(each.trial.kind, each.trial.recipe.depth) for each in found.data.trainings] == [
        (kind, depth) for kind in KINDS for depth in (2, 6)
    ]
    he = [row for row in found.rows if row.kind == "no BN, He"]
    assert he[1].r > 1.01
    assert len(experiment.claims(found)) == 8


def made_up(ranks=(128.0, 1.0, 60.0), accuracies=(0.9, 0.1, 0.7), he=1.1, complete=True):
    given = settings(complete)
    seeds = {kind: np.full((2, 2, 5), rank) for kind, rank in zip(KINDS, ranks, strict=True)}
    for kind, r in zip(KINDS, (7.0, 1.0, he), strict=True):
        seeds[kind][:, :, 3] = r
    last = dict(zip(KINDS, accuracies, strict=True))
    trainings = [Chosen(trial, 0.1, {0.1: 1.0}, tuple(planted(1.0, last[trial.kind]) for _ in "ab"))
                 for trial in given.trials]  # fmt: skip
    return Found(given, Data(seeds, trainings))


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return [[claim.verdict[0] for claim in claims if claim.kind == kind] for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    assert verdicts() == [["h"] * 4, ["h"] * 4]
    assert verdicts(ranks=(50.0, 1.0, 5.0)) == [["f", "h", "f", "h"], ["h"] * 4]
    assert verdicts(accuracies=(0.7, 0.7, 0.7))[0] == ["h", "f", "h", "f"]
    assert verdicts(he=1.0)[1] == ["h", "h", "f", "h"]
    assert verdicts(complete=False)[0] == ["h", "u", "h", "u"]
