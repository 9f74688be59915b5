"""What a monitor shows of what it knows: a data frame, a table for terminals and notebooks, a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pyrank import plotting
from pyrank.engine.tables import Column, Report
from pyrank.networks.measures import NetworkMeasure
from pyrank.networks.tally import Cell, Tally
from pyrank.support import optional
from pyrank.support.errors import invalid

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas as pd

MOST_NAMED = 8
"""Layers that a warning names."""

COLUMNS = ["layer", "type", "call", "measure", "mean", "stderr", "min", "max", "batches", "features", "samples"]

_MATRICES = {
    "channels": "features are channels (H is C x B H W, D x B T)",
    "samples": "features are channels at a place (H is C H W x B, T D x B)",
}


@dataclass(frozen=True)
class Row:
    """What is known of one call of a layer; ``cell`` is None if it was never called."""

    layer: str
    type: str
    call: int
    cell: Cell | None
    tallies: list[Tally]

    @property
    def name(self) -> str:
        """Return the layer, with the number of a second call; a network that is the layer has its type for a name."""
        layer = self.layer or self.type
        return f"{layer}[{self.call}]" if self.call else layer

    @property
    def batches(self) -> int:
        """How many batches were measured."""
        return self.cell.batches if self.cell else 0

    @property
    def shape(self) -> tuple[int, int]:
        """Features and samples of the last batch."""
        return self.cell.size if self.cell else (0, 0)

    @property
    def flags(self) -> list[str]:
        """What is wrong with it."""
        if self.cell is None:
            return ["never called"]
        if not self.cell.batches:
            return ["empty batches"]
        reasons = {"no finite number": self.cell.broken, "spread is rounding": self.rounded}
        return [f"{reason} in {count} of {self.batches} batches" for reason, count in reasons.items() if count]

    @property
    def rounded(self) -> int:
        """In how many batches the samples differ by rounding alone; those of a pool are one."""
        if self.cell is None or self.cell.pool is None:
            return self.cell.rounded if self.cell else 0
        return self.batches * self.cell.pool.is_rounding


def describe(matrix: str) -> str:
    """Say what a feature is."""
    return _MATRICES[matrix]


def _listed(names: Sequence[str], of: int) -> str:
    more = f", ... ({len(names)} of {of})" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def remarks(rows: Sequence[Row], skipped: Mapping[str, str]) -> list[str]:
    """Return, one line each, what is to be known of the numbers: what was not seen, and which are rounding."""
    found = []
    uncalled = [row.name for row in rows if row.cell is None and row.layer not in skipped]
    if uncalled:
        found.append(
            f"never called: {_listed(uncalled, len(rows))}: the network has not run while watched, or did not take "
            "this branch; or another module uses its weights without a call (out_proj of MultiheadAttention); or "
            "torch.compile made the code before the hooks were set: start the monitor first, or watch the model "
            "uncompiled"
        )
    missed = {row.name: skipped[row.layer] for row in rows if row.layer in skipped}
    if missed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missed.items())
        found.append(f"layers without a hidden matrix are left out, or what has none: {reasons}")
    rounded = [row.name for row in rows if row.rounded]
    if rounded:
        found.append(
            f"samples differ by rounding alone: {_listed(rounded, len(rows))}: what is left of them when centred is "
            "noise of the precision in which the network computes: watch it in float64, or without centre"
        )
    return found


def frame(rows: Sequence[Row], measures: Sequence[NetworkMeasure], options: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each call and measure; ``attrs`` holds the options."""
    lines = [
        {
            "layer": row.layer, "type": row.type, "call": row.call, "measure": str(what),
            "mean": tally.mean, "stderr": tally.stderr, "min": tally.low, "max": tally.high,
            "batches": row.batches, "features": row.shape[0], "samples": row.shape[1],
        }
        for row in rows for what, tally in zip(measures, row.tallies, strict=True)
    ]  # fmt: skip
    table = optional.load("pandas", "table").DataFrame(lines, columns=COLUMNS)
    table.attrs.update(options)
    return table


def report(rows: Sequence[Row], measures: Sequence[NetworkMeasure], caption: str, skipped: Mapping[str, str]) -> Report:
    """Return the table that is printed: a line for each call, a column for each measure."""
    columns = [Column("type", "type", ">14"), Column("size", "H", ">12")]
    columns += [Column(str(what), str(what), ">12.6g") for what in measures]
    entries = {
        row.name: SimpleNamespace(
            type=row.type, size=f"{row.shape[0]} x {row.shape[1]}", flags=row.flags,
            **{str(what): tally.mean for what, tally in zip(measures, row.tallies, strict=True)},
        )
        for row in rows
    }  # fmt: skip
    below = [f"left out: {name or 'the network itself'}, {reason}" for name, reason in skipped.items()]
    return Report([caption], "layer", entries, columns, below)


def picture(
    rows: Sequence[Row], measures: Sequence[NetworkMeasure], wanted: Sequence[NetworkMeasure], caption: str
) -> matplotlib.figure.Figure:
    """Draw the mean of each wanted measure against depth."""
    plotting.require()
    from pyrank.plotting.profile import Profile, profile

    seen = [row for row in rows if row.batches]
    if not seen:
        raise invalid("layers", [row.layer for row in rows][:MOST_NAMED], "layers that were called",
                      "run the network inside of the monitor")  # fmt: skip
    unknown = [str(what) for what in wanted if what not in measures]
    if unknown:
        raise invalid("measures", unknown, f"some of {', '.join(map(str, measures))}", "measure it first")
    profiles = []
    for what in wanted:
        tallies = [row.tallies[measures.index(what)] for row in seen]
        mean, low, high = ([getattr(tally, name) for tally in tallies] for name in ("mean", "low", "high"))
        profiles.append(Profile(str(what), mean, low, high))
    return profile([row.name for row in seen], profiles, title="Rank against depth", caption=f"{caption}.")
