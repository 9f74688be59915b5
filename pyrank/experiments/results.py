"""How every experiment ends: its findings written as data, table and figure; and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrank import plotting
from pyrank._version import __version__
from pyrank.experiments.claims import Claim, claims_text
from pyrank.support.files import csv_text, json_text, prepare_folder, write

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
        The numbers for people, see `pyrank.support.text.text_table`.
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
    paths = _paths(name, out)
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
    paths["json"].unlink(missing_ok=True)  # where it is, the others belong to it
    write(paths["csv"], csv_text(columns))
    write(paths["txt"], f"{table}\n\n{claims_text(claims)}\n")
    write(paths["png"], plotting.rendered(figure, "png"))
    write(paths["svg"], plotting.rendered(figure, "svg"))
    write(paths["json"], json_text(everything))
    return Result(name, table, tuple(claims), caption, tuple(paths.values()))


def finished(name: str, out: Path, settings: Any) -> Result | None:
    """Return what this version of pyrank has published in a folder for these settings, or None."""
    paths = _paths(name, out)
    if not all(path.exists() for path in paths.values()):
        return None
    try:
        known = json.loads(paths["json"].read_bytes())
        wanted = {"experiment": name, "version": __version__, "settings": json.loads(json_text(asdict(settings)))}
        if {key: known[key] for key in wanted} != wanted:
            return None
        claims = tuple(_claim(fields) for fields in known["claims"])
        return Result(name, known["table"], claims, known["caption"], tuple(paths.values()))
    except (ValueError, KeyError, TypeError):  # not a file of ours
        return None


def _paths(name: str, out: Path) -> dict[str, Path]:
    return {form: out / f"{name}.{form}" for form in ("csv", "txt", "png", "svg", "json")}


def _claim(fields: Mapping[str, Any]) -> Claim:
    numbers = {key: None if fields[key] is None else float(fields[key]) for key in ("value", "error")}
    return Claim(**{**fields, **numbers})
