"""Reports as one HTML page that needs nothing else: no script, no network, no other files. Knows no model.

The templates are page.html and section.html.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from softllama.base.text import duration
from softllama.report import svg
from softllama.report.data import MARK, Cell, ReportData, Table
from softllama.show.page import render
from softllama.vectors.statistics import Estimate

SHORT = 32  # characters of a text that stays in one line
LONG = 100  # of one that gets a wide column
# the page's colours for a section that stands in another page
COLOURS = (
    "--bg:#fff;--fg:currentColor;--dim:#777;--line:#999;--soft:transparent;--c0:#2563eb;--c1:#d9480f;--c2:#0f8a5f;"
    "--c3:#8b5cf6;--c4:#b7791f;--c5:#be185d;--c6:#0e7490;--c7:#64748b"
)


def page(reports: Sequence[ReportData]) -> str:
    """A page of one report or several."""
    title = reports[0].title if len(reports) == 1 else "softllama: the studies"
    return render("softllama.report", "page.html", reports=reports, title=title, mark=MARK.decode(), **FUNCTIONS)


def notebook(r: ReportData) -> str:
    """One report as a part of another page, such as a notebook."""
    return f'<div style="{COLOURS}">{render("softllama.report", "section.html", r=r, **FUNCTIONS)}</div>'


def column_classes(t: Table) -> list[str]:
    """The CSS classes of each column: words stand to the left, in one line where they are short."""
    return [_classes([row[i] for row in t.rows]) for i in range(len(t.head))]


def _classes(cells: Sequence[Cell]) -> str:
    texts = [c for c in cells if isinstance(c, str)]
    if len(texts) < len(cells):
        return "number"
    longest = max(map(len, texts), default=0)
    return "text short" if longest <= SHORT else "text long" if longest > LONG else "text"


def parts(t: Table, column: int, cell: Cell) -> tuple[str, str]:
    """A cell's value and its interval as text; "" where it has none."""
    if not isinstance(cell, Estimate):
        return t.text(column, cell), ""
    value, bracket, interval = t.text(column, cell).partition(" [")
    return value, bracket.strip() + interval


def manifest(r: ReportData) -> str:
    """The manifest as indented JSON."""
    return json.dumps(r.manifest, indent=2, ensure_ascii=False)


FUNCTIONS = {
    "plot": svg.figure,
    "column_classes": column_classes,
    "parts": parts,
    "manifest": manifest,
    "duration": duration,
}
