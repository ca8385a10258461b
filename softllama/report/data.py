"""What a study or an evaluation found, as data: question, answer, tables, figures, and how it was made.

Knows nothing of models or of how a report looks: render_report.py, report_page.py and svg.py read it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from softllama.base.files import check_place, replacing
from softllama.errors import UsageError
from softllama.vectors.statistics import Estimate, Paired

Cell: TypeAlias = "str | int | float | Estimate | None"
MARK = b'<meta name="generator" content="softllama report">'
MARKS = {".html": MARK, ".json": b'"kind": "report"', ".csv": b"table,row,column,value,low,high,n"}
ALPHA = 0.05


@dataclass(frozen=True)
class Table:
    """Rows of numbers with the words around them. name: of the table in JSON and CSV. note: how to read it."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Series:
    """One line, or one bar of each group. x: numbers, or names for bars. low, high: an interval around y, or nothing."""

    name: str
    x: tuple[Any, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, x: Sequence[Any], estimates: Sequence[Estimate]) -> Series:
        """A series of estimates with their intervals."""
        values, low, high = (tuple(getattr(e, k) for e in estimates) for k in ("value", "low", "high"))
        return cls(name=name, x=tuple(x), y=values, low=low, high=high)


@dataclass(frozen=True)
class Figure:
    """A plot. kind: "lines" or "bars". y_range: None fits the data. note: what a straight line or a level would mean."""

    name: str
    title: str
    kind: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    y_range: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """One page. answer: sentences made from the numbers, the shortest first. method: how each number is defined.
    controls: what was run to see whether the numbers mean anything. command: what makes the report again. seconds: what
    it took; the one figure, with the manifest's date, that differs between runs with the same seed.
    """

    name: str
    title: str
    question: str
    answer: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...] = ()
    method: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    command: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON. What is under "results" repeats to the digit with the same seed."""
        return {
            "kind": "report",
            "name": self.name,
            "title": self.title,
            "question": self.question,
            "results": {
                "answer": list(self.answer),
                "tables": [
                    {
                        "name": t.name, "title": t.title, "note": t.note,
                        "rows": [dict(zip(t.head, map(_plain, r), strict=True)) for r in t.rows],
                    }
                    for t in self.tables
                ],
                "figures": [
                    {
                        "name": f.name, "title": f.title, "x": f.x_label, "y": f.y_label,
                        "series": [
                            {
                                "name": s.name, "x": list(s.x), "y": [_plain(v) for v in s.y],
                                "low": [_plain(v) for v in s.low], "high": [_plain(v) for v in s.high],
                            }
                            for s in f.series
                        ],
                    }
                    for f in self.figures
                ],
            },
            "method": list(self.method),
            "controls": list(self.controls),
            "command": self.command,
            "seconds": round(self.seconds, 3),
            "manifest": self.manifest,
        }  # fmt: skip

    def json(self) -> str:
        """The report as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    def csv(self) -> str:
        """All numbers in one long table: a line for each number, with its interval where it has one."""
        out = io.StringIO()
        w = csv.writer(out, lineterminator="\n")
        w.writerow(("table", "row", "column", "value", "low", "high", "n"))
        for t in self.tables:
            for i, row in enumerate(t.rows):
                names = [str(c) for c in row if isinstance(c, str)]
                label = " / ".join(names) or str(i)
                for column, cell in zip(t.head, row, strict=True):
                    if isinstance(cell, Estimate):
                        d = cell.to_dict()
                        w.writerow((t.name, label, column, d["value"], d["low"], d["high"], d["n"]))
                    elif isinstance(cell, int | float) and not isinstance(cell, bool):
                        w.writerow((t.name, label, column, _plain(cell), None, None, None))
        for f in self.figures:
            for s in f.series:
                low, high = s.low or (None,) * len(s.y), s.high or (None,) * len(s.y)
                for x, y, a, b in zip(s.x, s.y, low, high, strict=True):
                    w.writerow((f"figure {f.name}", s.name, x, _plain(y), _plain(a), _plain(b), None))
        return out.getvalue()

    def page(self) -> str:
        """The report as one HTML page that needs nothing else."""
        from softllama.report.html import page

        return page([self])

    def table(self, width: int = 100) -> str:
        """The report as text."""
        from softllama.report import text as render_report
        from softllama.show import console

        return console.to_text(render_report.report(self), width)

    def _repr_html_(self) -> str:
        from softllama.report.html import section

        return section(self)


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Estimate):
        return cell.to_dict()
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    return cell


