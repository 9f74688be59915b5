"""Directions of gradients: known means, every curve, verdicts both ways."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyrank.experiments import Found, Row
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.networks import gradient_directions as experiment
from pyrank.experiments.networks.directions import BINS, Directions, directions
from pyrank.experiments.networks.rates import Settings
from pyrank.experiments.networks.recipes import Recipe, built, pictures

from tolerances import SIGMAS

KNOWN = {1: 0.682, 2: 0.812, 4: 0.974, 8: 1.0}
"""Mean abs(cos) without BN by depth, of an independent simulation that gives no errors."""
WITH_BN = (0.32, 0.33)


def test_directions_are_those_of_gradients_one_by_one():
    """A loop over samples, each gradient by autograd of its own loss on the whole batch."""
    recipe = Recipe(2, 8, BN, samples=6, batch=6)
    found = directions(recipe, 3)
    model, (x, y) = built(recipe, 3), pictures(recipe)
    losses = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
    rows = [torch.autograd.grad(loss, model[-1].weight, retain_graph=True)[0].double() for loss in losses]
    cosines = [
        abs(torch.cosine_similarity(rows[i][k], rows[j][k], dim=0).item())
        for k in range(10) for i in range(6) for j in range(i)
    ]  # fmt: skip
    assert found.mean == pytest.approx(np.mean(cosines), rel=1e-5)
    assert found.least == pytest.approx(min(cosines), rel=1e-4)
    np.testing.assert_allclose(found.histogram, np.histogram(cosines, BINS, (0, 1))[0] / len(cosines), atol=0.02)
    assert found.head == pytest.approx(torch.stack(rows).mean(dim=0).norm().item(), rel=1e-5)
    assert found.zero == 0


def test_known_means_are_met_by_few_seeds():
    check(range(2, 5), depths=(1, 4))


@pytest.mark.validate
def test_known_means_are_met():
    check(range(24))


def check(seeds, depths=tuple(KNOWN)):
    """At five standard errors of one seed, which the known number may be, and half of its last digit."""
    for depth in depths:
        means = [directions(Recipe(depth, 128, samples=64, batch=64), seed).mean for seed in seeds]
        assert np.mean(means) == pytest.approx(KNOWN[depth], abs=SIGMAS * np.std(means, ddof=1) + 5e-4), depth
        normal = [directions(Recipe(depth, 128, BN, samples=64, batch=64), seed).mean for seed in seeds]
        error = SIGMAS * np.std(normal, ddof=1)
        assert WITH_BN[0] - error <= np.mean(normal) <= WITH_BN[1] + error, depth


def small(trials=None):
    trials = trials or experiment.trials(1 / 64)
    recipes = [replace(trial.recipe, samples=8, batch=8, width=min(trial.recipe.width, 8)) for trial in trials]
    return Settings(tuple(replace(t, recipe=r) for t, r in zip(trials, recipes, strict=True)), 2, complete=True)


def test_every_curve_is_there(tmp_path):
    trials = [trial for trial in experiment.trials(1 / 64) if trial.recipe.depth in (0, 1, 32)]
    result = experiment.EXPERIMENT.run(small(trials), tmp_path, progress=False)
    found = experiment.EXPERIMENT.find(small(trials), tmp_path, progress=False)
    assert [(row.kind, row.network, row.depth) for row in found.rows] == [
        (kind, network, depth) for kind in ("no BN", "BN", "BN, asymmetric")
        for network, depth in (("mlp", 1), ("mlp", 32), ("vgg19", 0))
    ]  # fmt: skip
    assert result.png.read_bytes().startswith(b"\x89PNG")


def made_up(plain=(0.7, 1.0), normal=0.33, vgg=1.0, zero=5):
    settings = small()
    data = []
    for trial in settings.trials:
        deep = trial.recipe.depth >= 8 or not trial.recipe.depth
        mean = {"no BN": plain[deep], "BN": normal, "BN, asymmetric": 1.0}[trial.kind]
        mean = vgg if trial.recipe.network == "vgg19" and trial.kind == "no BN" else mean
        some = [Directions(mean, mean, np.ones(BINS) / BINS, zero, 0.1, 1e-9) for _ in range(2)]
        data.append((trial, some))
    rows = [Row(**values) for values in experiment.rows(settings, data)]
    return Found(settings, data, rows)


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return ["".join(claim.verdict[0] for claim in claims if claim.kind == kind) for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    assert verdicts() == ["hhhh", "hhhh"]
    assert verdicts(plain=(0.7, 0.9)) == ["fhfh", "uhhh"]
    assert verdicts(vgg=0.8)[0] == "hfhh"
    assert verdicts(normal=0.9) == ["hhhf", "hfhh"]


def test_gradients_of_zero_are_counted_and_not_divided_by():
    found = directions(Recipe(16, 128, BN, "broken", samples=64, batch=64), 0)
    assert found.zero > 0
    assert math.isfinite(found.mean)
