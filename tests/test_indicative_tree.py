"""The 1-d model: transformations against fractions, random paths against the whole tree, verdicts both ways."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from pyrank.experiments import Found, Row
from pyrank.experiments.chains import indicative_tree as experiment
from pyrank.experiments.chains import sign_tree as tree

from tolerances import SIGMAS

TINY = experiment.Settings(sizes=(5, 8), paths=300, depth=40, batches=10, levels=8, seed=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    return experiment.EXPERIMENT.run(TINY, folder), experiment.EXPERIMENT.find(TINY, folder)


def walk(size):
    return tree.walk(size, TINY.paths, TINY.depth, TINY.seed)


def by_fractions(batch, signs):
    x = [Fraction(value) for value in batch]
    for sign in signs:
        mean = sum(x) / len(x)
        x = [max(sign * (value - mean), Fraction(0)) for value in x]
    return x


def test_children_of_three_points():
    assert tree.child((0, 1, 2), True) == (0, 0, 1)
    assert tree.child((0, 1, 2), False) == (1, 0, 0)
    assert tree.child((0, 0, 5), True) == (0, 0, 1)
    assert tree.child((-3, 1, 5), True) == tree.child((7, 11, 15), True)
    assert tree.child((4, 4, 4), True) == tree.child((4, 4, 4), False) == (0, 0, 0)


def test_deep_descendants_equal_fractions_up_to_scale():
    batch = tree.root(np.random.default_rng(3), 7)
    for signs in itertools.product((1, -1), repeat=6):
        x = batch
        for sign in signs:
            x = tree.child(x, sign == 1)
        expected = by_fractions(batch, signs)
        scale = Fraction(max(x)) / max(expected)
        assert scale > 0
        assert [Fraction(value) for value in x] == [scale * value for value in expected]
        assert math.gcd(*x) == 1


def test_two_clusters_stay_and_one_of_them_is_at_zero():
    for positive in (True, False):
        assert sorted(tree.child((0, 0, 0, 7, 7), positive)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_distinct_points_never_grow_and_never_vanish():
    walks = walk(8)
    assert np.all(walks.distinct[:, 0] == 8)
    assert np.all(np.diff(walks.distinct, axis=1) <= 0)
    assert walks.distinct.min() == 2
    assert not walks.zero.any()
    assert walks.smallest.min() >= 1
    assert walks.smallest.max() <= 4


def test_random_paths_agree_with_whole_trees():
    """Share of the nodes of level 4 in two clusters: over random paths, and over all nodes of other batches."""
    rng = np.random.default_rng(4)
    shares = []
    for _ in range(200):
        leaves = [by_fractions(tree.root(rng, 5), signs) for signs in itertools.product((1, -1), repeat=4)]
        shares.append(np.mean([len(set(leaf)) == 2 for leaf in leaves]))
    walked = walk(5).distinct[:, 4] == 2
    error = math.hypot(np.std(shares) / math.sqrt(200), walked.std() / math.sqrt(TINY.paths))
    assert walked.mean() == pytest.approx(np.mean(shares), abs=SIGMAS * error)


def test_levels_hold_every_node_in_its_own_scale():
    batch = np.array([0.0, 1.0, 2.0, 5.0])
    *_, last = tree.levels(batch, 3)
    expected = {tuple(map(float, by_fractions(batch, signs))) for signs in itertools.product((1, -1), repeat=3)}
    assert last.shape == (8, 4)
    assert {tuple(np.round(node, 12)) for node in last} == {tuple(np.round(node, 12)) for node in expected}


def test_outlier_of_a_level_by_hand():
    length, angle = tree.outliers(3, batches=1, depth=1, seed=2)[:, 0, 0]
    x = np.random.default_rng((2, 1, 3)).normal(size=3)
    features = np.stack([np.maximum(x - x.mean(), 0), np.maximum(x.mean() - x, 0)])
    alone = np.argmax(np.abs(x - x.mean()))
    assert angle == pytest.approx(90)
    norms = np.linalg.norm(features, axis=0)
    assert length == pytest.approx(norms[alone] / np.median(np.delete(norms, alone)) / 2)


def test_rows_count_what_the_paths_and_levels_show(finished):
    for row, (walks, outliers) in zip(finished[1].rows, finished[1].data.values(), strict=True):
        assert row.two == 300
        assert row.apart == np.count_nonzero(walks.smallest == 1)
        until = [next(layer for layer, count in enumerate(path) if count == 2) for path in walks.distinct]
        assert row.layers == pytest.approx(np.mean(until))
        last = outliers[:, :, -1]
        assert row.escaped == sum(length > 0.5 and angle > 85 for length, angle in last.T)
        assert (row.length, row.angle) == pytest.approx(tuple(last.mean(axis=1)))


def verdicts(two=300, apart=290, escaped=(10, 10)):
    rows = [Row(size=size, paths=300, two=two, apart=apart, zero=0, escaped=some, batches=10)
            for size, some in zip(TINY.sizes, escaped, strict=True)]  # fmt: skip
    return [(claim.kind, claim.verdict) for claim in experiment.claims(Found(TINY, None, rows))]


def test_verdicts_follow_the_numbers():
    assert verdicts() == [("published", "holds")] * 2 + [("extension", "holds")] * 2
    assert [verdict for _, verdict in verdicts(two=200)] == ["fails", "holds", "holds", "holds"]
    assert [verdict for _, verdict in verdicts(apart=10)] == ["holds", "holds", "holds", "fails"]
    assert [verdict for _, verdict in verdicts(escaped=(0, 10))] == ["holds", "fails", "holds", "holds"]
    assert [verdict for _, verdict in verdicts(escaped=(10, 0))] == ["holds", "holds", "fails", "holds"]


def test_table_and_files(finished):
    result, found = finished
    assert f"{found.rows[0].apart / 300:.4f}" in result.table
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    assert "Seed 2." in result.caption
