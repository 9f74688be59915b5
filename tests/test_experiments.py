"""Experiments: fits with a known answer, verdicts both ways, files complete, stopped runs continued."""

import csv
import dataclasses
import json
import math
import sys

import numpy as np
import pytest

from pyrank import Chain, Interrupted, experiments, plotting, simulate
from pyrank.engine import backends
from pyrank.estimate.fitting import power_law
from pyrank.experiments import running
from pyrank.experiments.chains import soft_rank_scaling as scaling
from pyrank.experiments.claims import claims_text
from pyrank.support.errors import ArgumentError

WIDTHS = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
TINY = scaling.Settings(
    tuple(
        scaling.Setting(width, gamma, chains=8, burn_in=50, layers=500, every=2)
        for gamma in (1.0, math.inf)
        for width in (4, 8, 16)
    ),
    seed=7,
)
FORMATS = ("csv", "txt", "png", "svg", "json")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- fits ------------------------------------------------------------------------------------------------------------


def test_exact_power_law_is_recovered():
    fit = power_law(WIDTHS, 0.7 * WIDTHS**0.6, 0.01 * WIDTHS)
    assert fit.exponent == pytest.approx(0.6, rel=1e-12)
    assert fit.prefactor == pytest.approx(0.7, rel=1e-12)
    assert fit.chi2 < 1e-20
    assert fit.dof == 3


def fits_of_noisy_data(understated=1.0, replicates=4000):
    """Fits to y of known relative errors that grow with x; the errors told to the fit are smaller than the noise."""
    rng = np.random.default_rng(3)
    relative = 0.01 * np.sqrt(WIDTHS / 8)
    noise = relative * rng.normal(size=(replicates, WIDTHS.size))
    y = 0.7 * WIDTHS**0.6 * np.exp(noise)
    return [power_law(WIDTHS, row, row * relative / understated) for row in y]


def coverage(fits):
    return np.mean([fit.interval[0] <= 0.6 <= fit.interval[1] for fit in fits])


def test_stderr_and_chi2_match_the_scatter_of_the_fits():
    fits = fits_of_noisy_data()
    scatter = np.std([fit.exponent for fit in fits])
    assert fits[0].stderr == pytest.approx(scatter, rel=5 / math.sqrt(2 * len(fits)))
    assert np.mean([fit.chi2 for fit in fits]) == pytest.approx(3, abs=5 * math.sqrt(6 / len(fits)))


def test_interval_covers_with_right_errors_and_with_errors_ten_times_too_small():
    five_sigma = 5 * math.sqrt(0.95 * 0.05 / 4000)
    assert 0.95 - five_sigma <= coverage(fits_of_noisy_data()) < 0.995
    assert coverage(fits_of_noisy_data(understated=10)) == pytest.approx(0.95, abs=five_sigma)


def test_weights_prefer_the_precise_points():
    y = WIDTHS**0.6
    y[-1] *= 2
    assert power_law(WIDTHS, y, [1e-3, 1e-3, 1e-3, 1e-3, 1e3]).exponent == pytest.approx(0.6, abs=1e-6)
    assert power_law(WIDTHS, y, y).exponent > 0.7


@pytest.mark.parametrize(
    ("x", "y", "stderr"),
    [([8, 16], [1, 2], [1, 1]), ([8, 8, 8], [1, 2, 3], [1, 1, 1]), ([8, 16, 32], [1, 2, math.nan], [1, 1, 1]),
     ([8, 16, 32], [1, 2, 3], [1, 0, 1])],
)  # fmt: skip
def test_impossible_fits_are_refused(x, y, stderr):
    with pytest.raises(ArgumentError, match="points = "):
        power_law(x, y, stderr)


# --- verdicts --------------------------------------------------------------------------------------------------------


def made_up_rows(exponent, margin=0.5, error=1e-3, flags=""):
    return [
        scaling.Row(width=d, gamma=1.0, chains=2, recorded=10, rank=d**exponent, rank_stderr=error * d**exponent,
                    rank_half_width=0.1, r=1.0, r_stderr=0.1, margin_min=margin, rhat=1.0, flags=flags)
        for d in (8, 16, 32, 64)
    ]  # fmt: skip


def judge(*args, **kwargs):
    rows = made_up_rows(*args, **kwargs)
    return scaling._judge(rows, scaling._fits(rows), 0.5)


def test_verdict_on_the_exponent():
    assert [judge(exponent)[1].verdict for exponent in (0.6, 0.4)] == ["holds", "fails"]
    assert judge(0.51, error=0.1)[1].verdict == "undecided"
    assert judge(0.49, error=0.1)[1].verdict == "undecided"


def test_verdict_on_the_inequality():
    assert [judge(0.6, margin=margin)[0].verdict for margin in (0.0, -1e-9)] == ["holds", "fails"]
    assert "HOLDS" in claims_text(judge(0.6))
    assert "FAILS: rank_0.5 >= (1 - 0.5)^2 r" in claims_text(judge(0.6, margin=-0.25))
    assert "measured -0.25" in claims_text(judge(0.6, margin=-0.25))


def test_flagged_estimates_make_a_verdict_provisional():
    assert judge(0.6)[1].note == ""
    assert "provisional: flagged at width 8, 16, 32, 64" in claims_text(judge(0.6, flags="not converged"))
    rows = made_up_rows(0.6, flags="not converged")
    assert scaling._table(rows, scaling._fits(rows), 0.5).count("not converged") == 4


