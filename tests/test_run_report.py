"""How results show themselves: as text, as HTML, as a data frame, as a figure."""

import html.parser
import itertools
import math
import re
import signal

import numpy as np
import pytest
import torch

import pyrank
from pyrank import plotting
from pyrank.engine.tables import MEAN, Report
from pyrank.estimate.running import running_mean

OPTIONS = {"chains": 3, "progress": False}
COLUMNS = ["measure", "mean", "stderr", "ess", "r-hat", "flags"]


def lost(H):
    return torch.full((len(H),), math.nan, dtype=H.dtype)


def five(H):
    return torch.full((len(H),), 5.0, dtype=H.dtype)


def simulate(chain=None, depth=300, **options):
    return pyrank.simulate(chain or pyrank.Chain(6, 5, gamma=0.5), depth, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def run():
    return simulate(measures=["trace", "soft_rank(0.5)", lost, "singular_values(2)"], burn_in=20, snapshot_every=3)


@pytest.fixture(scope="module")
def spectrum():
    return pyrank.lyapunov_spectrum(pyrank.Chain(3, normalization="none"), 400, **OPTIONS)


# --- tables ----------------------------------------------------------------------------------------------------------


class Table(html.parser.HTMLParser):
    """Reads cells and other text, and fails on what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.lines, self.sides = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.sides.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.sides[-1].append(re.search("text-align: (left|right)", dict(attributes)["style"])[1])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.lines.append(data)


def cells_of_text(text):
    """Cells of a printed table, which stand two spaces or more apart, and the lines around it."""
    above, table, *below = [part.splitlines() for part in text.split("\n\n")]
    return [re.split(r" {2,}", line.strip()) for line in table], [*above, *itertools.chain(*below)]


def test_text_and_html_say_the_same(run, spectrum):
    for thing in (run, spectrum):
        rows, lines = cells_of_text(str(thing))
        table = Table(thing._repr_html_())
        assert (table.rows, table.lines) == (rows, lines)
        assert repr(thing) == str(thing)
    assert rows[0] == ["k", "exponent", "stderr", "r-hat", "flags"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]


def test_tables_show_the_numbers(run):
    heading, *rows = Table(run._repr_html_()).rows
    assert heading == COLUMNS
    assert [row[0] for row in rows] == list(run)
    for row, e in zip(rows, run.values(), strict=True):
        np.testing.assert_allclose([float(cell) for cell in row[1:5]], [e.mean, e.stderr, e.ess, e.rhat], rtol=0.05)
        assert row[5] == (", ".join(e.flags) or "-")


def test_numbers_are_to_the_right_and_words_to_the_left(run):
    for sides in Table(run._repr_html_()).sides:
        assert sides == ["left", *["right"] * 4, "left"]


def test_html_brings_no_colours_of_its_own(run, spectrum):
    for thing in (run, spectrum):
        assert not re.search(r"color|background|#[0-9a-f]{3}", thing._repr_html_())


def test_html_is_escaped(run):
    odd = "<b>&'bold'"
    table = Table(Report([odd], odd, {odd: run["trace"]}, [MEAN], [odd]).html())
    assert [row[0] for row in table.rows] == [odd, odd]
    assert table.lines == [odd, odd]


@pytest.mark.parametrize(
    ("normalization", "named"),
    [("batch", "batch"), (pyrank.Normalization(recentre=True), "batch"), ("none", "none"),
     (pyrank.Normalization(order=1), "Normalization(order=1.0)")],
)  # fmt: skip
def test_the_law_of_a_layer_is_told(normalization, named):
    run = simulate(pyrank.Chain(6, activation="relu", normalization=normalization, weights="uniform"), depth=5)
    law = f"3 chains of width 6, batch 6, gamma inf, relu, {named}, uniform W, float32"
    assert str(run).splitlines()[0] == law
    assert run.plot("participation_ratio")._suptitle.get_text() == law


def test_a_run_without_measures_has_no_table():
    run = simulate(measures=[])
    assert Table(run._repr_html_()).rows == []
    assert "measure" not in str(run)
    assert str(run).splitlines()[-1].startswith("degenerate rows: ")


# --- data ------------------------------------------------------------------------------------------------------------


def test_data_frame_has_a_row_for_each_measure(run):
    frame = run.to_dataframe()
    assert list(frame.index) == list(run)
    assert frame.index.name == "measure"
    for name, e in run.items():
        for number in ("mean", "stderr", "ess", "rhat", "std", "min", "max", "count"):
            np.testing.assert_equal(frame.loc[name, number], getattr(e, number))
    assert frame.loc["lost", "flags"] == "not converged, degenerate"
    assert set(frame.columns) == set(run.to_dict()["estimates"]["trace"])


def test_data_frame_of_nothing_has_the_same_columns(run):
    empty = simulate(measures=[]).to_dataframe()
    assert len(empty) == 0
    assert list(empty.columns) == list(run.to_dataframe().columns)


# --- figures ---------------------------------------------------------------------------------------------------------


def panels(figure):
    """Rows of three axes: paths, histogram, running mean."""
    return np.array(figure.axes).reshape(-1, 3)


def caption(figure):
    (text,) = (text.get_text() for text in figure.texts if text is not figure._suptitle)
    return text.replace("\n", " ")


def test_a_row_for_each_measure_with_its_headline(run):
    rows = panels(run.plot())
    titles = [row[0].get_title(loc="left") for row in rows]
    assert titles == [f"{name}: {e}" for name, e in run.items()]


def test_measures_can_be_chosen_in_any_spelling(run):
    rows = panels(run.plot("singular_values(2)[1]", pyrank.Measure("soft_rank", 0.5)))
    assert [row[0].get_title(loc="left").split(":")[0] for row in rows] == ["singular_values(2)[1]", "soft_rank(0.5)"]
    with pytest.raises(pyrank.ArgumentError, match="participation_ratio"):
        run.plot("participation_ratio")


def test_paths_are_the_trace_at_its_layers():
    """Layers 20 to 299 hold 280 samples, each 8th of which fits into the trace, and 94 snapshots, each 2nd of which."""
    run = simulate(measures=["trace", "stable_rank"], burn_in=20, snapshot_every=3, trace=64)
    data = run.to_xarray()
    for name, coordinate, layers in (("trace", "layer", range(20, 300, 8)),
                                     ("stable_rank", "snapshot_layer", range(20, 300, 6))):  # fmt: skip
        np.testing.assert_array_equal(data[coordinate], layers)
        ((paths, _, _),) = panels(run.plot(name))
        for chain, line in enumerate(paths.lines):
            np.testing.assert_array_equal(line.get_xdata(), layers)
            np.testing.assert_array_equal(line.get_ydata(), run[name].trace[chain])
        assert len(paths.lines) == 3


def test_histograms_are_shares_of_all_samples(run):
    (_, ranks, _), (_, values, _) = panels(run.plot("soft_rank(0.5)", "trace"))
    bars = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in ranks.patches}
    counts = run["soft_rank(0.5)"].histogram.sum(axis=0)
    assert bars == {rank: pytest.approx(count / counts.sum()) for rank, count in enumerate(counts) if count}
    assert sum(bar.get_width() for bar in values.patches) == pytest.approx(1)


def test_the_mean_ends_at_the_estimate(run):
    ((_, _, mean),) = panels(run.plot("trace"))
    line, e = mean.lines[0], run["trace"]
    running = running_mean(e.batch_means, e.batch_length)
    np.testing.assert_array_equal(line.get_xdata(), 20 + running.samples - 1)
    np.testing.assert_array_equal(line.get_ydata(), running.mean)
    assert line.get_xdata()[-1] == 299  # 280 samples fill their batches
    assert line.get_ydata()[-1] == pytest.approx(e.mean, rel=1e-12)


def test_what_is_not_finite_is_said(run):
    ((paths, histogram, mean),) = panels(run.plot("lost"))
    assert [axes.texts[0].get_text() for axes in (paths, histogram, mean)] == ["no finite value"] * 3


def test_constants_are_drawn():
    ((paths, histogram, _),) = panels(simulate(measures=[five]).plot())
    assert set(paths.lines[0].get_ydata()) == {5.0}
    (segment,) = histogram.collections[0].get_segments()
    np.testing.assert_array_equal(segment, [[0, 5], [1, 5]])


def test_without_a_trace_chains_are_drawn_by_their_batches():
    run = simulate(trace=0, depth=1_000)
    figure = run.plot()
    (paths, values, _), (_, ranks, _) = panels(figure)
    np.testing.assert_array_equal(paths.lines[1].get_ydata(), run["participation_ratio"].batch_means[1])
    assert values.texts[0].get_text() == "needs a trace"
    assert ranks.patches
    assert "means of batches" in caption(figure)
    assert "means of batches" not in caption(simulate(trace=0, depth=100).plot())  # a batch is a sample


def test_few_of_many_chains_are_drawn_and_the_caption_says_so():
    figure = simulate(chains=1_000, depth=20, measures=["trace"]).plot()
    assert len(figure.axes[0].lines) == 6
    assert "chains 0 to 5 of 1,000" in caption(figure)
    assert "chains 0 to" not in caption(simulate(chains=6, depth=20).plot())


def test_few_of_many_measures_are_drawn_unless_named():
    run = simulate(pyrank.Chain(13), measures=["singular_values(13)"], depth=20)
    figure = run.plot()
    assert len(panels(figure)) == 12
    assert "12 of 13 measures" in caption(figure)
    assert len(panels(run.plot(*run))) == 13


@pytest.mark.parametrize("chains", [1, 2])
def test_a_single_layer_can_be_drawn(chains):
    figure = simulate(depth=4, burn_in=3, chains=chains).plot()
    paths, _, mean = figure.axes[:3]
    assert [line.get_marker() for line in paths.lines] == ["o"] * chains
    assert mean.containers
    assert plotting.rendered(figure, "png")


def test_a_run_stopped_within_its_burn_in_can_be_drawn():
    def stop(layers):
        if layers:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(pyrank.Interrupted) as stopped:
        simulate(depth=10**6, burn_in=10**6 - 1, progress=stop)
    texts = [axes.texts[0].get_text() for axes in stopped.value.run.plot().axes]
    assert set(texts) == {"no finite value"}


def test_nothing_recorded_is_a_mistake():
    with pytest.raises(pyrank.ArgumentError, match="measures"):
        simulate(measures=[]).plot()


def test_figures_show_themselves_in_notebooks(run, spectrum):
    for figure in (run.plot("trace"), spectrum.plot()):
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_spectrum_is_drawn_with_its_intervals(spectrum):
    (axes,) = spectrum.plot().axes
    bars = axes.containers[0].lines[2][0].get_segments()
    expected = [[[k, low], [k, high]] for k, (low, high) in enumerate((e.interval() for e in spectrum.estimates), 1)]
    np.testing.assert_allclose(bars, expected)


def test_exponents_that_are_lost_are_left_out():
    chain = pyrank.Chain(3, normalization="none", weights=pyrank.Weights(mean=1.0, scale=0.0))
    figure = pyrank.lyapunov_spectrum(chain, 400, **OPTIONS).plot()
    np.testing.assert_allclose(figure.axes[0].containers[0].lines[0].get_xydata(), [[1, math.log(3)]])
    assert "2 of 3 are not finite" in caption(figure)
