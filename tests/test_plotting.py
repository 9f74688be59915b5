"""Figures: everything has room, series differ, the same figure gives the same bytes."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pyrank import plotting

pytest.importorskip("matplotlib")
from matplotlib import rcParams
from matplotlib._pylab_helpers import Gcf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

SHORT = "Width d = 8, seed 0."
LONG = "Width d = 32 features, batch N = 32 samples, gamma = 0.01, $H H^T / N$ averaged over 1,000 layers. " * 6
X = np.arange(1.0, 101.0)


def drawn(*, title="How the rank grows", caption=SHORT, series=2, **options):
    """A figure that uses everything."""
    figure, axes = plotting.sheet(title=title, caption=caption, **options)
    for each in axes:
        each.set_title("a panel")
        each.set_xlabel("layer l")
        each.set_ylabel("participation ratio r")
        for number in range(series):
            plotting.band(
                each, X, X + number, X + number - 2, X + number + 1, number, f"gaussian weights, run {number}"
            )
        plotting.points(each, X[::20], X[::20], np.ones(5), series, "measured")
        plotting.curve(each, X, X, series)
        plotting.each(each, X, [X, 2 * X], series)
        plotting.guide(each, X, 2 * X, r"guide: $2\,\ell$")
    plotting.legend(figure)
    return figure


def boxes(figure):
    """Where title, axes with their labels, legend and caption are, in pixels, from above."""
    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    title, caption = figure._suptitle, next(text for text in figure.texts if text is not figure._suptitle)
    axes = [each.get_tightbbox(renderer) for each in figure.axes]
    return [title.get_window_extent(renderer), axes, figure.legends[0].get_window_extent(renderer),
            caption.get_window_extent(renderer)]  # fmt: skip


@pytest.mark.parametrize(
    ("title", "caption"), [("Rank", SHORT), ("A title that takes more than a line. " * 4, LONG)], ids=["short", "long"]
)
@pytest.mark.parametrize("series", [1, 9])
@pytest.mark.parametrize("options", [{"size": (5, 4)}, {"rows": 2, "columns": 2, "size": (10, 7), "sharex": True}],
                         ids=["one", "four"])  # fmt: skip
def test_nothing_overlaps_and_nothing_is_cut_off(title, caption, series, options):
    figure = drawn(caption=caption, title=title, series=series, **options)
    title_box, axes, legend, caption_box = boxes(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for box in (title_box, *axes, legend, caption_box):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    for box in axes:
        assert title_box.y0 >= box.y1
        assert box.y0 >= legend.y1
    assert legend.y0 >= caption_box.y1
    for one, other in itertools.combinations(axes, 2):
        assert not one.overlaps(other)


def test_caption_and_legend_take_nothing_from_the_axes():
    heights = [drawn(caption=caption, series=series) for caption, series in ((SHORT, 1), (LONG, 9))]
    small, large = (figure.get_size_inches()[1] * figure.axes[0].get_position().height
                    for figure in heights if figure.draw_without_rendering() is None)  # fmt: skip
    assert large == pytest.approx(small, rel=0.02)


def test_words_and_formulas_of_a_caption_are_kept():
    figure, _ = plotting.sheet(title="t", caption=LONG, size=(4, 3))
    lines = figure.texts[-1].get_text().split("\n")
    assert len(lines) > 6
    assert " ".join(lines) == LONG.strip()
    assert all(line.count("$") % 2 == 0 for line in lines)


def test_axes_come_row_by_row():
    _, axes = plotting.sheet(title="t", caption=SHORT, rows=2, columns=3, sharey=True)
    assert [each.get_subplotspec().num1 for each in axes] == list(range(6))
    assert len(plotting.sheet(title="t", caption=SHORT)[1]) == 1


def test_legend_names_each_series_once():
    figure = drawn(rows=1, columns=2, series=3)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == len(set(labels)) == 5


def test_42_series_differ_in_colour_or_marker():
    assert len({(plotting.colour(number), plotting.marker(number)) for number in range(42)}) == 42
    assert len({plotting.colour(number) for number in range(6)}) == 6
    assert len({plotting.marker(number) for number in range(7)}) == 7


def test_marks_show_the_numbers():
    _, (axes,) = plotting.sheet(title="t", caption=SHORT)
    plotting.band(axes, X, 2 * X, X, 3 * X, 1, "a band")
    (line,) = axes.lines
    assert (line.get_label(), line.get_color(), line.get_marker()) == ("a band", plotting.colour(1), "s")
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([X, 2 * X]))
    corners = axes.collections[0].get_paths()[0].vertices
    assert {tuple(corner) for corner in np.column_stack([X, X])} <= set(map(tuple, corners))
    assert {tuple(corner) for corner in np.column_stack([X, 3 * X])} <= set(map(tuple, corners))
    plotting.points(axes, [1, 2], [5, 6], [[0.5, 0.25], [1, 2]], 2, "points")
    bars = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(bars, [[[1, 4.5], [1, 6]], [[2, 5.75], [2, 8]]])
    assert to_hex(axes.containers[0].lines[0].get_color()).upper() == plotting.colour(2)


def test_log_ticks_are_plain_numbers():
    _, (axes,) = plotting.sheet(title="t", caption=SHORT)
    plotting.points(axes, [8, 16, 1024], [1, 2, 3], None, 0)
    plotting.log_ticks(axes.xaxis, [16, 8, 1024, 8])
    plotting.log_ticks(axes.yaxis, [1, 2.5])
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "16", "1024"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2.5"]
    assert len(axes.get_xticks(minor=True)) == 0


@pytest.mark.parametrize(("values", "written"), [
    ((0.9, 11.0), {"1", "2", "3", "10"}),
    ((1e-6, 1.0), {r"$\mathdefault{10^{-4}}$"}),
])  # fmt: skip
def test_logarithmic_axes_of_one_decade_have_plain_numbers(values, written):
    panel = plotting.Panel(lambda axes, found: axes.plot(found, label="y"), yscale="log")
    figure = plotting.Sheet("a title", [panel]).figure(values, SHORT)
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    assert written <= {text.get_text() for text in axis.get_ticklabels() + axis.get_ticklabels(minor=True)}


def test_a_sheet_leaves_ticks_that_were_set():
    figure = plotting.Sheet("a title", [
        plotting.Panel(lambda axes, found: (axes.plot(found, found, label="y"), plotting.log_ticks(axes.xaxis, found)))
    ]).figure((8, 12, 20), SHORT)  # fmt: skip
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["8", "12", "20"]


def test_same_figure_gives_the_same_bytes_and_touches_no_global_state():
    before, shown = dict(rcParams), dict(Gcf.figs)
    figure = drawn(caption=LONG, columns=2)
    files = [plotting.rendered(figure, form) for form in ("png", "svg", "pdf") * 2]
    again = drawn(caption=LONG, columns=2)
    assert files == [plotting.rendered(again, form) for form in ("png", "svg", "pdf")] * 2
    assert files[2].startswith(b"%PDF")
    assert files[0].startswith(b"\x89PNG")
    assert ET.fromstring(files[1]).tag.endswith("svg")  # noqa: S314, it is ours
    assert not re.search(rb"<dc:date>", files[1])
    assert dict(rcParams) == before
    assert shown == Gcf.figs


def test_series_stand_side_by_side():
    """Two per cent of the span apart, around the true value, on either kind of axis."""
    x = [1.0, 10.0, 100.0]
    left, middle, right = (plotting.marks.beside(x, x, number, 3, log=True) for number in range(3))
    np.testing.assert_allclose(np.log10(right) - np.log10(middle), 0.02 * 2)
    np.testing.assert_allclose(left * right, middle**2)
    np.testing.assert_array_equal(middle, x)
    np.testing.assert_allclose(plotting.marks.beside([0, 50], [0, 100], 1, 2, log=False), [1.0, 51.0])
    np.testing.assert_array_equal(plotting.marks.beside([7], [7], 1, 2, log=False), [7.0])
