"""A gallery of reproduced results: one page for each experiment that `pyrank reproduce all` left in a folder.

An experiment is a folder ``name`` with ``name.json``, which holds its question, citation, caption and claims, and
``name.png``. Nothing else is read.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pyrank.experiments import EXPERIMENTS, Claim, by_chapter
from pyrank.experiments.claims import NEUTRAL, count_sentence, of_kind

Data = dict[str, Any]
"""What a JSON file holds."""

NO_BREAK = "\N{NO-BREAK SPACE}"
HOW = "pyrank reproduce all --preset quick"
INTRODUCTION = f"""\
Each page is one question: the figure, what has been published about it and whether that stands, then how far it
reaches. Everything here comes from one command, `{HOW}`; ± is half of a 95{NO_BREAK}% interval.
"""
BADGES = {"holds": "success", "fails": "danger", "undecided": "warning"}


def write_gallery(results: Path, out: Path) -> list[str]:
    """Write the pages of all experiments found in ``results`` into the folder ``out``, and an index of them.

    Returns
    -------
    list of str
        Names of the experiments, in the order of the papers.
    """
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    paths = {path.stem: path for path in results.glob("*/*.json") if path.stem == path.parent.name}
    order = [*(name for name in EXPERIMENTS if name in paths), *sorted(set(paths) - set(EXPERIMENTS))]
    found = {name: json.loads(paths[name].read_text(encoding="utf-8")) for name in order}
    for name, data in found.items():
        figure = paths[name].with_suffix(".png")
        if figure.exists():
            shutil.copyfile(figure, out / figure.name)
        _write(out / f"{name}.md", _page(name, data, figure.exists()))
    _write(out / "index.md", _index(found, out) if found else _absent(results))
    return list(found)


def _write(path: Path, parts: Iterable[str]) -> None:
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


# --- the page of one experiment --------------------------------------------------------------------------------------


def _page(name: str, data: Data, has_figure: bool) -> list[str]:
    published, extensions = of_kind("published", claims(data)), of_kind("extension", claims(data))
    parts = [f"# {name}", prose(data.get("question")), prose(data.get("citation"))]
    if has_figure:
        parts.append(f"![Figure of {name}]({name}.png)")
    parts.append(prose(data.get("caption")))
    if published:
        rows = [(badge(c), _statement(c), _measured(c), prose(c.source)) for c in published]
        parts += ["## What is published", table(("verdict", "claim", "measured", "source"), rows)]
    if extensions:
        rows = [(_statement(c), prose(c.expected), _measured(c), NEUTRAL[c.verdict]) for c in extensions]
        parts += ["## How far it reaches", table(("question", "expected", "measured", "found"), rows)]
    return [*parts, f"Settings and data: `{name}/{name}.json`."]


def claims(data: Data) -> list[Claim]:
    """Return the claims of a result."""
    return [Claim.from_dict(fields) for fields in data.get("claims", [])]


def badge(claim: Claim) -> str:
    """Show a verdict in its colour."""
    return f"{{bdg-{BADGES[claim.verdict]}}}`{claim.verdict}`"


def _measured(claim: Claim) -> str:
    return prose(claim.measured).replace(" ± ", f"{NO_BREAK}±{NO_BREAK}")


def _statement(claim: Claim) -> str:
    """Write what is claimed, and under it in small print the remarks on it."""
    small = "; ".join(map(prose, claim.remarks))
    return prose(claim.statement) + (small and f"<br><small>{small}</small>")


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ("---",) * len(heading), *rows))


# --- the index -------------------------------------------------------------------------------------------------------


def _index(found: dict[str, Data], out: Path) -> list[str]:
    every = [claim for data in found.values() for claim in claims(data)]
    chapters = []
    for title, names in by_chapter(found).items():
        cards = [_card(name, found[name], (out / f"{name}.png").exists()) for name in names]
        chapters += [f"## {title}"] * bool(title)
        chapters += [":::::{grid} 1 2 2 3\n:gutter: 3\n:padding: 0\n:class-container: gallery", *cards, ":::::"]
    tree = "\n".join(["```{toctree}", ":hidden:", "", *found, "```"])
    return ["# Gallery", f"**{count_sentence(every)}**", INTRODUCTION.strip(), *chapters, tree]


def _card(name: str, data: Data, has_figure: bool) -> str:
    options = [f":link: {name}", ":link-type: doc", f":img-top: {name}.png" if has_figure else ""]
    options.append(f":img-alt: Figure of {name}" if has_figure else "")
    head = "\n".join([f"::::{{grid-item-card}} {name}", *filter(None, options)])
    foot = f":::{{card-footer}}\n{count_sentence(claims(data))}\n:::"
    return "\n\n".join([head, prose(data.get("question")), foot, "::::"])


def _absent(results: Path) -> list[str]:
    return ["# Gallery", f"No results in `{results}`: run `{HOW}` in the checkout and build again."]


# --- text ------------------------------------------------------------------------------------------------------------


def prose(text: object) -> str:
    """Write text as one line of Markdown that shows it as it is, also in a table; formulas stand between dollars.

    None, for what is not said, gives nothing.
    """
    line = " ".join(("" if text is None else str(text)).split())
    pieces = re.split(r"(\$[^$]+\$)", line)
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = piece.replace("\\|", "\\Vert ").replace("|", "\\vert ")
        else:
            pieces[i] = re.sub(r"([\\`*_{}\[\]<>#$|~^])", r"\\\1", piece)
    return "".join(pieces)


# --- Sphinx ----------------------------------------------------------------------------------------------------------


def _build(app: Any) -> None:
    write_gallery((Path(app.confdir) / app.config.gallery_results).resolve(), Path(app.srcdir) / "gallery")


def setup(app: Any) -> dict[str, bool]:
    """Register the extension: pages are written before Sphinx looks for sources."""
    app.add_config_value("gallery_results", "../results/all-quick", "env")
    app.connect("builder-inited", _build)
    return {"parallel_read_safe": True}
