"""How Sphinx makes the site. `python scripts/dev/site.py` prepares its sources and calls it; nothing is fetched."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

from softllama import __version__

project = "softllama"
author = "the softllama maintainers"
copyright = author
version = release = __version__
language = "en"
smartquotes = False  # a quote in a text is one that is typed

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # by GitHub's rule, so that links to headings are the same in both places
suppress_warnings = ["myst.header"]  # the changelog has ### below the title of a page that is short

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "class"
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False

html_theme = "furo"
html_title = "softllama"
html_baseurl = "https://softllama.github.io/softllama/"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_favicon = html_logo = "site/logo.svg"
html_extra_path = ["extra"]
html_show_copyright = False
html_show_sphinx = False
html_last_updated_fmt = None
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "github-dark"


ALIASES = {  # how numpy's types read when they are written out -> as they are written in the code
    r"~numpy\._typing\.\w+\._Buffer \| .*?_NestedSequence\[complex \| bytes \| str\]": "ArrayLike",
    r"~numpy\.ndarray\[(?:tuple\[~typing\.Any, \.\.\.\]|~typing\.Any), ~numpy\.dtype\[(.*?)\]\]": r"NDArray[\1]",
}


def _literals(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`, as in Markdown; reStructuredText has two backticks there."""
    lines[:] = [re.sub(r"(?<![`:])`([^`]+)`(?![`_])", r"``\1``", line).replace("|", r"\|") for line in lines]


def _types(app: Any, what: str, name: str, obj: Any, options: Any, given: str | None, returned: str | None) -> Any:
    """Signatures with the names of numpy's types."""
    for long, short in ALIASES.items():
        given, returned = (re.sub(long, short, text) if text else text for text in (given, returned))
    return given, returned


def _colons(app: Any, doctree: nodes.document, name: str) -> None:
    """A colon between an argument and what it is, as in the docstring."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(": "))


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _literals, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", _types)
    app.connect("doctree-resolved", _colons)
