"""Time against state averages: known means, errors that one chain foretells, verdicts both ways."""

import math

import numpy as np
import pytest

from pyrank.experiments.chains.ergodic_average import EXPERIMENT, Settings
from pyrank.experiments.chains.over_chains import trace
from pyrank.experiments.declaration import Found
from pyrank.experiments.tables import Row

from tolerances import FACTS_SHARE, SIGMAS

TINY = Settings(
    gammas=(math.inf, 1.0), width=8, burn_in=100, long=20_000, repetitions=64, layers=1024, groups=8, states=4000,
    fit_from=128, seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return EXPERIMENT.run(TINY, folder), EXPERIMENT.find(TINY, folder)


def test_averages_are_the_known_means_and_equal(finished):
    for row in finished[1].rows:
        known = {"participation_ratio": 2.248, "soft_rank(0.5)": 2.790}[row.measure]
        assert abs(row.sigmas) <= SIGMAS
        for mean, stderr in ((row.time_average, row.time_stderr), (row.state_average, row.state_stderr)):
            assert abs(mean - known) <= SIGMAS * stderr + FACTS_SHARE * known
        assert row.error == pytest.approx(row.expected, rel=SIGMAS / math.sqrt(2 * TINY.repetitions))
        assert abs(row.slope + 0.5) <= SIGMAS / 2 * row.slope_half_width


def test_rows_are_about_their_own_runs(finished):
    for each, row in zip(finished[1].data, finished[1].rows, strict=True):
        time, repeated, states = each.runs
        assert [run.plan.chain.gamma for run in each.runs] == [row.gamma] * 3
        assert each.measure == row.measure
        assert trace(time, row.measure).mean() == pytest.approx(row.time_average)
        assert trace(states, row.measure)[:, 0].mean() == pytest.approx(row.state_average)
        values = trace(repeated, row.measure)
        assert row.error == pytest.approx(math.sqrt(np.mean((values.mean(axis=1) - values.mean()) ** 2)))


def test_three_runs_never_share_a_seed(finished):
    runs = [run for each in finished[1].data[::2] for run in each.runs]
    assert [run.plan.seed for run in runs] == [3, 4, 5, 6, 7, 8]
    assert [run.plan.chains for run in runs] == [1, 64, 4000] * 2
    assert [run.recorded for run in runs] == [20_000, 1024, 1] * 2


def verdicts(*rows):
    """Limit, equality and rate."""
    return [claim.verdict for claim in EXPERIMENT.claims(Found(TINY, [], rows))]


def made_up(sigmas=0.0, slope=-0.5, half_width=0.02, flags=""):
    return Row(measure="r", gamma=1.0, time_average=2.0, time_stderr=0.1, state_average=2.0, state_stderr=0.1,
               sigmas=sigmas, slope=slope, slope_half_width=half_width, flags=flags)  # fmt: skip


def test_verdicts():
    assert verdicts(made_up(sigmas=-4.9, slope=-0.49)) == ["holds"] * 3
    assert verdicts(made_up(sigmas=-5.1, slope=-0.4)) == ["holds", "fails", "fails"]
    assert verdicts(made_up(slope=-0.45)) == ["holds", "holds", "undecided"]
    assert verdicts(made_up(slope=0.0)) == ["fails", "holds", "fails"]  # chains that never forget
    assert verdicts(made_up(slope=-0.06)) == ["undecided", "holds", "fails"]


def test_the_worst_row_decides():
    good = made_up()
    for bad in (made_up(sigmas=6.0), made_up(slope=0.0)):
        assert verdicts(good, bad, good) == verdicts(bad)
    assert (
        "provisional: flagged at gamma 1"
        in EXPERIMENT.claims(Found(TINY, [], [made_up(flags="not converged")]))[1].note
    )


def test_caption_and_table_name_the_sizes(finished):
    result = finished[0]
    for words in ("20,000 layers of one chain", "d = N = 8", "4,000 chains after 101 layers", "Seeds: 3 to 8"):
        assert words in result.caption
    assert "1,024" in result.table
