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
    "sphinx.ext.mathjax",
    "gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = True
# Types of other libraries: their pages are elsewhere, and a build must not need the network.
nitpick_ignore_regex = [("py:.*", r"(?!pyrank)\w+\..*|Tensor|ArrayLike|NDArray|TypeAliasForwardRef")]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"
autosummary_generate = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Floats": "NDArray[np.float64]", "NDArray": "NDArray"}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
python_maximum_signature_line_length = 88

# Where `pyrank reproduce all` left its results, seen from this folder.
gallery_results = os.environ.get("PYRANK_RESULTS", "../results/all-quick")

html_theme = "pydata_sphinx_theme"
html_title = f"pyrank {__version__}"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2}


def short_signature(app, what, name, thing, options, signature, returns):
    """Hide the constructors of what users get and never make, and write the names of array types as they are."""
    if name in ("pyrank.Run", "pyrank.Estimate", "pyrank.Interrupted"):
        return "", None
    return signature and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returns


def setup(app):
    """Connect what is defined here."""
    app.connect("autodoc-process-signature", short_signature)
