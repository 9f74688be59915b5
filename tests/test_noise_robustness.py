"""Few points among much noise: what is trained, with which batches, and verdicts on planted accuracies."""

import math

import numpy as np
import pytest

from pyrank import data, networks
from pyrank.experiments import Found
from pyrank.experiments.batchnorm import BN
from pyrank.experiments.optimization import noise_robustness as noise
from pyrank.experiments.optimization.noisy_points import FEW, KINDS, Points, Races, raced
from pyrank.support.ambient import one_thread

TINY = noise.Settings((2, FEW, 20), (Points(FEW, noise=0.3),), rates=(0.1, 1.0), steps=4, tests=20, seeds=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    return noise.EXPERIMENT.run(TINY, folder), noise.EXPERIMENT.find(TINY, folder)


def test_a_race_is_what_its_parts_give():
    points = Points(8, noise=0.5, gap=2.0, batch=16)
    found = raced(points, (0.1, 1.0), steps=5, tests=20, seed=3)
    assert found.shape == (3, 2)
    x, y = data.separable(5, 1000, 100, 60, 3, noise=0.5, gap=2.0)
    for row, (law, shuffle) in enumerate(((BN, True), (BN, False), ("none", True))):
        model = networks.mlp(1, 100, 1000, 5, law, seed=3)
        with one_thread():
            history = networks.train(model, (x[:40], y[:40]), epochs=3, batch=16, learning_rate=1.0, seed=3,
                                     test=(x[40:], y[40:]), statistics="running", shuffle=shuffle)  # fmt: skip
        assert found[row, 1] == history.test_accuracy.max()


def test_a_single_batch_is_not_trained_twice(monkeypatch):
    calls, train = [], networks.train
    monkeypatch.setattr(networks, "train", lambda *args, **options: calls.append(options) or train(*args, **options))
    found = raced(Points(2), (0.1,), steps=3, tests=10, seed=0)
    assert found[0] == found[1]
    assert [call["batch"] for call in calls] == [10, 10]
    assert [call["epochs"] for call in calls] == [3, 3]


def test_divergence_is_a_result():
    found = raced(Points(2), (1e12,), steps=4, tests=10, seed=0)
    assert np.all(found >= 0)
    assert found[KINDS.index("no BN"), 0] <= 1.0


def planted(**gains):
    """BN is better by ``few`` and ``many`` on the curve, by ``other`` at other constants; the second rate is best."""
    rng = np.random.default_rng(0)
    found = {}
    for points in TINY.races:
        where = "other" if points.noise != 1.0 else "few" if points.each <= FEW else "many"
        best = 0.5 + 0.001 * rng.normal(size=(8, 3, 1))
        best[:, :2] += gains.get(where, 0.05)
        found[points] = best + np.array([-0.2, 0.0])
    return Found(TINY, Races(found, TINY.rates))


def verdicts(**gains):
    return [claim.verdict for claim in noise.claims(planted(**gains))]


def test_verdicts_span_what_the_note_leaves_open():
    assert verdicts()[:2] == ["holds", "holds"]
    assert verdicts(few=-0.05, other=-0.05)[:2] == ["fails", "fails"]
    assert verdicts(other=-0.05)[:2] == ["undecided", "undecided"]
    assert verdicts(few=-0.05)[:2] == ["undecided", "undecided"]
    assert verdicts(many=0.0)[2] == "fails"
    kinds = [claim.kind for claim in noise.claims(planted())]
    assert kinds == ["published"] * 2 + ["extension"] * (2 + len(TINY.rates))


def test_each_network_has_its_best_rate():
    found = np.zeros((3, 3, 2))
    found[:, 0, 0], found[:, 2, 1] = 0.7, 0.6
    races = Races({Points(2): found}, (0.1, 1.0))
    assert races.best(Points(2), KINDS[0])[0] == 0.1
    assert races.best(Points(2), "no BN")[0] == 1.0
    assert races.gain([Points(2)], KINDS[0]).value == pytest.approx(0.1)
    assert races.gain([Points(2)], KINDS[0], rate=1.0).value == pytest.approx(-0.6)


def test_table_and_files(finished):
    result, found = finished
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert len(found.rows) == 4 * 3
    assert all(math.isfinite(row.accuracy) for row in found.rows)
    assert "Seeds: 0 to 1." in result.caption
