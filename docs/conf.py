"""How Sphinx builds the documentation: `sphinx-build -W -b html docs docs/_build`."""

import os
import re
import sys
from pathlib import Path

from pyrank import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pyrank"
version = release = __version__
project_copyright = "the pyrank authors"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "gallery",
    "mathml",
    "pages",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = True
# Types of other libraries: their pages are elsewhere, and a build must not need the network.
nitpick_ignore_regex = [
    ("py:.*", r"(?!pyrank)\w+\..*|Tensor|ArrayLike|NDArray|TypeAliasForwardRef"),
    ("py:class", r"pyrank\.studies\.grids\.Grid"),
]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"
autosummary_generate = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Floats": "NDArray[np.float64]", "NDArray": "NDArray"}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
python_maximum_signature_line_length = 72

# Where `pyrank reproduce all` left its results, seen from this folder.
gallery_results = os.environ.get("PYRANK_RESULTS", "../results/all-quick")

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"pyrank {__version__}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["pyrank.css"]
html_sidebars = {"**": ["sections"]}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_center": [],  # all pages are in the sidebar
}


def short_signature(app, what, name, thing, options, signature, returns):
    """Hide the constructors of what users get and never make, and write the names of array types as they are."""
    if name in ("pyrank.Run", "pyrank.Estimate", "pyrank.Interrupted"):
        return "", None
    return signature and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returns


def keep_lines(app, what, name, thing, options, lines):
    """Show the indented lists in the docstrings of modules line by line, as they are written."""
    if what == "module":
        lines[:] = [re.sub(r"^( +)(?=\S)", r"\1| ", line) for line in lines]


def setup(app):
    """Connect what is defined here."""
    app.connect("autodoc-process-signature", short_signature)
    app.connect("autodoc-process-docstring", keep_lines)