# --- the run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, scaling.reproduce(TINY, folder)


def test_every_file_is_written_and_complete(finished):
    folder, result = finished
    assert result.files == tuple(folder / f"soft-rank-scaling.{form}" for form in FORMATS)
    files = contents(folder)
    assert set(files) == {path.name for path in result.files}
    assert files["soft-rank-scaling.png"].startswith(b"\x89PNG")
    assert files["soft-rank-scaling.svg"].rstrip().endswith(b"</svg>")
    assert result.table in files["soft-rank-scaling.txt"].decode()
    for claim in result.claims:
        assert claim.statement in files["soft-rank-scaling.txt"].decode()


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
    seeds = [scaling._job(scaling.PRESETS["paper"], number).options["seed"] for number in range(18)]
    assert len(set(seeds)) == 18


def test_presets_are_the_published_figure():
    for name, widths in (("quick", [8, 16, 32, 64]), ("paper", [8, 16, 32, 64, 128, 256])):
        grid = scaling.PRESETS[name].grid
        assert [(s.gamma, s.width) for s in grid] == [(g, d) for g in (0.01, 1.0, math.inf) for d in widths]
    assert all(s.layers == 1_000_000 and s.every == 1 for s in scaling.PRESETS["paper"].grid)


def test_finished_settings_are_not_recomputed(finished, monkeypatch):
    folder, result = finished
    before = contents(folder)

    def idle(*args):
        return dataclasses.replace(backends_choose(*args), advance=lambda *_: pytest.fail("recomputed"))

    backends_choose = backends.choose
    monkeypatch.setattr(backends, "choose", idle)
    again = scaling.reproduce(TINY, folder)
    assert again == result
    assert contents(folder) == before


def test_interrupted_run_continues_where_it_stopped(finished, tmp_path, monkeypatch):
    calls = []

    def stop_at_third(*args, **kwargs):
        calls.append(args)
        run = simulate(*args, **kwargs)
        if len(calls) == 3:
            raise Interrupted("stopped", run)
        return run

    monkeypatch.setattr(running, "simulate", stop_at_third)
    with pytest.raises(Interrupted, match=r"run 3 of 6 \(d=16,gamma=1\); the same command continues from"):
        scaling.reproduce(TINY, tmp_path)
    assert contents(tmp_path) == {}
    result = scaling.reproduce(TINY, tmp_path)
    assert (result.table, result.claims) == (finished[1].table, finished[1].claims)


def test_folder_of_other_settings_is_refused(finished):
    other = dataclasses.replace(TINY, seed=8)
    with pytest.raises(ArgumentError, match=r"^out = .* other settings; give another folder .*seed: 7"):
        scaling.reproduce(other, finished[0])


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match=r"^out = .*expected a folder"):
        scaling.reproduce(TINY, tmp_path / "file" / "below")


def test_missing_matplotlib_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(running, "simulate", lambda *_, **__: pytest.fail("simulated"))
    with pytest.raises(ImportError, match=r"pip install matplotlib$"):
        experiments.reproduce("soft-rank-scaling", out=tmp_path)


def test_unknown_names_are_refused():
    with pytest.raises(ArgumentError, match=r"experiment = 'nope': expected one of .*soft-rank-scaling"):
        experiments.reproduce("nope")
    with pytest.raises(ArgumentError, match="preset = 'slow': expected one of quick, paper"):
        experiments.reproduce("soft-rank-scaling", "slow")


def test_every_experiment_has_the_interface():
    for name in experiments.EXPERIMENTS:
        experiment = experiments.load(name)
        assert {"quick", "paper"} <= set(experiment.PRESETS)
        assert callable(experiment.reproduce)
        assert "arXiv:" in experiment.__doc__


@pytest.mark.parametrize(("width", "rank", "r"), [(8, 2.790, 2.248), (16, 4.456, 3.305), (32, 7.041, 4.866)])
def test_row_has_the_known_means(tmp_path, width, rank, r):
    setting = scaling.Setting(width, math.inf, chains=32, burn_in=500, layers=1500, every=1)
    settings = scaling.Settings((setting,), seed=11)
    (run,) = running.run_all([scaling._job(settings, 0)], tmp_path)
    row = scaling._row(run, 0.5)
    assert row.rank == pytest.approx(rank, abs=5 * row.rank_stderr)
    assert row.r == pytest.approx(r, abs=5 * row.r_stderr)
    assert row.rank_stderr < 0.02


def test_figure_is_labelled_reproducible_and_leaves_no_global_state(finished):
    from matplotlib._pylab_helpers import Gcf

    rows = [scaling._row(run, 0.5) for run in running.run_all([scaling._job(TINY, n) for n in range(6)], finished[0])]
    figure = scaling._figure(rows, scaling._fits(rows), TINY.tau, scaling._caption(rows, TINY))
    growth, ratio = figure.axes
    assert not Gcf.figs
    assert growth.get_xscale() == growth.get_yscale() == "log"
    assert [label.get_text() for label in growth.get_xticklabels()] == ["4", "8", "16"]
    assert all("width d" in axes.get_xlabel() and "rank" in axes.get_ylabel() for axes in (growth, ratio))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == 3
    assert any("sqrt{d}" in label for label in labels)
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert caption == finished[1].caption
    assert "tau = 0.5" in caption
    assert "seeds 7 to 12" in caption
    for form in ("png", "svg"):
        assert plotting.rendered(figure, form) == (finished[0] / f"soft-rank-scaling.{form}").read_bytes()
