"""How every experiment ends: its findings written as data, table and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrank import plotting
from pyrank._version import __version__
from pyrank.experiments.claims import Claim, claims_text
from pyrank.experiments.output import csv_text, json_text, prepare_folder, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes
    ----------
    name
        The experiment.
    table
        The numbers as text, aligned.
    claims
        What was checked.
    caption
        Of the figure.
    files
        What was written: JSON, CSV, text, PNG and SVG.
    """

    name: str
    table: str
    claims: tuple[Claim, ...]
    caption: str
    files: tuple[Path, ...]

    @property
    def png(self) -> Path:
        """The figure."""
        return next(path for path in self.files if path.suffix == ".png")


def publish(
    name: str,
    out: Path,
    *,
    settings: Any,
    rows: Sequence[Any],
    table: str,
    claims: Sequence[Claim],
    figure: Figure,
    caption: str,
    data: Mapping[str, object] | None = None,
) -> Result:
    """Write the findings of an experiment into a folder; no file is ever seen half written.

    Parameters
    ----------
    name
        The experiment, and the name of its files.
    out
        Folder, created if needed.
    settings
        What was computed: a dataclass.
    rows
        The numbers: dataclasses of one type whose fields become the columns of the CSV file.
    table
        The numbers for people, see `pyrank.experiments.output.text_table`.
    claims
        What was checked.
    figure
        See `pyrank.plotting`.
    caption
        The words below the figure.
    data
        What else belongs into the JSON file, under names of its own.

    Returns
    -------
    Result
    """
    prepare_folder("out", out)
    columns = [asdict(row) for row in rows]
    everything = {
        "experiment": name,
        "version": __version__,
        "settings": asdict(settings),
        "rows": columns,
        "table": table,
        "claims": [asdict(claim) for claim in claims],
        "caption": caption,
        **(data or {}),
    }
    files = (
        write(out / f"{name}.csv", csv_text(columns)),
        write(out / f"{name}.txt", f"{table}\n\n{claims_text(claims)}\n"),
        write(out / f"{name}.png", plotting.rendered(figure, "png")),
        write(out / f"{name}.svg", plotting.rendered(figure, "svg")),
        write(out / f"{name}.json", json_text(everything)),  # the last one: where it is, the others are
    )
    return Result(name, table, tuple(claims), caption, files)
