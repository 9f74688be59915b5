"""Eight normalisations compared: trainings that are paired, what is looked at, and verdicts on planted numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from torch.nn.functional import cross_entropy

from pyrank import data, networks
from pyrank.experiments import Found
from pyrank.experiments.optimization import lp_normalizations as lp
from pyrank.experiments.optimization.comparisons import Comparison
from pyrank.experiments.optimization.endings import Data
from pyrank.experiments.optimization.normalizations import (
    NORMALIZATIONS,
    SHOWN,
    WITHOUT,
    Ending,
    Training,
    largest_rate,
)
from pyrank.experiments.optimization.normalizations import trained as trained_once
from pyrank.experiments.optimization.trainings import vector
from pyrank.optimization import hessian_eigenvalues

from tolerances import EXACT

SMALL = Training("fashion-mnist", samples=40, tests=30, width=4, batch=10, epochs=2)
TINY = lp.Settings(SMALL, seeds=2, curvature=20, short=replace(SMALL, epochs=1), rates=(0.5, 2.0, 1e12), rate_seeds=1,
                   k=3)  # fmt: skip

pytestmark = pytest.mark.usefixtures("shipped")


@pytest.fixture(scope="module")
def finished(shipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lp")
    return lp.EXPERIMENT.run(TINY, folder), lp.EXPERIMENT.find(TINY, folder)


def test_a_training_is_what_its_parts_give():
    """The same by hand: weights and images of the seed, distance and dense Hessian at the end."""
    found = trained_once(SMALL, "uncentred L3", 0.2, seed=1, curvature=20, k=3)
    x, y = data.load("fashion-mnist", "train", 40, 1)
    tx, ty = data.load("fashion-mnist", "test", 30)
    x, tx = x.flatten(1), tx.flatten(1)
    model = networks.mlp(2, 4, 784, 10, NORMALIZATIONS["uncentred L3"], seed=1)
    start = vector(model)
    history = networks.train(model, (x, y), epochs=2, batch=10, learning_rate=0.2, seed=1, test=(tx, ty),
                             statistics="running")  # fmt: skip
    assert found.accuracy == history.test_accuracy.max()
    assert found.loss == pytest.approx(history.loss[4:].mean(), rel=EXACT)
    assert found.distance[0] == 0
    assert found.distance[-1] == pytest.approx(float((vector(model) - start).norm()), rel=EXACT)
    spectrum = hessian_eigenvalues(model.train(), cross_entropy, (x[:20], y[:20]), k=3)
    np.testing.assert_allclose(found.eigenvalues, spectrum.values, rtol=1e-3)  # the square of 1e-2, over a gap


def test_eight_normalisations_share_weights_and_order():
    assert list(SHOWN) == ["centred L2", "uncentred L2", "centred L3", "uncentred L3"]
    assert sorted((law.recentre, law.order) for law in NORMALIZATIONS.values()) == sorted(
        (centred, order) for centred in (True, False) for order in (1, 2, 3, math.inf)
    )
    names = [task.name for task in lp.tasks(TINY)]
    assert len(names) == 8 * 2 + 9 * 3


def test_divergence_is_a_result(finished):
    found = finished[1]
    assert all(losses[0, -1] > 1e6 for losses in found.data.losses.values())
    gone = trained_once(SMALL, WITHOUT, 1e12, seed=0, curvature=20, k=3)
    assert math.isinf(gone.loss)
    assert np.isnan(gone.eigenvalues).all()
    assert gone.accuracy == 0.1


def test_results_do_not_depend_on_where_they_are_computed(finished):
    again = trained_once(SMALL, "centred L2", TINY.rate, seed=0, curvature=20, k=3)
    there = finished[1].data.endings["centred L2"][0]
    assert again.eigenvalues.tolist() == there.eigenvalues.tolist()
    assert (again.accuracy, again.loss) == (there.accuracy, there.loss)


def test_largest_rate_at_which_it_learns():
    assert largest_rate((0.1, 1.0, 10.0), [0.5, 1.1, 2.3]) == 1.0
    assert largest_rate((0.1, 1.0, 10.0), [1.2, math.inf, 2.3]) == 0.0


def planted(off=0.0, noise=0.001, factor=1.0, distance=1.0, stable=8.0, seeds=8):
    """Uncentred L2 worse by ``off`` in accuracy, and its eigenvalues and distance ``factor`` and ``distance`` times."""
    rng = np.random.default_rng(1)
    endings = {}
    for name in NORMALIZATIONS:
        odd = name == "uncentred L2"
        values = np.array([4.0, 2.0, 1.0]) * (factor if odd else 1.0)
        endings[name] = [Ending(0.9 - off * odd + noise * rng.normal(), 0.1,
                                np.array([0.0, 1.0 + 0.01 * rng.normal()]) * (distance if odd else 1.0),
                                values * (1 + 0.01 * rng.normal()), np.zeros(3)) for _ in range(seeds)]  # fmt: skip
    rates = (1.0, 2.0, 4.0, 8.0)
    learns = {name: np.where(np.array(rates) <= stable, 0.5, math.inf)[None] for name in NORMALIZATIONS}
    return Data(endings, {**learns, WITHOUT: np.array([[0.5, 0.5, math.inf, math.inf]])}, rates)


def verdicts(**changes):
    settings = replace(TINY, rates=(1.0, 2.0, 4.0, 8.0))
    return [claim.verdict for claim in lp.claims(Found(settings, planted(**changes)))]


def test_verdicts_follow_the_numbers():
    names = ["rates", "eigenvalues", "distance", "accuracy"]
    assert dict(zip(names, verdicts()[:4], strict=True)) == dict.fromkeys(names, "holds")
    assert verdicts(stable=2.0)[0] == "undecided"
    assert verdicts(stable=0.5)[0] == "fails"
    assert verdicts(factor=3.2)[1] == "fails"
    assert verdicts(factor=3.0)[1] == "undecided"
    assert verdicts(distance=4.0)[2] == "fails"
    assert verdicts(off=0.01)[3] == "fails"
    assert verdicts(off=0.0, noise=0.05)[3] == "undecided"  # nothing seen, but nothing excluded
    assert verdicts(off=0.01, noise=0.05)[3] == "undecided"


@pytest.mark.parametrize(("weakest", "plain", "low", "high"), [
    (4.0, 1.0, 2.0, 8.0), (1.0, 1.0, 0.5, 2.0), (8.0, 2.0, 2.0, math.inf), (0.0, 2.0, 0.0, 0.5),
    (2.0, 0.0, 2.0, math.inf),
])  # fmt: skip
def test_what_a_grid_knows_of_two_rates(weakest, plain, low, high):
    rates = (1.0, 2.0, 4.0, 8.0)
    losses = dict.fromkeys(NORMALIZATIONS, np.where(np.array(rates) <= weakest, 0.1, 9.0)[None])
    data = Data({}, losses | {WITHOUT: np.where(np.array(rates) <= plain, 0.1, 9.0)[None]}, rates)
    assert (data.rate_gain.low, data.rate_gain.high) == (low, high)


def test_kinds_of_claims():
    kinds = [claim.kind for claim in lp.claims(Found(replace(TINY, rates=(1.0, 2.0, 4.0, 8.0)), planted()))]
    assert kinds == ["published"] * 4 + ["extension"] * 4


def test_a_comparison_is_about_the_pair_that_is_furthest_apart():
    values = {"a": np.array([1.0, 1.1, 0.9]), "b": np.array([3.0, 3.1, 2.9]), "c": np.array([1.0, 1.2, 1.1])}
    compared = Comparison.of(values)
    assert len(compared.tests) == 3
    assert compared.furthest == "b and a"
    assert compared.largest.value == pytest.approx(2.0, rel=EXACT)
    assert compared.factor.value == pytest.approx(math.exp(2.0), rel=EXACT)
    assert compared.largest.low <= 2.0 <= compared.largest.high


def test_table_and_files(finished):
    result, found = finished
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert [row.name for row in found.rows] == list(NORMALIZATIONS)
    assert "Seeds: 0 to 1." in result.caption
