"""A disturbed outlier: starts of a given Gram matrix, rates against numpy and theory, verdicts both ways."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from pyrank import theory
from pyrank.experiments.chains import outlier_stability as stability
from pyrank.experiments.chains import outlier_starts as starts
from pyrank.experiments.chains.outlier_starts import Start

from tolerances import SIGMAS

TINY = stability.Settings(
    (8,), noises=(1e-3, 0.5), mixtures=(1.0, 0.0), width=300, chains=16, depth=150, every=4, seed=1
)
HALF_WIDTHS_TO_SIGMAS = SIGMAS / 2.13  # a half width of 16 chains is 2.13 standard errors


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stability")
    result = stability.reproduce(TINY, folder)
    jobs = [stability._job(TINY, number) for number in range(len(TINY.starts))]
    runs = dict(zip(TINY.starts, stability.run_all(jobs, folder), strict=True))
    return result, {start: stability._row(start, runs, TINY) for start in TINY.starts}


@pytest.mark.parametrize("gram", [theory.outlier_gram(8), theory.escaped_gram(8), starts.mixture(8, 0.3)])
def test_features_have_their_gram_matrix(gram):
    features = starts.features_of(gram, 100)
    assert features.shape == (100, 8)
    assert features.min() >= 0
    np.testing.assert_allclose(features.T @ features, gram, rtol=1e-12, atol=1e-12)


def test_starts_are_disturbed_by_their_size():
    noisy = Start(8, "noise", 0.01).features(4000, 3, (0,))
    exact = starts.features_of(theory.outlier_gram(8), 4000)
    assert noisy.shape == (3, 4000, 8)
    assert noisy.min() >= 0
    change = np.linalg.norm(noisy - exact, axis=1) / np.linalg.norm(exact, axis=0)
    np.testing.assert_allclose(change, 0.01 * math.sqrt(0.5 + 0.5 / 9), rtol=0.1)  # zeros keep half of their noise
    wider = Start(8, "wider", 0.1).features(100, 3, (0,))
    assert 1 - (wider.T @ wider)[0, 1] == pytest.approx(1.1 * (1 - theory.escaped_gram(8)[0, 1]))
    np.testing.assert_allclose(np.diag(starts.mixture(8, 0.0)), 1)


def test_measures_equal_numpy():
    features = np.abs(np.random.default_rng(2).normal(size=(2, 30, 6)))
    cluster = features[:, :, :-1]
    distances = cluster - cluster.mean(axis=2, keepdims=True)
    expected = np.sqrt((distances**2).sum(axis=(1, 2)) / (cluster**2).sum(axis=(1, 2)))
    np.testing.assert_allclose(stability.cluster_spread(torch.tensor(features)), expected, rtol=1e-12)
    norms = np.linalg.norm(features, axis=1)
    expected = norms[:, -1] / np.median(norms[:, :-1], axis=1) / 5
    np.testing.assert_allclose(stability.last_length(torch.tensor(features)), expected, rtol=1e-12)


def test_spread_of_the_escaped_state():
    features = starts.features_of(theory.escaped_gram(20), 210)
    assert starts.exact_spread(20) == pytest.approx(float(stability.cluster_spread(torch.tensor(features))))


def test_rate_of_a_geometric_trace():
    trace = np.geomspace(1, 3, 4)[:, None] * 0.9 ** np.arange(1, 100, 4)
    rate, half_width = stability._rate(trace, 4, (5, 41))
    assert rate == pytest.approx(0.9, rel=1e-12)
    assert half_width == pytest.approx(0, abs=1e-12)


def test_critical_mixture_divides_the_ways_of_infinite_width():
    weight = starts.critical_mixture(8)
    for factor, length in ((0.8, 1.0), (1.25, theory.escaped_gram(8)[-1, -1])):
        gram = starts.mixture(8, factor * weight)
        for _ in range(600):
            gram = theory.recentred_relu_gram(gram)
            gram = (gram + gram.T) / (2 * gram[0, 0])
        assert gram[-1, -1] == pytest.approx(length, rel=1e-6)


def test_rates_are_those_of_infinite_width(finished):
    growing, shrinking = (finished[1][start] for start in (Start(8, "noise", 1e-3), Start(8, "wider", 0.1)))
    assert growing.multiplier_exact == pytest.approx(8 / math.sqrt(50))
    assert shrinking.multiplier_exact < 1
    for row in (growing, shrinking):
        finite_width = 2.0 / TINY.width  # a relative fluctuation of 10 / d moves the mean of a logarithm
        error = finite_width + HALF_WIDTHS_TO_SIGMAS * row.multiplier_half_width
        assert row.multiplier == pytest.approx(row.multiplier_exact, abs=error)
        assert row.multiplier_half_width < 0.02


def test_outlier_stays_without_rescaling_alone(finished):
    rows = finished[1]
    for start in (Start(8, "noise", 1e-3), Start(8, "noise", 0.5), Start(8, "mixture", 1.0)):
        assert rows[start].returned >= 14
        error = HALF_WIDTHS_TO_SIGMAS * rows[start].spread_half_width
        assert rows[start].spread == pytest.approx(starts.exact_spread(8), abs=0.03 + error)
    assert rows[Start(8, "noise", 1e-3, "batch")].returned == 0
    assert rows[Start(8, "mixture", 0.0)].returned <= 8  # nothing tells the samples apart there


def test_verdicts_follow_the_numbers(finished):
    rows = [dataclasses.replace(row, multiplier_half_width=0.001, multiplier=row.multiplier_exact)
            for row in finished[1].values()]  # fmt: skip
    assert [claim.verdict for claim in stability._judge(rows)][:3] == ["fails", "holds", "holds"]
    wrong = [dataclasses.replace(row, multiplier=0.98, returned=5) for row in rows]
    assert [claim.verdict for claim in stability._judge(wrong)] == ["holds", "fails", "fails", "fails", "fails"]


def test_files_are_complete(finished):
    assert [path.suffix for path in finished[0].files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert len(finished[0].claims) == 5
