"""Whitening against batch normalisation: the numbers are those of plain simulations, verdicts go both ways."""

import math

import numpy as np
import pytest

import pyrank
from pyrank.experiments import Found, Row
from pyrank.experiments.chains import whitening_vs_batchnorm as experiment

SMALL = experiment.Settings(widths=(4, 8, 16, 24), depth=200, chains=8, timed=5, seed=3)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return experiment.EXPERIMENT.find(SMALL, tmp_path_factory.mktemp("whitening"), progress=False)


def test_values_are_those_of_a_simulation(found):
    course, _ = found.data[8, "relu", "batch"]
    chain = pyrank.Chain(8, 16, activation="relu", normalization="batch")
    run = pyrank.simulate(chain, 200, chains=8, seed=3, measures=["participation_ratio"], progress=False)
    late = course.depths > 20
    expected = run["participation_ratio"].trace[:, course.depths[late] - 1]
    np.testing.assert_array_equal(course.values["r"][:, late], expected)
    (row,) = [row for row in found.rows_by("activation", "normalization")["relu", "batch"] if row.width == 8]
    assert row.r == pytest.approx(expected.mean())
    assert row.r_stderr == pytest.approx(expected.mean(axis=1).std(ddof=1) / math.sqrt(8))


def test_whitening_keeps_every_direction(found):
    """M = I, so r = d and the isometry gap is 0, up to the rounding of states in single precision."""
    rounding = 100 * np.finfo(np.float32).eps
    for row in found.rows_by("activation", "normalization")["linear", "whiten"]:
        course, _ = found.data[row.width, "linear", "whiten"]
        np.testing.assert_allclose(course.values["r"], row.width, rtol=rounding)
        assert np.all(course.values["gap"] <= rounding)
        assert row.full == 1
        assert row.off <= row.width * rounding


def test_states_that_are_zero_have_no_r(found):
    """They are not held against M = I, their width bends no exponent, and the directions they lack are counted."""
    course, time = found.data[8, "linear", "whiten"]
    values = {name: course.values[name].copy() for name in course.values}
    values["r"][0, -10:], values["rank"][0, -10:] = math.nan, 0
    lost = experiment.Course(course.depths, values)
    (row,) = experiment.rows(SMALL, {(8, "linear", "whiten"): (lost, time)})
    assert math.isnan(row["r"])
    assert row["off"] <= experiment.ROUNDING
    assert row["full"] == 1 - 10 / values["r"].size


def made_up(power=0.6, whitened=1.0, slower=20.0, off=1e-7, dead=()):
    """Batch normalisation keeps 0.9 d ** power directions, whitening a share of d; chains of some widths died."""
    rows = []
    for width, activation, normalization in experiment.PRESETS["quick"].cases:
        rank = whitened * width if normalization == "whiten" else 0.9 * width**power
        r = math.nan if width in dead and normalization == "rescale" else rank
        time = 0.1 * width**2 * (slower if normalization == "whiten" else 1.0)
        rows.append(Row(width=width, activation=activation, normalization=normalization, r=r, r_stderr=1e-3 * rank,
                        rank=rank, rank_stderr=1e-3 * rank, rank_error=2e-3 * rank, full=whitened, off=off,
                        microseconds=time))  # fmt: skip
    return Found(experiment.PRESETS["quick"], {}, rows)


def verdicts(**changes):
    claims = experiment.claims(made_up(**changes))
    return [[claim.verdict for claim in claims if claim.kind == kind] for kind in ("published", "extension")]


def test_verdicts_go_both_ways():
    assert verdicts() == [["holds"] * 4, ["holds"] * 4]
    assert verdicts(power=0.4) == [["holds", "holds", "holds", "fails"], ["fails", "holds", "holds", "holds"]]
    assert verdicts(power=1.05)[0] == ["holds", "holds", "fails", "holds"]
    assert verdicts(whitened=0.9) == [["fails", "holds", "holds", "holds"], ["holds", "fails", "holds", "holds"]]
    assert verdicts(slower=1.5)[0] == ["holds", "fails", "holds", "holds"]
    assert verdicts(off=0.5)[1] == ["holds", "holds", "fails", "fails"]
    assert verdicts(dead=(8, 16))[0][3] == "undecided"


def test_exponents_are_those_of_the_means():
    """A law c d^0.75 is found again, and without the widths at which a chain died."""
    for line in experiment.growths(made_up(power=0.75, dead=(16,))):
        assert line["exponent"] == pytest.approx(0.75, abs=1e-9)
        assert line["left_out"] == ("16" if line["normalization"] == "rescale" else "")
    assert all(line["normalization"] != "whiten" for line in experiment.growths(made_up()))


def test_batch_normalisation_passed_off_as_whitening_is_found_out(found):
    plain = {row.width: vars(row) for row in found.rows_by("activation", "normalization")["linear", "batch"]}
    rows = [Row(**{**plain[row.width], "normalization": "whiten", "activation": row.activation})
            if row.normalization == "whiten" else row for row in found.rows]  # fmt: skip
    claims = experiment.claims(Found(SMALL, found.data, rows))
    assert [claim.verdict for claim in claims if "whitening" in claim.statement and "r - rank" in claim.statement] == [
        "fails", "fails"]  # fmt: skip
    assert claims[0].verdict == "fails"


def test_times_are_positive_and_in_the_order_of_the_chains():
    chains = [pyrank.Chain(128, normalization="whiten"), pyrank.Chain(4)]
    slow, fast = experiment.microseconds(chains, layers=3)
    assert slow > 10 * fast > 0


def test_files_are_written(found, tmp_path, monkeypatch):
    monkeypatch.setattr(type(experiment.EXPERIMENT), "find", lambda *arguments, **options: found)
    result = experiment.EXPERIMENT.run(SMALL, tmp_path)
    assert "exponent" in result.table
    assert "± 0.0000" not in result.table, "errors of rounding are left out"
    assert result.png.read_bytes().startswith(b"\x89PNG")
