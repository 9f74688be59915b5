"""Sharpness along training with and without batch normalisation: courses, chosen rates, verdicts on planted ones."""

import math

import numpy as np
import pytest

from pyrank.experiments import Found
from pyrank.experiments.batchnorm import NONE
from pyrank.experiments.optimization import batchnorm_smoothness as smoothness
from pyrank.experiments.optimization.courses import Course, Courses, Training, followed
from pyrank.experiments.optimization.trainings import CLASSES, images
from pyrank.networks import mlp, train
from pyrank.optimization import hessian_eigenvalues
from pyrank.support.ambient import one_thread

TRAINING = Training(samples=40, width=4, batch=20, epochs=2, every=2, curvature=20)
TINY = smoothness.Settings(TRAINING, (1, 2), (0.1, 1.0), seeds=2)

pytestmark = pytest.mark.usefixtures("shipped")


@pytest.fixture(scope="module")
def finished(shipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoothness")
    return smoothness.EXPERIMENT.run(TINY, folder), smoothness.EXPERIMENT.find(TINY, folder)


def test_a_course_is_the_hessian_at_the_start_and_at_the_end():
    from torch.nn.functional import cross_entropy

    found = followed(TRAINING, 1, "no BN", 0.1, seed=2)
    x, y = images("fashion-mnist", "train", 40, 2)
    model = mlp(1, 4, 784, CLASSES, NONE, weights="he", seed=2)
    assert TRAINING.steps.tolist() == [0, 2, 4]
    assert len(found.sharpness) == 3
    for look in (0, 2):
        with one_thread():
            exact = hessian_eigenvalues(model, cross_entropy, (x[:20], y[:20]), 1).values[0]
            assert found.sharpness[look] == pytest.approx(exact, rel=1e-4)  # the square of 1e-3, over a gap
            if look == 0:
                history = train(model, (x, y), epochs=2, batch=20, learning_rate=0.1, seed=2)
    assert found.loss == pytest.approx(history.loss[2:].mean())
    assert found.accuracy == history.accuracy[-1]


def test_divergence_is_a_result():
    found = followed(TRAINING, 2, "no BN", 1e12, seed=0)
    assert math.isinf(found.loss)
    assert found.sharpness[0] > 0
    assert len(found.sharpness) == 3
    assert not found.sharpness[-1] > 0


def test_results_do_not_depend_on_where_they_are_computed(finished):
    again = followed(TRAINING, 1, "BN", 0.1, seed=0)
    assert again.sharpness.tolist() == finished[1].data.found[1, "BN", 0.1][0].sharpness.tolist()


def course(start, loss, sharpness, noise):
    return Course(loss, 0.5, np.array([start, sharpness, sharpness]) * (1 + 0.001 * noise))


def planted(bn=4.0, plain=8.0, same=2.0, start=9.0):
    """Best rates 1 with BN and 0.1 without; there a sharpness ``bn`` and ``plain``, and with BN at 0.1 ``same``."""
    noise = np.random.default_rng(0).normal(size=6)
    found = {}
    for depth in (1, 2):
        for kind, rate, loss, sharpness in (("BN", 0.1, 1.0, same), ("BN", 1.0, 0.5, bn), ("no BN", 0.1, 0.7, plain),
                                            ("no BN", 1.0, math.inf, math.nan)):  # fmt: skip
            found[depth, kind, rate] = [
                course(start if kind == "BN" else 10.0, loss, sharpness, each) for each in noise
            ]
    return Found(TINY, Courses(found))


def test_each_network_is_taken_at_the_rate_with_the_smallest_loss():
    courses = planted().data
    assert courses.best_rate(1, "BN") == 1.0
    assert courses.best_rate(1, "no BN") == 0.1  # the other one diverged
    assert np.exp(courses.typical(1, "BN").mean()) == pytest.approx(4.0, rel=0.01)
    assert np.isnan(courses.typical(1, "no BN", 1.0)).all()


def test_verdicts_follow_the_numbers():
    def verdicts(**changes):
        return [claim.verdict for claim in smoothness.claims(planted(**changes))][:6]

    names = ["start", "best rates", "same rate", "rate", "BN below 2", "plain below 2"]
    found = dict(zip(names, verdicts(), strict=True))
    assert found == {"start": "holds", "best rates": "holds", "same rate": "holds", "rate": "holds",
                     "BN below 2": "fails", "plain below 2": "holds"}  # fmt: skip
    assert verdicts(start=11.0)[0] == "fails"
    assert verdicts(bn=9.0)[1] == "fails"
    assert verdicts(same=9.0)[2] == "fails"
    assert verdicts(bn=1.5)[4] == "holds"
    assert verdicts(plain=25.0)[5] == "fails"
    assert {claim.kind for claim in smoothness.claims(planted())} == {"extension"}


def test_table_and_files(finished):
    result, found = finished
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert len(found.rows) == 2 * 2 * 2
    assert [row.best for row in found.rows].count("*") == 4
