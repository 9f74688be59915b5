"""The code on a page, run as it stands: by the tests, which compare answers, and for the figures that it shows."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FIGURE = re.compile(r"\]\(figures/([\w-]+\.png)\)")


def examples(page: Path) -> list[tuple[str, str]]:
    """Code blocks of a page, in order: (language, code), the code at its line of the page."""
    text = page.read_text(encoding="utf-8")
    return [(m[1], "\n" * text[: m.start(2)].count("\n") + m[2]) for m in FENCE.finditer(text)]


def run_examples(page: Path) -> None:
    """Run the Python blocks of a page as one session, and compare what a >>> is said to answer with its answer."""
    names: dict[str, Any] = {}
    for language, code in examples(page):
        if language == "python":
            exec(compile(code, page.name, "exec"), names)  # noqa: S102, the page is ours
        elif language == "pycon":
            session = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
            session.globs = names
            report: list[str] = []
            result = doctest.DocTestRunner().run(session, out=report.append, clear_globs=False)
            assert result.attempted
            assert not result.failed, "".join(report)


def draw_figures(page: Path, out: Path) -> list[str]:
    """Run a page and put the figures that it shows, as ``![...](figures/name.png)``, into ``out``; return their names.

    Raises
    ------
    FileNotFoundError
        If the code of the page does not write one of them.
    """
    shown = list(dict.fromkeys(FIGURE.findall(page.read_text(encoding="utf-8"))))
    if shown:
        out.mkdir(exist_ok=True)
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.chdir(folder),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            run_examples(page)
            for name in shown:
                shutil.copyfile(name, out / name)
    return shown


def _build(app: Any) -> None:
    for page in sorted(Path(app.srcdir).glob("*.md")):
        draw_figures(page.resolve(), Path(app.srcdir) / "figures")


def setup(app: Any) -> dict[str, bool]:
    """Register the extension: figures are there before Sphinx looks for sources."""
    app.connect("builder-inited", _build)
    return {"parallel_read_safe": True}
