"""One page that shows all experiments: self-contained, without scripts, for screens of any size and for paper."""

from __future__ import annotations

import base64
import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from pyrank._version import __version__
from pyrank.experiments.claims import NEUTRAL, Claim, count_sentence, of_kind
from pyrank.experiments.overview import Outcome, Overview
from pyrank.experiments.results import Result

TITLE = "Published results, reproduced"

BADGES = {"holds": "✓ holds", "fails": "✗ fails", "undecided": "? undecided", "failed": "! failed to run"}

STYLE = Path(__file__).with_suffix(".css")

ALLOWED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing from elsewhere."""


def html(overview: Overview) -> str:
    """Return the page; links to files are relative to its own place."""
    articles = ""
    for title, outcomes in overview.chapters.items():
        articles += f'<h2 class="chapter">{escape(title)}</h2>\n' * bool(title)
        articles += "".join(_article(outcome, overview.page.parent) for outcome in outcomes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(ALLOWED)}">
<title>{TITLE}: pyrank {escape(__version__)}, {escape(overview.preset)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{TITLE}</h1>
{_header(overview)}
</header>
<main>
{_contents(overview)}
{articles}</main>
</body>
</html>
"""


def _header(overview: Overview) -> str:
    finished, total = len(overview.outcomes), len(overview.outcomes) + len(overview.missing)
    earlier = sum(outcome.earlier for outcome in overview.outcomes)
    facts = [f"pyrank {__version__}", f"preset {overview.preset}", f"{finished} of {total} experiments",
             f"{overview.seconds:,.0f} s" + (f", {earlier} finished earlier" if earlier else "")]  # fmt: skip
    text = f'<p class="lead">{escape(count_sentence(overview.claims))}</p>\n'
    text += f'<p class="faint">{escape(" · ".join(facts))}</p>'
    if overview.missing:
        text += f'\n<p class="faint">Not run yet: {escape(", ".join(overview.missing))}.</p>'
    return text


def _contents(overview: Overview) -> str:
    """Return a list of all experiments, chapter by chapter, with a mark for each published claim."""
    parts, first = [], 1
    for title, outcomes in overview.chapters.items():
        parts += [f'<p class="lead">{escape(title)}</p>'] * bool(title)
        parts += [f'<ol start="{first}">', *map(_entry, outcomes), "</ol>"]
        first += len(outcomes)
    return f"<nav>\n{chr(10).join(parts)}\n</nav>" if parts else ""


def _entry(outcome: Outcome) -> str:
    if outcome.result is None:
        question, marks = outcome.name, _badge("failed")
    else:
        question = outcome.result.question
        marks = " ".join(
            f'<span class="{claim.verdict}" title="{escape(claim.statement)}">{BADGES[claim.verdict][0]}</span>'
            for claim in of_kind("published", outcome.result.claims)
        )
    return f'<li><a href="#{escape(outcome.name)}">{escape(question)}</a> {marks}</li>'


def _article(outcome: Outcome, home: Path) -> str:
    time = "finished earlier" if outcome.earlier else f"{outcome.seconds:,.1f} s"
    if outcome.result is None:
        title, body = outcome.name, f"<p>{_badge('failed')} {escape(outcome.error)}</p>"
    else:
        title, body = outcome.result.question, _findings(outcome.result, home)
    return f"""<article id="{escape(outcome.name)}">
<h2>{escape(title)}</h2>
<p class="faint"><code>pyrank reproduce {escape(outcome.name)}</code> · {time}</p>
{body}
</article>
"""


def _findings(result: Result, home: Path) -> str:
    caption = escape(result.caption)
    claims = "\n".join(map(_claim, of_kind("published", result.claims)))
    places = [(quote(Path(os.path.relpath(path, home)).as_posix()), escape(path.suffix[1:])) for path in result.files]
    links = " · ".join(f'<a href="{place}">{form}</a>' for place, form in places)
    return f"""<figure>
{_image(result.png, caption)}
<figcaption>{caption}</figcaption>
</figure>
{f'<ul class="claims">{chr(10)}{claims}{chr(10)}</ul>' if claims else ""}
{_extensions(of_kind("extension", result.claims))}
<p class="faint">{escape(result.citation)}</p>
<p class="faint">Files: {links}</p>"""


def _image(png: Path | None, caption: str) -> str:
    """Return the figure, or nothing where the file is not there."""
    try:
        data = png.read_bytes() if png else b""
    except OSError:
        return ""
    return f'<img src="data:image/png;base64,{base64.b64encode(data).decode()}" alt="{caption}">' if data else ""


def _claim(claim: Claim) -> str:
    below = "".join(f'\n<p class="faint">{escape(remark)}</p>' for remark in claim.remarks)
    return f"""<li>
<p>{_badge(claim.verdict)} {escape(claim.statement)} <span class="faint">({escape(claim.source)})</span></p>
<p>measured {escape(claim.measured)}, wanted {escape(claim.expected)}</p>{below}
</li>"""


def _extensions(claims: list[Claim]) -> str:
    """Return what is asked beyond the papers, without red or green."""
    if not claims:
        return ""
    return f"""<details open>
<summary>How far it reaches: {len(claims)} question{"s" * (len(claims) > 1)} beyond the paper</summary>
<table>
<thead><tr><th>Question</th><th>Expected</th><th>Measured</th><th></th></tr></thead>
<tbody>
{chr(10).join(map(_extension, claims))}
</tbody>
</table>
</details>"""


def _extension(claim: Claim) -> str:
    return f"""<tr>
<td>{escape(claim.statement)}<br><span class="faint">{escape("; ".join(claim.remarks))}</span></td>
<td>{escape(claim.expected)}</td><td>{escape(claim.measured)}</td><td>{NEUTRAL[claim.verdict]}</td>
</tr>"""


def _badge(verdict: str) -> str:
    return f'<span class="badge {verdict}">{BADGES[verdict]}</span>'