def check_folder(folder: Path) -> None:
    """Raise for a folder that reports cannot go to, before any work is done."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is not a folder", "--out names a folder")
    if not folder.parent.is_dir():
        raise UsageError(f"cannot make {str(folder)!r}: there is no folder {str(folder.parent)!r}")
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        raise UsageError(f"cannot write to {str(folder)!r}", "--out names another folder")


def check_page(path: Path) -> None:
    """Raise UsageError for a file that a page cannot go to: one that is no report, no HTML name, or no folder."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"cannot write a page to {path.name!r}", "end the name in .html")
    check_place(path, "a report of softllama", MARK)


def save(reports: Sequence[Report], folder: Path) -> list[Path]:
    """Write NAME.json, NAME.csv and NAME.html for each, and index.html for several. The files, pages last."""
    from softllama.report.html import page

    check_folder(folder)
    folder.mkdir(exist_ok=True)
    texts = {}
    for r in reports:
        texts[f"{r.name}.json"], texts[f"{r.name}.csv"] = r.json() + "\n", r.csv()
    for r in reports:
        texts[f"{r.name}.html"] = page([r])
    if len(reports) > 1:
        texts["index.html"] = page(reports)
    for name in texts:  # all, before one is written
        check_place(folder / name, "a report of softllama", MARKS[Path(name).suffix])
    for name, text in texts.items():
        with replacing(folder / name) as f:
            f.write(text.encode("utf-8", "replace"))
    return [folder / name for name in texts]


# ---- numbers in sentences ----------------------------------------------------------------------------------------------


def share(e: Estimate) -> str:
    """ "12.3 % [10.1, 14.9]": a share with its interval."""
    if math.isnan(e.value):
        return "unknown (no cases)"
    return f"{100 * e.value:.1f} %{_ends(100 * e.low, 100 * e.high, 1)}"


def value(e: Estimate, digits: int = 3) -> str:
    """ "0.512 [0.480, 0.544]"."""
    return "unknown (no cases)" if math.isnan(e.value) else f"{e.value:.{digits}f}{_ends(e.low, e.high, digits)}"


def _ends(low: float, high: float, digits: int) -> str:
    return "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"


def versus(first: str, second: str, r: Paired, p: float | None = None) -> str:
    """A sentence about a paired comparison of two shares. p: after a correction; r.p if None.

    It speaks of a difference only where the test finds one at 0.05.
    """
    p = r.p if p is None else p
    d = r.difference
    if p >= ALPHA:
        return f"no difference seen between {first} and {second} ({first} minus {second}: {_points(d, 1)}, {_p(p)}, n = {d.n})"
    if d.value < 0:
        first, second = second, first
    return f"{first} solves more than {second} ({_points(d, 1 if d.value > 0 else -1)}, {_p(p)}, n = {d.n})"


def _points(d: Estimate, sign: int) -> str:
    low, high = sorted((100 * sign * d.low, 100 * sign * d.high))
    return f"{100 * sign * d.value:+.1f} points{_ends(low, high, 1)}"


def _p(p: float) -> str:
    return f"p {significant(p)}" if p < 1e-4 else f"p = {significant(p)}"


def significant(p: float) -> str:
    """A p value in a few characters."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def show(cell: Cell) -> str:
    """A cell as text: three significant places, intervals in brackets."""
    if cell is None:
        return ""
    if isinstance(cell, Estimate):
        return "" if math.isnan(cell.value) else f"{_short(cell.value)}{_pair(cell)}"
    if isinstance(cell, float):
        return "" if math.isnan(cell) else _short(cell)
    return str(cell)


def _pair(e: Estimate) -> str:
    return "" if math.isnan(e.low) else f" [{_short(e.low)}, {_short(e.high)}]"


def _short(x: float) -> str:
    if x == 0:
        return "0"
    if abs(x) >= 100:
        return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.1f}"
    return f"{x:.3f}" if abs(x) >= 0.01 else f"{x:.1e}"
