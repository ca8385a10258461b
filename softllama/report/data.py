"""The results of a study or an evaluation as data: question, answer, tables, figures, and how they were computed.

Knows no model, and not how a report looks: text.py, html.py and svg.py read it; report.py puts all of it together.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from softllama.vectors.statistics import Estimate

Cell: TypeAlias = "str | int | float | Estimate | None"
MARK = b'<meta name="generator" content="softllama report">'
MARKS = {".html": MARK, ".json": b'"kind": "report"', ".csv": b"table,row,column,value,low,high,n"}


@dataclass(frozen=True)
class Table:
    """Rows of numbers with the words around them. name: of the table in JSON and CSV. note: how to read it. in_terminal: is it
    short enough for a terminal? floors: by column, the noise floor of its numbers. What is below is shown as "<0.0022", grey;
    JSON and CSV keep the number, and JSON has the floors beside it.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    in_terminal: bool = True
    floors: Mapping[str, float] = field(default_factory=dict)

    def floor(self, column: int, cell: Cell) -> float:
        """The noise floor of a cell that is below it; 0 for any other."""
        floor = self.floors.get(self.head[column], 0.0)
        value = cell.value if isinstance(cell, Estimate) else cell
        return floor if isinstance(value, int | float) and abs(value) < floor else 0.0

    def text(self, column: int, cell: Cell) -> str:
        """A cell as text, "<0.0022" where it is below the noise floor."""
        return below_text(floor) if (floor := self.floor(column, cell)) else cell_text(cell)


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
class ReportData:
    """The results of one study or evaluation, and how they were computed.

    name: of its files. title, question: what it is about. answer: sentences with the numbers, the shortest first.
    tables, figures: the numbers. method: how each number is defined. controls: runs that show whether the numbers mean
    anything. command: the command line that repeats it. manifest: versions, model and settings. seconds: how long it
    took; together with the manifest's date the only thing that differs between two runs with the same seed.
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
                "tables": list(map(_table_dict, self.tables)),
                "figures": list(map(_figure_dict, self.figures)),
            },
            "method": list(self.method),
            "controls": list(self.controls),
            "command": self.command,
            "seconds": round(self.seconds, 3),
            "manifest": self.manifest,
        }

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
                        w.writerow((t.name, label, column, _jsonable(cell), None, None, None))
        for f in self.figures:
            for s in f.series:
                low, high = s.low or (None,) * len(s.y), s.high or (None,) * len(s.y)
                for x, y, a, b in zip(s.x, s.y, low, high, strict=True):
                    w.writerow((f"figure {f.name}", s.name, x, _jsonable(y), _jsonable(a), _jsonable(b), None))
        return out.getvalue()


def _table_dict(t: Table) -> dict[str, Any]:
    rows = [dict(zip(t.head, map(_jsonable, r), strict=True)) for r in t.rows]
    floors = {"floors": dict(t.floors)} if t.floors else {}
    return {"name": t.name, "title": t.title, "note": t.note, **floors, "rows": rows}


def _figure_dict(f: Figure) -> dict[str, Any]:
    series = [
        {
            "name": s.name,
            "x": list(s.x),
            "y": list(map(_jsonable, s.y)),
            "low": list(map(_jsonable, s.low)),
            "high": list(map(_jsonable, s.high)),
        }
        for s in f.series
    ]
    return {"name": f.name, "title": f.title, "x": f.x_label, "y": f.y_label, "series": series}


def _jsonable(cell: Cell) -> Any:
    """A cell for JSON, which has no NaN."""
    if isinstance(cell, Estimate):
        return cell.to_dict()
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    return cell


def below_text(floor: float) -> str:
    """ "<0.0022": a number below its noise floor."""
    return f"<{floor:.2g}"


def cell_text(cell: Cell) -> str:
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
