"""What the experiments on networks share: recipes, trainings, the choice of a rate, verdicts."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import pyrank
from pyrank import data, networks
from pyrank.estimate.intervals import Interval
from pyrank.experiments import DANESHMAND, Computation, at_least, at_most
from pyrank.experiments.batchnorm import BN, NONE, UNCENTRED
from pyrank.experiments.networks import rates, recipes, reporting, trainings
from pyrank.experiments.networks.rates import Settings, Trial
from pyrank.experiments.networks.recipes import Raising, Recipe
from pyrank.experiments.networks.trainings import Training, trained
from pyrank.experiments.tasks import run_tasks

from tolerances import SIGMAS

TINY = Recipe(3, 8, BN, samples=70, tests=40, epochs=2, batch=16)


def planted(loss, accuracy=0.5, r=((2.0, 2.0), (2.0, 2.0)), rank=(4.0, 4.0), diverged=False):
    """A training of one epoch, as if it had come out so."""
    return Training(*(np.array([x], float) for x in (loss, accuracy, loss, accuracy)), np.array(r), np.array(rank),
                    diverged)  # fmt: skip


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_a_recipe_is_what_it_says():
    model = recipes.built(TINY, seed=3)
    same = networks.mlp(3, 8, 784, 10, BN, seed=3)
    for p, q in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(p, q)
    assert TINY.steps == 2 * 4
    x, y = recipes.pictures(dataclasses.replace(TINY, pixels=255.0))
    images = data.load("fashion-mnist", samples=70)
    assert torch.equal(x, 255.0 * images.x.flatten(1))
    assert torch.equal(y, images.y)


@pytest.mark.parametrize("name", ["vgg19", "resnet50"])
def test_images_that_stand_in_for_cifar_are_padded(name):
    recipe = Recipe(network=name, width=1 / 32, normalization=BN, images="fashion-mnist 32 x 32", samples=6)
    x, _ = recipes.pictures(recipe)
    assert x.shape == (6, 1, 32, 32)
    assert torch.equal(x[:, :, 2:-2, 2:-2], data.load("fashion-mnist", samples=6).x)
    assert x.sum() == pytest.approx(data.load("fashion-mnist", samples=6).x.sum().item(), rel=1e-5)
    assert recipes.built(recipe, 0)(x).shape == (6, 10)
    assert "in place of CIFAR-10" in recipes.told(recipe.images)


def test_scales_can_be_fixed_or_drawn():
    law = pyrank.Weights.between(0.0, 0.1)
    for affine in ("fixed", "drawn"):
        model = recipes.built(dataclasses.replace(TINY, weights=law, affine=affine), 0)
        norm = model[1]
        assert norm.weight.requires_grad == (affine == "drawn")
        for vector in (norm.weight, norm.bias, model[-1].bias):
            drawn = 0 <= vector.min() < vector.max() <= 0.1
            assert drawn == (affine == "drawn")


def test_raising_leaves_out_layers_from_the_last_one_down():
    raised = recipes.built(dataclasses.replace(TINY, normalization=NONE, raising=Raising(3, every=2)), 0)
    plain = recipes.built(dataclasses.replace(TINY, normalization=NONE), 0)
    x, _ = recipes.pictures(TINY)
    r = [trainings.ranks_of(trainings.hidden_layers(model, x[:16])[-1])[0] for model in (plain, raised)]
    assert r[1] > r[0]


# --- trainings -------------------------------------------------------------------------------------------------------


def test_a_training_is_that_of_networks_train():
    found = trained(TINY, 0.1, 5)
    model = networks.mlp(3, 8, 784, 10, BN, seed=5)
    x, y = recipes.pictures(TINY)
    test = recipes.pictures(TINY, "test")
    before = pyrank.participation_ratio(model[:3](x[:16]).mT.double()).item()
    history = networks.train(model, (x, y), epochs=2, batch=16, learning_rate=0.1, seed=5, test=test)
    np.testing.assert_allclose(found.loss, history.loss.reshape(2, 4).mean(axis=1))
    np.testing.assert_array_equal(found.accuracy, history.accuracy)
    np.testing.assert_array_equal(found.test_accuracy, history.test_accuracy)
    assert found.r.shape == (3, 3)
    assert found.r[0, 0] == pytest.approx(before, rel=1e-6)
    losses = [torch.nn.functional.cross_entropy(model(x), y).item()
              for x, y in zip(test[0][:32].split(16), test[1][:32].split(16), strict=True)]  # fmt: skip
    assert found.test_loss[-1] == pytest.approx(np.mean(losses), rel=1e-5)
    last = pyrank.numerical_rank(model[:-1](x[:16]).mT, 8e-7).item()
    assert found.rank[-1] == last


@pytest.mark.parametrize(("rate", "limit"), [(10.0, 2.0), (1e12, 1e6)])
def test_divergence_is_a_result(rate, limit, monkeypatch):
    """A loss above a limit counts as much as one that is no number."""
    monkeypatch.setattr(trainings, "DIVERGED", limit)
    found = trained(dataclasses.replace(TINY, normalization=NONE, pixels=255.0), rate, 0)
    assert found.diverged
    assert math.isnan(found.loss[-1])
    assert math.isnan(found.accuracy[-1])
    assert found.r.shape == (3, 3)


def test_nothing_depends_on_workers(tmp_path):
    tasks = [Computation(f"{seed}", trained, {"recipe": TINY, "learning_rate": 0.1, "seed": seed}) for seed in (0, 1)]
    one, two = (run_tasks(tasks, tmp_path / str(n), workers=n, progress=False) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert isinstance(a, Training)
        for field in dataclasses.fields(Training):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


KNOWN = {  # at depth 32, after 3 epochs of 78 batches: (normalisation, weights, rate), mean and standard error
    "BN": ((BN, "torch", 0.1), (0.714, 0.012)),
    "none": ((NONE, "torch", 0.1), (0.104, 0.004)),
    "broken": ((BN, "broken", 0.1), (0.117, 0.002)),
    "BN without recentring": ((UNCENTRED, "torch", 0.03), (0.416, 0.003)),
    "none, He": ((NONE, "he", 0.05), (0.21, 0.06)),  # some seeds diverge
}


@pytest.mark.validate
@pytest.mark.parametrize("kind", KNOWN)
def test_known_accuracies(kind):
    """Of an independent simulation, at five standard errors of the difference; three seeds there and here."""
    (normalization, weights, rate), (mean, error) = KNOWN[kind]
    recipe = Recipe(32, 128, normalization, weights, samples=78 * 128, epochs=3)
    try:
        recipes.pictures(recipe)
    except pyrank.ArgumentError as missing:
        pytest.skip(str(missing))
    shares = [np.nan_to_num(trained(recipe, rate, seed).accuracy[-1], nan=rates.CHANCE) for seed in range(3)]
    own = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(mean, abs=SIGMAS * math.hypot(error, own) + 5e-4)


# --- the choice of a rate --------------------------------------------------------------------------------------------


def chosen(*losses):
    """Choose among as many rates; each has a loss for each of two seeds."""
    grid = tuple(10.0**-k for k in range(len(losses)))
    settings = Settings((Trial("BN", TINY, grid),), seeds=2)
    return rates.chosen(settings, [planted(loss, diverged=math.isnan(loss)) for pair in losses for loss in pair])[0]


def test_the_rate_has_the_smallest_mean_loss_and_no_seed_that_diverged():
    assert chosen((1.0, 1.0), (0.5, 0.7), (0.6, 0.7)).rate == 0.1
    found = chosen((math.nan, 0.0), (0.5, 0.7))
    assert found.rate == 0.1
    assert found.losses == {1.0: math.inf, 0.1: 0.6}
    assert chosen((math.nan, math.nan), (math.nan, 0.3)).diverged == 1


def test_the_table_shows_every_rate_and_what_diverged():
    (row,) = reporting.rows(Settings((), 2), [chosen((math.nan, 0.0), (0.5, 0.7))])
    assert row["losses"] == "1: diverged 0.1: 0.6"
    assert row["accuracy"] == 0.5
    assert row["r_start"] == 2.0
    assert set(row) == {column.name for column in reporting.COLUMNS}


def test_r_is_averaged_as_its_inverse():
    found = dataclasses.replace(chosen((1.0, 1.0)), trainings=(planted(1.0, r=((1.0, 3.0), (2.0, 2.0))),))
    np.testing.assert_allclose(found.r, [[1.5, 2.0]])


def test_what_stands_in_for_cifar_is_used_for_cifar_alone(tmp_path, monkeypatch):
    recipes.cifar_or_padded.cache_clear()
    monkeypatch.setenv("PYRANK_DATA", str(tmp_path))
    names = ("fashion-mnist", "cifar-10", "mnist")
    settings = Settings(tuple(Trial("BN", dataclasses.replace(TINY, images=name), (0.1,)) for name in names), 2)
    found = [trial.recipe.images for trial in rates.at_hand(settings).trials]
    assert found == ["fashion-mnist", "fashion-mnist 32 x 32", "mnist"]


def test_damaged_images_are_told_and_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "cifar-10").mkdir()
    for number in range(1, 6):
        (tmp_path / "cifar-10" / f"data_batch_{number}.bin").write_bytes(b"junk")
    recipes.cifar_or_padded.cache_clear()
    monkeypatch.setenv("PYRANK_DATA", str(tmp_path))
    with pytest.raises(pyrank.data.DataError, match="no whole number of records"):
        recipes.cifar_or_padded()


# --- verdicts --------------------------------------------------------------------------------------------------------


def verdict(value, wanted, more, **settings):
    given = Settings((Trial("BN", TINY, (0.1,)),), 2, **settings)
    claim = reporting.judged(
        given, "a", DANESHMAND.at("b"), Interval.around(value, 0.1), wanted, reading="c", more=more
    )
    return claim.kind, claim.verdict


def test_what_longer_training_could_turn_over_is_undecided():
    assert verdict(0.5, at_most(0.7), "raise") == ("published", "undecided")
    assert verdict(0.5, at_most(0.7), "lower") == ("published", "holds")
    assert verdict(0.5, at_most(0.3), "raise") == ("published", "fails")
    assert verdict(0.5, at_most(0.3), "lower") == ("published", "undecided")
    assert verdict(0.5, at_least(0.3), "both") == ("published", "undecided")
    assert verdict(0.5, at_least(0.3), "both", complete=True) == ("published", "holds")
    assert verdict(0.5, at_least(0.3), "") == ("published", "holds")


def test_what_the_script_did_is_told_beside_the_published_claims():
    assert verdict(0.5, at_least(0.3), "both", script=True) == ("extension", "holds")


def test_claims_name_images_that_stand_in():
    recipe = dataclasses.replace(TINY, images="fashion-mnist 32 x 32")
    claim = reporting.judged(Settings((Trial("BN", recipe, (0.1,)),), 2), "a", DANESHMAND.at("b"), Interval.exact(1.0),
                         at_least(0.0), reading="c")  # fmt: skip
    assert "in place of CIFAR-10" in claim.note
