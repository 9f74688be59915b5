"""A disturbed outlier: starts of a given Gram matrix, rates against numpy and theory, verdicts both ways."""

import math

import numpy as np
import pytest
import torch

from pyrank import theory
from pyrank.experiments import Found, Row
from pyrank.experiments.chains import outlier_rates as rates
from pyrank.experiments.chains import outlier_stability as stability
from pyrank.experiments.chains.outlier_stability import EXPERIMENT
from pyrank.experiments.chains.outlier_starts import Start, features_of

from tolerances import SIGMAS

TINY = stability.Settings(
    (8,), noises=(1e-3, 0.5), mixtures=(1.0, 0.0), width=300, chains=16, depth=150, every=4, seed=1
)
HALF_WIDTHS_TO_SIGMAS = SIGMAS / 2.13  # a half width of 16 chains is 2.13 standard errors


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stability")
    found = EXPERIMENT.find(TINY, folder)
    return EXPERIMENT.run(TINY, folder), found, dict(zip(TINY.starts, found.rows, strict=True))


@pytest.mark.parametrize("gram", [theory.outlier_gram(8), theory.escaped_gram(8), theory.escaped_mixture(8, 0.3)])
def test_features_have_their_gram_matrix(gram):
    features = features_of(gram, 100)
    assert features.shape == (100, 8)
    assert features.min() >= 0
    np.testing.assert_allclose(features.T @ features, gram, rtol=1e-12, atol=1e-12)


def test_starts_are_disturbed_by_their_size():
    noisy = Start(8, "noise", 0.01).features(4000, 3, (0,))
    exact = features_of(theory.outlier_gram(8), 4000)
    assert noisy.shape == (3, 4000, 8)
    assert noisy.min() >= 0
    change = np.linalg.norm(noisy - exact, axis=1) / np.linalg.norm(exact, axis=0)
    np.testing.assert_allclose(change, 0.01 * math.sqrt(0.5 + 0.5 / 9), rtol=0.1)  # zeros keep half of their noise
    wider = Start(8, "wider", 0.1).features(100, 3, (0,))
    assert 1 - (wider.T @ wider)[0, 1] == pytest.approx(1.1 * (1 - theory.escaped_gram(8)[0, 1]))
    mixed = Start(8, "mixture", 0.3).features(100, 3, (0,))
    np.testing.assert_allclose(mixed.T @ mixed, theory.escaped_mixture(8, 0.3), rtol=1e-12, atol=1e-12)


def test_measures_equal_numpy():
    features = np.abs(np.random.default_rng(2).normal(size=(2, 30, 6)))
    cluster = features[:, :, :-1]
    distances = cluster - cluster.mean(axis=2, keepdims=True)
    expected = np.sqrt((distances**2).sum(axis=(1, 2)) / (cluster**2).sum(axis=(1, 2)))
    np.testing.assert_allclose(rates.cluster_spread(torch.tensor(features)), expected, rtol=1e-12)
    norms = np.linalg.norm(features, axis=1)
    expected = norms[:, -1] / np.median(norms[:, :-1], axis=1) / 5
    np.testing.assert_allclose(rates.last_length(torch.tensor(features)), expected, rtol=1e-12)


def test_rate_of_a_geometric_trace():
    trace = np.geomspace(1, 3, 4)[:, None] * 0.9 ** np.arange(1, 100, 4)
    rate, half_width = rates.rate(trace, 4, (5, 41))
    assert rate == pytest.approx(0.9, rel=1e-12)
    assert half_width == pytest.approx(0, abs=1e-12)


def test_rates_are_those_of_infinite_width(finished):
    growing, shrinking = (finished[2][start] for start in (Start(8, "noise", 1e-3), Start(8, "wider", 0.1)))
    assert growing.multiplier_exact == pytest.approx(8 / math.sqrt(50))
    assert shrinking.multiplier_exact < 1
    for row in (growing, shrinking):
        finite_width = 2.0 / TINY.width  # a relative fluctuation of 10 / d moves the mean of a logarithm
        error = finite_width + HALF_WIDTHS_TO_SIGMAS * row.multiplier_half_width
        assert row.multiplier == pytest.approx(row.multiplier_exact, abs=error)
        assert row.multiplier_half_width < 0.02


def test_a_wider_cluster_has_the_weights_of_the_undisturbed_one():
    seeds = {(task.name.split(",")[0], task.options["seed"]) for task in stability.tasks(TINY)}
    assert sorted(seed for kind, seed in seeds if kind == "wider") == [4]
    assert sorted(seed for kind, seed in seeds if kind != "wider") == [1, 2, 3, 6, 7]


def test_outlier_stays_without_rescaling_alone(finished):
    rows = finished[2]
    for start in (Start(8, "noise", 1e-3), Start(8, "noise", 0.5), Start(8, "mixture", 1.0)):
        assert rows[start].returned >= 14
        error = HALF_WIDTHS_TO_SIGMAS * rows[start].spread_half_width
        assert rows[start].spread == pytest.approx(theory.escaped_shape(8).spread, abs=0.03 + error)
    assert rows[Start(8, "noise", 1e-3, "batch")].returned == 0
    assert rows[Start(8, "mixture", 0.0)].returned <= 8  # nothing tells the samples apart there


def row(batch, kind, size, multiplier=math.nan, returned=80, normalization="recentre"):
    exact = {"noise": theory.cluster_multiplier, "wider": theory.escaped_multiplier}[kind](batch)
    return Row(batch=batch, kind=kind, size=size, normalization=normalization, chains=80, returned=returned,
               multiplier=multiplier * exact, multiplier_half_width=0.001, multiplier_exact=exact)  # fmt: skip


def verdicts(large=80, small=80, rescaled=0, off=1.0):
    """Verdicts on a batch of 8 and one of 20; multipliers are ``off`` times those of infinite width."""
    rows = [row(8, "noise", 1e-3, 1.0, small), row(8, "wider", 0.1, 1.0), row(20, "noise", 1e-3, off, large),
            row(20, "noise", 1.0, returned=large), row(20, "wider", 0.1, off),
            row(20, "noise", 1e-3, returned=rescaled, normalization="batch")]  # fmt: skip
    return [(claim.kind, claim.verdict) for claim in stability.claims(Found(TINY, None, rows))]


def test_verdicts_follow_the_numbers():
    words = [verdict for _, verdict in verdicts()]
    assert words == ["holds", "holds", "holds", "holds", "holds", "holds", "fails"]
    assert [kind for kind, _ in verdicts()] == ["published"] * 2 + ["extension"] * 5
    assert [verdict for _, verdict in verdicts(large=10)] == ["fails", "holds", "fails", *words[3:]]
    assert [verdict for _, verdict in verdicts(small=10)] == ["holds", "holds", "fails", *words[3:]]
    assert [verdict for _, verdict in verdicts(rescaled=40)] == [*words[:3], "fails", *words[4:]]
    assert [verdict for _, verdict in verdicts(off=1.1)] == [
        "holds",
        "fails",
        "holds",
        "holds",
        "fails",
        "fails",
        "fails",
    ]
    assert verdicts(off=0.9)[-1] == ("extension", "holds")


def test_table_and_files(finished):
    result, found, _ = finished
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert len(result.table.splitlines()) > len(found.rows)
    assert "Seeds: 1 to 7." in result.caption
