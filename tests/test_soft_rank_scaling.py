"""Rank against width: known means, data that equal the runs, verdicts both ways, published settings."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import pytest

from pyrank import Chain, plotting, simulate
from pyrank.experiments import Claim, Found, Row
from pyrank.experiments.chains import soft_rank_scaling as scaling
from pyrank.experiments.chains.scaling_law import Setting
from pyrank.experiments.claims import claims_text

from tolerances import EXACT

ROOT = Path(__file__).resolve().parents[1]
TINY = scaling.Settings(
    tuple(
        Setting(width, gamma, chains=8, burn_in=50, layers=500, every=2)
        for gamma in (1.0, math.inf)
        for width in (4, 8, 16)
    ),
    seed=7,
)


# --- verdicts --------------------------------------------------------------------------------------------------------


def made_up(exponent, margin=0.5, error=1e-3, flags=""):
    rows = [
        Row(gamma=1.0, width=d, chains=2, recorded=10, rank=d**exponent, rank_stderr=error * d**exponent,
            rank_half_width=0.1, r=1.0, r_stderr=0.1, margin_min=margin, rhat=1.0, flags=flags)
        for d in (8, 16, 32, 64)
    ]  # fmt: skip
    return Found(TINY, [], rows)


def judge(*args, **kwargs):
    return scaling.claims(made_up(*args, **kwargs))


def test_verdict_on_the_exponent():
    assert [judge(exponent)[1].verdict for exponent in (0.6, 0.4)] == ["holds", "fails"]
    assert judge(0.51, error=0.1)[1].verdict == "undecided"
    assert judge(0.49, error=0.1)[1].verdict == "undecided"


def test_verdict_on_the_inequality():
    assert [judge(0.6, margin=margin)[0].verdict for margin in (0.0, -1e-9)] == ["holds", "fails"]
    assert "FAILS: rank_tau(H) >= (1 - tau)^2 r(H)" in claims_text(judge(0.6, margin=-0.25))
    assert "measured -0.25" in claims_text(judge(0.6, margin=-0.25))


def test_flagged_estimates_make_a_verdict_provisional():
    assert judge(0.6)[1].note == ""
    assert "provisional: flagged at width 8, 16, 32, 64" in claims_text(judge(0.6, flags="not converged"))


# --- the run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, scaling.EXPERIMENT.run(TINY, folder)


def test_data_equals_the_runs(finished):
    data = json.loads((finished[0] / "soft-rank-scaling.json").read_text(), parse_constant=pytest.fail)
    for number, (setting, saved) in enumerate(zip(TINY.grid, data["runs"], strict=True)):
        run = simulate(
            Chain(setting.width, gamma=setting.gamma), 550, chains=8, seed=7 + number, burn_in=50, every=2, trace=0,
            measures=["soft_rank(0.5)", "participation_ratio", "rank_bound_margin(0.5)"], progress=False,
        )  # fmt: skip
        assert saved | {"seconds": 0} == run.to_dict() | {"seconds": 0}
        assert data["rows"][number]["rank"] == run["soft_rank(0.5)"].mean
        assert data["rows"][number]["rank_stderr"] == run["soft_rank(0.5)"].stderr
        assert data["rows"][number]["margin_min"] == run["rank_bound_margin(0.5)"].min
    assert [fit["gamma"] for fit in data["fits"]] == [1.0, "inf"]
    assert [claim["verdict"] for claim in data["claims"]] == [claim.verdict for claim in finished[1].claims]


def test_table_has_full_precision(finished):
    data = json.loads((finished[0] / "soft-rank-scaling.json").read_text())
    with (finished[0] / "soft-rank-scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rank"]) for row in rows] == [row["rank"] for row in data["rows"]]
    assert [float(row["gamma"]) for row in rows] == [setting.gamma for setting in TINY.grid]


def test_inequality_holds_in_a_real_run(finished):
    assert finished[1].claims[0].verdict == "holds"
    assert finished[1].claims[0].value > 0


def test_settings_use_different_seeds():
    assert len({task.options["seed"] for task in scaling.tasks(scaling.EXPERIMENT.presets["paper"])}) == 18


def test_presets_are_the_published_figure():
    presets = scaling.EXPERIMENT.presets
    for name, widths in (("quick", [8, 16, 32, 64]), ("paper", [8, 16, 32, 64, 128, 256])):
        assert [(s.gamma, s.width) for s in presets[name].grid] == [(g, d) for g in (0.01, 1.0, math.inf)
                                                                    for d in widths]  # fmt: skip
    assert all(s.layers == 1_000_000 and s.every == 1 for s in presets["paper"].grid)


def test_the_result_shown_on_pages_is_what_its_rows_say_today():
    known = json.loads((ROOT / "docs/paper/soft-rank-scaling.json").read_text(encoding="utf-8"))
    rows = [Row(**{**row, "gamma": float(row["gamma"])}) for row in known["rows"]]
    today = scaling.claims(Found(scaling.EXPERIMENT.presets["paper"], [], rows))
    for claim, shown in zip(today, map(Claim.from_dict, known["claims"]), strict=True):
        assert shown.value == pytest.approx(claim.value, rel=EXACT)
        assert shown.error == (claim.error and pytest.approx(claim.error, rel=EXACT))
        assert dataclasses.replace(shown, value=claim.value, error=claim.error) == claim


@pytest.mark.parametrize(("width", "rank", "r"), [(8, 2.790, 2.248), (16, 4.456, 3.305), (32, 7.041, 4.866)])
def test_row_has_the_known_means(tmp_path, width, rank, r):
    setting = Setting(width, math.inf, chains=32, burn_in=500, layers=1500, every=1)
    (row,) = scaling.rows(*_found(scaling.Settings((setting,), seed=11), tmp_path))
    assert row["rank"] == pytest.approx(rank, abs=5 * row["rank_stderr"])
    assert row["r"] == pytest.approx(r, abs=5 * row["r_stderr"])
    assert row["rank_stderr"] < 0.02


def _found(settings, folder):
    one = dataclasses.replace(scaling.EXPERIMENT, tables=())
    found = one.find(settings, folder)
    return found.settings, found.data


def test_figure_is_labelled_reproducible_and_leaves_no_global_state(finished):
    from matplotlib._pylab_helpers import Gcf

    before = list(Gcf.figs)
    found = scaling.EXPERIMENT.find(TINY, finished[0])
    figure = scaling.EXPERIMENT.sheet.figure(found, scaling.EXPERIMENT.full_caption(found))
    growth, ratio = figure.axes
    assert list(Gcf.figs) == before
    assert growth.get_xscale() == growth.get_yscale() == "log"
    assert [label.get_text() for label in growth.get_xticklabels()] == ["4", "8", "16"]
    assert all("width d" in axes.get_xlabel() and "rank" in axes.get_ylabel() for axes in (growth, ratio))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == 3
    assert any("sqrt{d}" in label for label in labels)
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert caption == finished[1].caption
    assert "tau = 0.5" in caption
    assert "Seeds: 7 to 12." in caption
    for form in ("png", "svg"):
        assert plotting.rendered(figure, form) == (finished[0] / f"soft-rank-scaling.{form}").read_bytes()
