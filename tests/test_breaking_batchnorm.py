"""Broken batch normalisation: every curve is there, and verdicts go both ways."""

from dataclasses import replace

import pytest
from test_network_trainings import planted

from pyrank.experiments import Found
from pyrank.experiments.batchnorm import BN, UNCENTRED
from pyrank.experiments.networks import breaking_batchnorm as experiment
from pyrank.experiments.networks.breaking_batchnorm import BROKEN, OFF_CENTRE, STANDARD
from pyrank.experiments.networks.rates import Chosen, Settings
from pyrank.experiments.networks.recipes import Recipe, cifar_or_padded

TINY = Recipe(images="cifar-10", samples=16, batch=8, epochs=1)
BASES = (replace(TINY, depth=2, width=8), replace(TINY, network="vgg19", width=1 / 64),
         replace(TINY, network="resnet50", width=1 / 64, stem="imagenet"))  # fmt: skip


def test_every_curve_is_there(tmp_path, monkeypatch):
    cifar_or_padded.cache_clear()
    monkeypatch.setenv("PYRANK_DATA", str(tmp_path / "nothing"))
    settings = Settings(experiment.trials(BASES[:2], 2 * ((0.01,),)), 2)
    result = experiment.EXPERIMENT.run(settings, tmp_path / "out", progress=False)
    found = experiment.EXPERIMENT.find(settings, tmp_path / "out", progress=False)
    assert [(row.network, row.kind) for row in found.rows] == [
        (network, kind) for network in ("mlp", "vgg19") for kind in (STANDARD, BROKEN, OFF_CENTRE)
    ]
    assert "in place of CIFAR-10, which is not here" in result.caption
    assert all("in place of CIFAR-10" in claim.note for claim in result.claims)
    assert result.png.read_bytes().startswith(b"\x89PNG")


def test_the_weights_alone_or_the_mean_alone_are_changed():
    standard, broken, off_centre = (trial.recipe for trial in experiment.trials(BASES[:1], ((0.1,),)))
    assert replace(broken, weights="torch") == standard
    assert replace(off_centre, normalization=BN) == standard
    assert off_centre.normalization == UNCENTRED
    flag = experiment.trials(BASES[:1], ((0.1,),), off_centre=False)[-1].recipe
    assert flag == standard, "the script's flag does nothing"


def made_up(accuracies=(0.9, 0.1, 0.89), ranks=(60.0, 10.0, 50.0), r=1.01, complete=True, script=False):
    trials = experiment.trials(BASES, 3 * ((0.1,),))
    at = {STANDARD: 0, BROKEN: 1, OFF_CENTRE: 2}
    data = [
        Chosen(trial, 0.1, {0.1: 1.0}, tuple(
            planted(1.0, accuracies[at[trial.kind]], [[3.0, r], [3.0, r]], 2 * [ranks[at[trial.kind]]]) for _ in "ab"
        )) for trial in trials
    ]  # fmt: skip
    return Found(Settings(trials, 2, complete=complete, script=script), data)


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return ["".join(claim.verdict[0] for claim in claims if claim.kind == kind) for kind in ("published", "extension")]


@pytest.mark.parametrize(("changes", "published", "extensions"), [
    ({}, "hhhhhhh", "h" * 8),
    ({"ranks": (60.0, 31.0, 50.0)}, "fffhhhh", "hhhhhhhh"),
    ({"ranks": (60.0, 60.0, 50.0)}, "fffhhhh", "hhhhhhhh"),
    ({"accuracies": (0.9, 0.85, 0.9)}, "hhhfffh", "hhhhhhhh"),
    ({"accuracies": (0.9, 0.1, 0.5)}, "hhhhhhf", "hhhffhhh"),
    ({"r": 5.0}, "hhhhhhh", "fffhhhhh"),
    ({"complete": False}, "hhhhuuu", "hhhhhhhh"),
    ({"script": True}, "", "h" * 15),
])  # fmt: skip
def test_verdicts_go_both_ways(changes, published, extensions):
    assert verdicts(**changes) == [published, extensions]
