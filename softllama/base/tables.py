"""Rows of values as CSV, as a small HTML table, and as a pandas DataFrame. Knows nothing of what the values are.

The only module that imports pandas, and only where a frame is asked for.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

from softllama.errors import SoftLlamaError


class Markup(str):
    """Text that is HTML already: `html_table` does not escape it."""


LEFT = ' style="text-align:left"'


def escape(text: object) -> Markup:
    """Text for HTML, in an element or in a quoted attribute."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text), quote=True))


def to_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV text with a line for the head and one for each row; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table for notebooks.

    Args:
        head: the names of the columns.
        rows: cells. Text stands to the left, as the name of its column does, and is escaped, unless it is `Markup`; numbers are
            given four digits.
        caption: a line above the table; none if empty.
    """
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    rows = list(rows)
    words = [any(isinstance(row[i], str) for row in rows) for i in range(len(head))]
    names = "".join(f"<th{LEFT * left}>{escape(h)}</th>" for h, left in zip(head, words, strict=True))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{title}<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: object) -> str:
    style = LEFT if isinstance(cell, str) else ""
    shown = "" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else cell
    return f"<td{style}>{escape(shown)}</td>"


def dataframe(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A pandas DataFrame with a row for each row.

    Raises:
        SoftLlamaError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise SoftLlamaError("a DataFrame needs pandas, which is not installed", "pip install pandas") from None
    return pd.DataFrame.from_records([tuple(row) for row in rows], columns=list(head))
