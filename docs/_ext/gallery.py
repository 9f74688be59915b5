"""A gallery of reproduced results: one page for each experiment that `pyrank reproduce all` left in a folder.

An experiment is a folder ``name`` with ``name.json``, which holds its claims and perhaps a caption, and ``name.png``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyrank.experiments import EXPERIMENTS, Claim

HOW = "pyrank reproduce all --preset quick"
INTRODUCTION = f"""\
Each page is one published result: the figure, and the claims that were checked, with measured value, 95 % interval and
verdict. Everything here comes from one command, `{HOW}`.
"""


def write_gallery(results: Path, out: Path) -> list[str]:
    """Write the pages of all experiments found in ``results`` into the folder ``out``, and an index of them.

    Returns
    -------
    list of str
        Names of the experiments.
    """
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    found = {path.parent.name: path for path in sorted(results.glob("*/*.json")) if path.stem == path.parent.name}
    verdicts = {name: _write_page(name, path, out) for name, path in found.items()}
    (out / "index.md").write_text(_index(verdicts, results), encoding="utf-8")
    return list(verdicts)


def _write_page(name: str, path: Path, out: Path) -> str:
    """Write the page of one experiment; return its verdicts in a few words."""
    data = json.loads(path.read_text(encoding="utf-8"))
    claims = [_claim(entry) for entry in data.get("claims", [])]
    parts = [f"# {name}", prose(EXPERIMENTS.get(name, ""))]
    figure = path.with_suffix(".png")
    if figure.exists():
        shutil.copyfile(figure, out / figure.name)
        parts.append(f"![Figure of {name}]({figure.name})")
    parts += [prose(data.get("caption") or ""), _table(claims), f"Settings and data: `{path.parent.name}/{path.name}`."]
    (out / f"{name}.md").write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    verdicts = [claim.verdict for claim in claims]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))


def _claim(entry: Mapping[str, Any]) -> Claim:
    """Read a claim; JSON writes numbers that are not finite as words."""
    error = entry["error"]
    numbers = {"value": float(entry["value"]), "error": None if error is None else float(error)}
    return Claim(entry["statement"], entry["source"], **numbers, verdict=entry["verdict"], note=entry.get("note", ""))


def _table(claims: list[Claim]) -> str:
    if not claims:
        return ""
    rows = [("claim", "measured", "verdict", "source", "note"), ("---",) * 5]
    rows += [(prose(c.statement), c.measured, f"**{c.verdict}**", prose(c.source), prose(c.note)) for c in claims]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _index(verdicts: Mapping[str, str], results: Path) -> str:
    if not verdicts:
        return f"# Gallery\n\nNo results in `{results}`: run `{HOW}` in the checkout and build again.\n"
    lines = [
        f"* [{name}]({name}.md): {prose(EXPERIMENTS.get(name, ''))} *{verdict or 'no claims'}*"
        for name, verdict in verdicts.items()
    ]
    tree = "\n".join(["```{toctree}", ":hidden:", "", *verdicts, "```"])
    return "\n\n".join(["# Gallery", INTRODUCTION.strip(), "\n".join(lines), tree]) + "\n"


def prose(text: str) -> str:
    """Write text as one line of Markdown that shows it as it is, also in a table; formulas stand between dollars."""
    pieces = re.split(r"(\$[^$]+\$)", " ".join(text.split()))
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = piece.replace("\\|", "\\Vert ").replace("|", "\\vert ")
        else:
            pieces[i] = re.sub(r"([\\`*_{}\[\]<>#$|~^])", r"\\\1", piece)
    return "".join(pieces)


def _build(app: Any) -> None:
    write_gallery((Path(app.confdir) / app.config.gallery_results).resolve(), Path(app.srcdir) / "gallery")


def setup(app: Any) -> dict[str, bool]:
    """Register the extension: pages are written before Sphinx looks for sources."""
    app.add_config_value("gallery_results", "../results/all-quick", "env")
    app.connect("builder-inited", _build)
    return {"parallel_read_safe": True}
