"""What experiments write: complete, exact, and read again only if it is the same."""

import csv
import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from pyrank import plotting
from pyrank.experiments import Claim, Result, Row, results
from pyrank.support import files
from pyrank.support.text import plus_minus, span, text_table

FORMATS = ("csv", "txt", "png", "svg", "json")
CLAIMS = (
    Claim("published", "a > b", "A 2020, Theorem 1", 0.1 + 0.2, 0.125, "0.30 ± 0.12", "at least 0", "holds"),
    Claim("published", "c > d", "A 2020, Fig. 2", math.nan, None, "nan", "1", "undecided", "as it is", "a note"),
    Claim("extension", "e > f", "A 2020, Fig. 3", 1.0, math.inf, "1 ± inf", "at most 2", "undecided"),
)


@dataclass(frozen=True)
class Settings:
    widths: tuple[int, ...] = (8, 16)
    gamma: float = math.inf


def published(folder, settings=Settings(), rank=0.1 + 0.2):
    figure, (axes,) = plotting.sheet(title="A title", caption="A caption.")
    plotting.points(axes, [8, 16], [1, 2], None, 0, "points")
    rows = [Row(width=8, rank=rank), Row(width=16, rank=np.float64(2))]
    more = {"angles": np.array([[1.0, math.inf], [2.5, 3.0]]), "n": np.int64(3)}
    result = Result("made-up", "What?", "A: title, 2020.", "a table", CLAIMS, "A caption.")
    return results.publish(result, folder, settings=settings, rows=rows, figure=figure, more=more)


def same(result):
    """The parts of a result; NaN is equal to itself in them."""
    return repr(result)


# --- publish and read ------------------------------------------------------------------------------------------------


def test_published_files_hold_everything(tmp_path):
    folder = tmp_path / "new" / "folder"
    result = published(folder)
    assert result.files == tuple(folder / f"made-up.{form}" for form in FORMATS)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in result.files)
    assert result.png == folder / "made-up.png"
    assert (result.name, result.table, result.claims, result.caption) == ("made-up", "a table", CLAIMS, "A caption.")
    data = json.loads((folder / "made-up.json").read_text(), parse_constant=pytest.fail)
    assert data["settings"] == {"widths": [8, 16], "gamma": "inf"}
    assert data["rows"] == [{"width": 8, "rank": 0.1 + 0.2}, {"width": 16, "rank": 2.0}]
    assert (data["angles"], data["n"]) == ([[1.0, "inf"], [2.5, 3.0]], 3)
    assert data["claims"][1] == {
        "kind": "published", "statement": "c > d", "source": "A 2020, Fig. 2", "value": "nan", "error": None,
        "measured": "nan", "expected": "1", "verdict": "undecided", "reading": "as it is", "note": "a note",
    }  # fmt: skip
    assert (data["question"], data["citation"]) == ("What?", "A: title, 2020.")
    with (folder / "made-up.csv").open() as file:
        assert [float(row["rank"]) for row in csv.DictReader(file)] == [0.1 + 0.2, 2.0]
    text = (folder / "made-up.txt").read_text()
    assert text.startswith(
        "a table\n\nHOLDS: a > b\n    measured 0.30 ± 0.12, wanted at least 0  (A 2020, Theorem 1)\n"
    )
    assert "    a note\n" in text


def test_finished_result_is_read_again(tmp_path):
    assert results.finished("made-up", tmp_path, Settings()) is None
    result = published(tmp_path)
    assert same(results.finished("made-up", tmp_path, Settings())) == same(result)


def test_other_settings_versions_and_names_are_not_read(tmp_path, monkeypatch):
    published(tmp_path)
    assert results.finished("made-up", tmp_path, replace(Settings(), gamma=1.0)) is None
    assert results.finished("other", tmp_path, Settings()) is None
    monkeypatch.setattr(results, "__version__", "9.9.9")
    assert results.finished("made-up", tmp_path, Settings()) is None


@pytest.mark.parametrize("form", FORMATS)
def test_incomplete_result_is_not_read(form, tmp_path):
    published(tmp_path)
    (tmp_path / f"made-up.{form}").unlink()
    assert results.finished("made-up", tmp_path, Settings()) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "\ud800"])
def test_file_of_another_kind_is_not_read(text, tmp_path):
    published(tmp_path)
    (tmp_path / "made-up.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert results.finished("made-up", tmp_path, Settings()) is None


def test_interrupted_write_is_not_taken_for_a_finished_one(tmp_path, monkeypatch):
    published(tmp_path)
    write, done = files.write, []

    def stop_at_third(path, content):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(path)
        return write(path, content)

    monkeypatch.setattr(files, "write", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        published(tmp_path, settings=replace(Settings(), gamma=1.0), rank=7.0)
    assert results.finished("made-up", tmp_path, Settings()) is None
    assert results.finished("made-up", tmp_path, replace(Settings(), gamma=1.0)) is None


# --- numbers, tables and files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(7.04123, 0.00213, "7.0412 ± 0.0021"), (7.0, 12.3, "7 ± 12"), (0.661, 0.028, "0.661 ± 0.028"),
     (1234.5, 0.0, "1234 ± 0"), (1.5, math.nan, "1.5 ± nan")],
)  # fmt: skip
def test_plus_minus(value, error, text):
    assert plus_minus(value, error) == text


def test_table_columns_line_up():
    lines = text_table(("a", "long", "flags"), [("1", "2", "-"), ("100", "2.5", "not converged")]).splitlines()
    assert lines == ["  a  long  flags", "  1     2  -", "100   2.5  not converged"]


def test_json_is_strict_and_keeps_every_number():
    data = {"x": [0.1 + 0.2, math.inf, -math.inf, math.nan, 1, None], "y": {"z": (True, "é")}}
    read = json.loads(files.json_text(data), parse_constant=pytest.fail)
    assert read == {"x": [0.1 + 0.2, "inf", "-inf", "nan", 1, None], "y": {"z": [True, "é"]}}


def test_failed_write_leaves_the_old_file(tmp_path):
    path = files.write(tmp_path / "x.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        files.write(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize(("values", "text"), [([32, 32], "32"), ([4096, 8, 64], "8 to 4,096"), ([0.5], "0.5")])
def test_span(values, text):
    assert span(values) == text
