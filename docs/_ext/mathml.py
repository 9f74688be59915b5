"""Formulas as MathML, written by pandoc when the pages are built: browsers need no script and no network for them."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any
from xml.etree import ElementTree as ET

import pypandoc
from docutils import nodes

ROWS = ("math", "mrow", "msqrt", "mstyle", "mtd")
PRIMES = ("\N{PRIME}", "\N{DOUBLE PRIME}")
SCRIPTS = ("msub", "msup", "msubsup")
THIN = {"width": "0.17em"}
WITH_PUNCTUATION = re.compile(r'[(\[]?<math display="inline".*?</math>[.,;:!?)\]]*', re.S)


@cache
def mathml(tex: str, *, display: bool = False) -> str:
    """Write a formula in TeX as MathML.

    Raises
    ------
    RuntimeError
        If it is not understood; the message says where.
    """
    formula = {"t": "Math", "c": [{"t": "DisplayMath" if display else "InlineMath"}, tex]}
    page = {"pandoc-api-version": [1, 23], "meta": {}, "blocks": [{"t": "Plain", "c": [formula]}]}
    options = ["--mathml", "--wrap=none", "--fail-if-warnings"]
    text = pypandoc.convert_text(json.dumps(page), "html", format="json", extra_args=options)
    math = ET.fromstring(text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))  # noqa: S314, our own
    for element in math.iter():
        if element.tag in ROWS:
            _space_functions(element)
        elif element.tag in SCRIPTS:
            _mend_script(element)
    return ET.tostring(math, encoding="unicode", short_empty_elements=False)


def _space_functions(row: ET.Element) -> None:
    """Set functions such as ln off from their neighbours, except from operators and parentheses: browsers do not."""
    children = list(row)
    row[:] = []
    for i, child in enumerate(children):
        before, after = children[i - 1 : i], children[i + 1 : i + 2]
        if _is_function(child) and before and before[0].tag not in ("mo", "mspace"):
            row.append(ET.Element("mspace", THIN))
        row.append(child)
        if _is_function(child) and after and after[0].tag not in ("mo", "mspace", "mrow"):
            row.append(ET.Element("mspace", THIN))


def _is_function(element: ET.Element) -> bool:
    if element.tag in SCRIPTS:
        return _is_function(element[0])
    name = element[0] if element.tag == "mrow" and element[-1].text == "\N{FUNCTION APPLICATION}" else element
    return name.get("mathvariant") == "normal" and len(name.text or "") > 1


def _mend_script(script: ET.Element) -> None:
    """Undo what browsers draw badly: primes, which are raised already, and large parentheses with an exponent."""
    if script.tag == "msup" and script[1].text in PRIMES:
        script.tag = "mrow"
    elif script[0].tag == "mo":
        base = ET.Element("mrow")
        base.append(script[0])
        script[0] = base


def keep_together(body: str) -> str:
    """Keep browsers from breaking a line between a formula and its punctuation."""
    return WITH_PUNCTUATION.sub(r'<span class="text-nowrap">\g<0></span>', body)


# --- Sphinx ----------------------------------------------------------------------------------------------------------


def _visit_inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def _visit_block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{mathml(node.astext(), display=True)}</div>\n')
    raise nodes.SkipNode


def _finish(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = keep_together(context["body"])


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    app.connect("html-page-context", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
