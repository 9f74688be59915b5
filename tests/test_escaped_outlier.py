"""The escaped sample: what counts as one, against numpy; shares and shapes against theory; verdicts both ways."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from pyrank.experiments.running import run_all

from pyrank import experiments
from pyrank.experiments.chains import escaped_outlier as escape

from tolerances import SIGMAS

TINY = escape.Settings((escape.Case(10, 60, 150),), chains=24, every=10, seed=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("escape")
    result = escape.reproduce(TINY, folder)
    runs = run_all([escape._job(TINY, TINY.cases[0], name) for name in escape.NORMALIZATIONS], folder)
    return result, runs, [escape._row(run, escape.Ends.of(run.state)) for run in runs]


def with_outlier(batch, length, angle):
    """Features of a cluster of one angle (20 degrees), and a last sample of that length and angle to its mean."""
    features = np.zeros((1, batch + 2, batch))
    features[0, range(batch - 1), range(batch - 1)] = math.sin(math.radians(20))
    features[0, batch, :-1] = math.cos(math.radians(20))
    features[0, batch, -1] = length * math.cos(math.radians(angle))
    features[0, batch + 1, -1] = length * math.sin(math.radians(angle))
    return torch.tensor(features)


@pytest.mark.parametrize(("length", "angle", "escaped"), [(8.0, 89.0, True), (3.0, 89.0, False), (8.0, 80.0, False)])
def test_what_counts_as_escaped(length, angle, escaped):
    ends = escape.Ends.of(with_outlier(10, length, angle))
    assert ends.escaped.tolist() == [escaped]
    assert ends.index.tolist() == [9]
    assert ends.length[0] == pytest.approx(length / 9)
    product = math.cos(math.radians(20)) * math.cos(math.radians(angle))
    assert ends.angle[0] == pytest.approx(math.degrees(math.acos(product)))
    assert ends.cluster[0] == pytest.approx(math.degrees(math.acos(math.cos(math.radians(20)) ** 2)))


def test_ends_look_at_the_activation():
    features = with_outlier(10, 8.0, 89.0)
    hidden = torch.where(features == 0, -3.0, features)
    for field in ("length", "angle", "cluster"):
        expected = getattr(escape.Ends.of(features), field)
        np.testing.assert_allclose(getattr(escape.Ends.of(hidden), field), expected, rtol=1e-12)


def test_samples_escape_without_rescaling_alone(finished):
    recentred, rescaled = finished[2]
    assert recentred.escaped > 12
    assert rescaled.escaped == 0
    assert recentred.share_low < recentred.escaped / 24 < recentred.share_high


def test_escaped_samples_by_numpy():
    """The same layer with explicit weights; for N = 20 and infinite width the length is 18.08."""
    rng = np.random.default_rng(6)
    H = rng.normal(size=(16, 300, 20))
    for _ in range(150):
        H = rng.normal(size=(16, 300, 300)) @ np.maximum(H, 0)
        H -= H.mean(axis=2, keepdims=True)
        H /= np.abs(H).max()
    ends = escape.Ends.of(torch.tensor(H))
    length, angle, cluster = escape._exact(20)
    assert length * 19 == pytest.approx(18.08, abs=0.01)
    assert ends.escaped.sum() > 12
    for values, exact, finite_width in ((ends.length, length, 0.05), (ends.angle, angle, 0.1),
                                        (ends.cluster, cluster, 2.0)):  # fmt: skip
        chosen = values[ends.escaped]
        error = chosen.std(ddof=1) / math.sqrt(len(chosen))
        assert chosen.mean() == pytest.approx(exact, abs=finite_width + SIGMAS * error)


def test_verdicts_follow_the_numbers(finished):
    recentred, rescaled = finished[2]
    length, angle, cluster = escape._exact(10)
    perfect = dataclasses.replace(recentred, escaped=24, length=1.0, length_half_width=0.01, angle=90.0,
                                  angle_half_width=0.01, cluster=0.1, cluster_half_width=0.1)  # fmt: skip
    infinite = dataclasses.replace(perfect, escaped=0, length=length, angle=angle, cluster=cluster)
    verdicts = [claim.verdict for claim in escape._judge([perfect, rescaled])]
    assert verdicts == ["holds", verdicts[1], "holds", "holds", "fails", "holds"]
    verdicts = [claim.verdict for claim in escape._judge([infinite, dataclasses.replace(rescaled, escaped=12)])]
    assert verdicts == ["fails", "fails", "fails", "fails", "holds", "fails"]


def test_files_are_complete(finished):
    assert [path.suffix for path in finished[0].files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert "escaped-outlier" in experiments.EXPERIMENTS
    assert f"{finished[2][0].escaped}/24" in finished[0].table
