"""One list of columns: what it keeps, how it is written, and what it refuses."""

import pytest

from pyrank.experiments import Column, Row
from pyrank.experiments.tables import records, written

COLUMNS = (
    Column("width", "d", meaning="features"),
    Column("rank", "rank", error="stderr", meaning="mean"),
    Column("stderr"),
    Column("", "half", lambda row: f"{row.width / 2:g}"),
    Column("share", "share", ".0%"),
    Column("flags", "flags"),
)
ROWS = [{"rank": 7.04123, "width": 4096, "stderr": 0.00213, "share": 0.5, "flags": ""},
        {"rank": 2.0, "width": 8, "stderr": 0.5, "share": 1.0, "flags": "degenerate"}]  # fmt: skip


def test_rows_hold_what_columns_name_in_their_order():
    rows = records(COLUMNS, ROWS)
    assert list(vars(rows[0])) == ["width", "rank", "stderr", "share", "flags"]
    assert rows[1] == Row(width=8, rank=2.0, stderr=0.5, share=1.0, flags="degenerate")


@pytest.mark.parametrize("row", [ROWS[0] | {"more": 1}, {"width": 1}])
def test_a_row_must_fit_its_columns(row):
    with pytest.raises(KeyError, match="in a row or declared, not in both"):
        records(COLUMNS, [row])


def test_text_has_headings_errors_note_and_legend():
    assert written(COLUMNS, records(COLUMNS, ROWS), "± one standard error.").splitlines() == [
        "    d             rank  half  share  flags",
        "4,096  7.0412 ± 0.0021  2048    50%  -",
        "    8      2.00 ± 0.50     4   100%  degenerate",
        "± one standard error.",
        "d: features; rank: mean.",
    ]
