"""Pages from templates beside the code that fills them. The only module for pages that imports jinja2.

Every value is made printable and escaped, unless a template calls it `safe`. A page is one file: its scripts and styles are
joined from the files of several packages, and its content security policy names them by their hashes. Does not know what a
page is about.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from softllama.show.printable import printable


def render(package: str, name: str, **values: Any) -> str:
    """The text of a template with these values.

    Args:
        package: the package whose folder has the template, such as "softllama.trace".
        name: the template's file; it may include others of the same folder.
        values: what the template's names stand for; one that it lacks is an error.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files(package)
    environment = Environment(
        loader=FunctionLoader(lambda file: (folder / file).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)


def joined(*names: str) -> str:
    """The text of some files, one after the other.

    Args:
        names: each a package and its file: "softllama.show/dom.js".
    """
    return "".join((files(package) / file).read_text("utf-8") for package, _, file in (n.partition("/") for n in names))


def content_policy(script: str, style: str, more: str = "") -> str:
    """A content security policy for a page that runs this script and has this style, both inline, and asks for nothing else.

    Args:
        script, style: the texts of the page's elements, as they are.
        more: other directives, such as "connect-src 'self'".
    """
    parts = ["default-src 'none'", f"script-src '{_hash(script)}'", f"style-src '{_hash(style)}'", more]
    return "; ".join(filter(None, [*parts, "base-uri 'none'", "form-action 'none'"]))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _printable(value: Any) -> Any:
    """Text without control characters; text that is markup already stays."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
