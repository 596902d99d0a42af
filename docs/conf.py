"""Settings of the documentation: `sphinx-build -W docs build/docs` builds it, and fetches nothing."""

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
# `models` and `train` are run from the checkout, and `mathml` is beside this file.
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import lcam_optax  # noqa: E402

project = "lcam-optax"
author = "The lcam-optax authors"
version = release = lcam_optax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = "lcam-optax"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
# Sphinx's own renderer takes MathJax from a network; this one needs no script.
html_math_renderer = "mathml"

# Every cross-reference must resolve. The types of other libraries cannot, without a network.
nitpicky = True
nitpick_ignore_regex = [("py:class", r"(collections\.abc|jax)\..*")]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # The docstrings give shapes and units, and the signature would repeat long unions.
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# Single backquotes stand around code in docstrings.
default_role = "literal"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_timeout = 600  # Per cell: some 10 s of CPU time, and more on a loaded machine.
nb_execution_raise_on_error = True
nb_execution_show_tb = True
# No page has a widget, and their scripts would come from a network.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}


def _drop_docstring_of_type(app: Any, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    """Clear the docstring of a constant, which is that of `str` or `float`. The page itself describes the constant."""
    if what == "data":
        lines.clear()


def setup(app: Any) -> None:
    """Connect the functions of this file to Sphinx."""
    app.connect("autodoc-process-docstring", _drop_docstring_of_type)
