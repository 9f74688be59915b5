"""How every experiment ends: its findings written as data, table and figure; and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from pyrank import plotting
from pyrank._version import __version__
from pyrank.experiments.claims import Claim, claims_text
from pyrank.experiments.tables import Row
from pyrank.support.files import NotWritten, csv_text, json_text, write_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = ("question", "citation", "table", "caption")
"""What of a result is text."""


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes
    ----------
    name, question, citation
        Of the experiment.
    table
        The numbers as text, aligned.
    claims
        What was checked.
    caption
        Of the figure.
    files
        What was written, and could be: JSON, CSV, text, PNG and SVG.
    """

    name: str
    question: str
    citation: str
    table: str
    claims: tuple[Claim, ...]
    caption: str
    files: tuple[Path, ...] = ()

    @property
    def png(self) -> Path | None:
        """The figure, if it could be written."""
        return next((path for path in self.files if path.suffix == ".png"), None)


def publish(
    result: Result, out: Path, *, settings: Any, rows: Sequence[Row], figure: Figure, more: Mapping[str, object]
) -> Result:
    """Write the findings of an experiment into a folder, created if needed; no file is ever seen half written.

    ``more`` is what else belongs into the JSON file. The result comes back with its files. Those that cannot be written
    are named in a warning, `NotWritten`.
    """
    paths = _paths(result.name, out)
    records = [vars(row) for row in rows]
    everything = {
        **_identity(result.name, settings),
        **{name: getattr(result, name) for name in WORDS},
        "claims": [asdict(claim) for claim in result.claims],
        "rows": records,
        **more,
    }
    contents: dict[Path, str | bytes] = {
        paths["csv"]: csv_text(records),
        paths["txt"]: f"{result.table}\n\n{claims_text(result.claims)}\n",
        paths["png"]: plotting.rendered(figure, "png"),
        paths["svg"]: plotting.rendered(figure, "svg"),
        paths["json"]: json_text(everything),
    }
    with suppress(OSError):  # what writing says is enough
        out.mkdir(parents=True, exist_ok=True)
        paths["json"].unlink(missing_ok=True)  # where it is, the others belong to it
    files, unwritten = write_all(contents)
    if unwritten:
        for path in contents.keys() - set(files):
            with suppress(OSError):
                path.unlink(missing_ok=True)  # of earlier settings
        warn(unwritten, NotWritten, stacklevel=2)
    return replace(result, files=files)


def finished(name: str, out: Path, settings: Any) -> Result | None:
    """Return what this version of pyrank has published in a folder for these settings, or None."""
    paths = _paths(name, out)
    if not all(path.exists() for path in paths.values()):
        return None
    try:
        known = json.loads(paths["json"].read_bytes())
        wanted = json.loads(json_text(_identity(name, settings)))
        if {key: known[key] for key in wanted} != wanted:
            return None
        claims = tuple(Claim.from_dict(fields) for fields in known["claims"])
        return Result(name, claims=claims, **{key: known[key] for key in WORDS}, files=tuple(paths.values()))
    except (ValueError, KeyError, TypeError):  # not a file of ours
        return None


def _identity(name: str, settings: Any) -> dict[str, object]:
    return {"experiment": name, "version": __version__, "settings": asdict(settings)}


def _paths(name: str, out: Path) -> dict[str, Path]:
    return {form: out / f"{name}.{form}" for form in ("csv", "txt", "png", "svg", "json")}
