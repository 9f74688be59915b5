"""Depth, rank and learning: ranks at initialisation are those known, verdicts go both ways."""

import math

import numpy as np
import pytest
import torch
from test_network_trainings import planted

from pyrank import data, networks
from pyrank.experiments import Found, Row
from pyrank.experiments.batchnorm import BN, NONE
from pyrank.experiments.networks import depth_and_learning as experiment
from pyrank.experiments.networks import depth_curves as curves
from pyrank.experiments.networks.depth_curves import RANKS, Data, Settings
from pyrank.experiments.networks.rates import Chosen, Trial
from pyrank.experiments.networks.recipes import Recipe

from tolerances import SIGMAS

PUBLISHED = {1: (125.4, 125.4), 3: (99.3, 99.3), 5: (70.8, 70.8), 9: (36.3, None), 13: (4.2, None), 15: (1.0, 58.0),
             33: (1.0, 8.9)}  # fmt: skip
"""Numerical ranks without BN by depth, in float32 and in float64, of an independent simulation."""


def small(kinds=(("BN", BN), ("no BN", NONE)), depths=(2, 12)):
    trials = tuple(Trial(kind, Recipe(depth, 8, norm, samples=32, batch=16, epochs=1), (0.01, 0.1))
                   for kind, norm in kinds for depth in depths)  # fmt: skip
    return Settings(trials, 2, depths=(1, 3), rank_seeds=2)


def test_every_curve_is_there(tmp_path):
    settings = small()
    result = experiment.EXPERIMENT.run(settings, tmp_path, progress=False)
    found = experiment.EXPERIMENT.find(settings, tmp_path, progress=False)
    assert [(row.kind, row.depth) for row in found.rows] == [(k, d) for k in ("BN", "no BN") for d in (1, 3)]
    assert [each.trial.name for each in found.data.trainings] == [
        "BN,mlp,2",
        "BN,mlp,12",
        "no BN,mlp,2",
        "no BN,mlp,12",
    ]
    assert "loss by rate" in result.table
    assert result.png.read_bytes().startswith(b"\x89PNG")


def test_ranks_are_those_of_the_network_itself():
    found = curves.ranks_by_depth(Recipe(5, 128, NONE, samples=128), (2, 5), seed=3)
    x, _ = data.load("fashion-mnist", samples=128)
    for (single, double, _, r, soft), depth in zip(found, (2, 5), strict=True):
        model = networks.mlp(depth, 128, 784, 10, "none", seed=3)
        h = model[:-1](x.flatten(1)).detach().numpy()
        sigma = np.linalg.svd(h, compute_uv=False)
        assert single == (sigma > 128e-7 * sigma[0]).sum()
        H = model[:-1].double()(x.flatten(1).double()).detach().numpy()
        assert double == np.linalg.matrix_rank(H)
        M = H.T @ H / 128
        assert r == pytest.approx(np.trace(M) ** 2 / (M**2).sum())
        assert soft == (np.linalg.eigvalsh(M) >= 0.5).sum()


@pytest.mark.validate
def test_the_published_ranks_are_met():
    """At five standard errors of the difference, 24 seeds on either side; to a digit of the figures given."""
    depths = tuple(PUBLISHED)
    ranks = np.array([curves.ranks_by_depth(Recipe(33, 128, NONE, samples=128), depths, seed) for seed in range(24)])
    error = math.sqrt(2 / 24) * ranks.std(axis=0, ddof=1)
    for at, known in enumerate(PUBLISHED.values()):
        for column, value in enumerate(known):
            if value is not None:
                allowed = SIGMAS * error[at, column] + 0.5
                assert ranks[:, at, column].mean() == pytest.approx(value, abs=allowed), (depths[at], column)


def made_up(vanilla=1.0, kept=120.0, unlearnt=0.1, deep=0.85, complete=True, double=58.0, without=2.3, with_bn=1.0):
    settings = Settings(small().trials, 2, complete=complete, depths=(1, 33), rank_seeds=2)
    ranks = {"BN": [(128, 128, 128, 7, 20), (kept, 128, 128, 7, 20)],
             "no BN": [(126, 126, 126, 1.8, 1), (vanilla, double, 1, 1.0, 0)]}  # fmt: skip
    accuracies = {("BN", 2): 0.9, ("BN", 12): deep, ("no BN", 2): 0.8, ("no BN", 12): unlearnt}
    losses = {"BN": with_bn, "no BN": without}
    trainings = [
        Chosen(
            trial,
            0.1,
            {0.1: losses[trial.kind]},
            tuple(planted(1.0, accuracies[trial.kind, trial.recipe.depth]) for _ in "ab"),
        )
        for trial in settings.trials
    ]
    rows = [
        Row(kind=kind, depth=depth, **dict(zip(RANKS, some, strict=True)), rank32_error=0.1)
        for kind, pair in ranks.items() for depth, some in zip(settings.depths, pair, strict=True)
    ]  # fmt: skip
    seeds = {kind: np.array([pair, pair], float) for kind, pair in ranks.items()}
    return Found(settings, Data(seeds, trainings), rows)


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return [[claim.verdict[0] for claim in claims if claim.kind == kind] for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    assert verdicts()[0] == ["h", "h", "h", "h"]
    assert verdicts(vanilla=100.0)[0] == ["f", "h", "h", "h"]
    assert verdicts(kept=20.0)[0] == ["h", "f", "h", "h"]
    assert verdicts(unlearnt=0.7)[0] == ["h", "h", "f", "h"]
    assert verdicts(unlearnt=math.nan)[0] == ["h", "h", "h", "h"], "what diverges has not learnt"
    assert verdicts(deep=0.5)[0] == ["h", "h", "h", "f"]
    assert verdicts(complete=False)[0] == ["h", "h", "u", "u"]
    assert verdicts()[1] == ["h"] * 6
    assert verdicts(without=1.5, with_bn=math.inf)[1] == ["h"] * 4 + ["f", "f"]
    assert verdicts(double=1.0)[1][0] == "f"


def test_the_script_has_its_own_rates():
    settings = experiment.PRESETS["as-published"]
    rates = {(trial.kind, trial.recipe.depth): trial.rates for trial in settings.trials}
    assert [rates["BN", depth] for depth in (7, 9, 23, 31)] == [(0.01,), (0.05,), (0.005,), (0.0005,)]
    norm = next(trial.recipe for trial in settings.trials if trial.kind == "BN").normalization
    x = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
    z = networks.Normalize(4, norm)(x)
    torch.testing.assert_close(z, (x - x.mean(0)) / x.std(0), rtol=1e-5, atol=1e-6)
