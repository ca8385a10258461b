"""Pages from templates beside the code that fills them. The only module for pages that imports jinja2.

Every value is made printable and escaped, unless a template calls it `safe`. Does not know what a page is about.
"""

from __future__ import annotations

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


def _printable(value: Any) -> Any:
    """Text without control characters; text that is markup already stays."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
