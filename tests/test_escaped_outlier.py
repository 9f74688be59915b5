"""The experiment on the escaped sample: shares with and without rescaling, verdicts both ways, the table."""

import pytest

from pyrank import theory
from pyrank.experiments import Found, Row
from pyrank.experiments.chains import escaped_outlier as experiment
from pyrank.experiments.chains.escaped_outlier import EXPERIMENT, Case, Settings

TINY = Settings((Case(10, 60, 150),), chains=24, every=10, seed=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("escape")
    return EXPERIMENT.run(TINY, folder), EXPERIMENT.find(TINY, folder)


def test_samples_escape_without_rescaling_alone(finished):
    recentred, rescaled = finished[1].rows
    assert (recentred.normalization, rescaled.normalization) == ("recentre", "batch")
    assert recentred.escaped > 12
    assert rescaled.escaped == 0
    assert recentred.share_low < recentred.escaped / 24 < recentred.share_high
    assert rescaled.length_5 < rescaled.length_50 < rescaled.length_95 < recentred.length_50


def test_runs_share_no_seed_and_the_first_chain_is_shown_again(finished):
    *runs, shown = (run for run, _ in finished[1].data)
    assert [run.plan.seed for run in runs] == [5, 6]
    assert shown.state[0].equal(runs[0].state[0])
    assert len(shown["pairwise_angles[0]"].batch_means[0]) == 2  # the last two layers


def row(batch, normalization="recentre", escaped=80, length=0.95, angle=89.8, cluster=5.0):
    return Row(batch=batch, width=400, normalization=normalization, chains=80, escaped=escaped,
               length=length, length_half_width=0.01, angle=angle, angle_half_width=0.01,
               cluster=cluster, cluster_half_width=0.1)  # fmt: skip


def judged(kind, *rows):
    return [claim for claim in experiment.claims(Found(TINY, None, rows)) if claim.kind == kind]


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [({}, ["holds"] * 4), ({"escaped": 10}, ["fails", *["holds"] * 3]),
     ({"escaped": 44}, ["undecided", *["holds"] * 3]),
     ({"angle": 80.0}, ["holds", "fails", "holds", "holds"]), ({"length": 0.1}, ["holds", "holds", "fails", "holds"]),
     ({"cluster": 60.0}, ["holds", "holds", "holds", "fails"])],
)  # fmt: skip
def test_published_verdicts_follow_the_largest_batch(changes, verdicts):
    others = row(8, escaped=0, length=0.1, angle=75.0, cluster=75.0), row(64, "batch", escaped=0)
    assert [claim.verdict for claim in judged("published", *others, row(64, **changes))] == verdicts


def test_other_sizes_and_rescaling_are_extensions():
    share, rescaled, *shapes = judged("extension", row(64), row(8, escaped=0), row(64, "batch", escaped=0))
    assert (share.verdict, rescaled.verdict) == ("fails", "holds")
    assert "N = 8" in share.statement
    assert all("N = 64" in claim.statement for claim in shapes)  # where nothing escaped there is no shape
    share, rescaled, *_ = judged("extension", row(64), row(8), row(64, "batch", escaped=40))
    assert (share.verdict, rescaled.verdict) == ("holds", "fails")


def test_table_and_files(finished):
    result, found = finished
    assert [path.suffix for path in result.files] == [".csv", ".txt", ".png", ".svg", ".json"]
    first, second = result.table.splitlines()[1:3]
    assert f"{found.rows[0].escaped}/24" in first
    assert f"{theory.escaped_shape(10).length:.3f}" in first
    assert second.split().count("-") == 6  # no shape of what did not escape
    assert "Seeds: 5 to 6." in result.caption
