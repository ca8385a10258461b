"""A report that prints, draws and saves itself; and the files of several. Knows no model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softllama.base import tables
from softllama.base.files import check_place, replacing, save_as
from softllama.errors import UsageError
from softllama.report.data import MARK, MARKS, Cell, ReportData, Table
from softllama.vectors.statistics import Estimate


class Report(ReportData):
    """The results of a study or an evaluation: see `ReportData` for the fields.

    In a notebook it shows itself.
    """

    def page(self) -> str:
        """The report as one HTML page that needs nothing else."""
        from softllama.report import html

        return html.page([self])

    def table(self, width: int = 100) -> str:
        """The report as text of that many columns."""
        from softllama.report import text
        from softllama.show import console

        return console.to_text(text.report(self), width)

    def show(self) -> None:
        """Print the report as the command line does."""
        from softllama.report import text
        from softllama.show import console

        console.console().print(text.report(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report: .json (everything), .csv (the numbers) or .html (a page).

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written.
        """
        save_as(path, "a report", {".json": lambda: self.json() + "\n", ".csv": self.csv, ".html": self.page})

    def to_dataframe(self, name: str | None = None) -> Any:
        """The tables as pandas DataFrames. A number with an interval takes four columns: "x", "x low", "x high", "x n".

        Args:
            name: the name of one table; None for all of them.

        Returns:
            The DataFrame of that table, or a dict of all by their names.

        Raises:
            UsageError: there is no table of that name.
            SoftLlamaError: pandas is not installed.
        """
        named = {t.name: t for t in self.tables}
        if name is None:
            return {k: _dataframe(t) for k, t in named.items()}
        if name not in named:
            raise UsageError(f"the report has no table {name!r}", f"its tables: {', '.join(named)}")
        return _dataframe(named[name])

    def _repr_html_(self) -> str:
        from softllama.report import html

        return html.notebook(self)


def _dataframe(t: Table) -> Any:
    head: list[str] = []
    columns: list[list[Any]] = []
    for i, name in enumerate(t.head):
        cells = [row[i] for row in t.rows]
        columns.append([c.value if isinstance(c, Estimate) else c for c in cells])
        head.append(name)
        if any(isinstance(c, Estimate) for c in cells):
            for part in ("low", "high", "n"):
                columns.append([_part(c, part) for c in cells])
                head.append(f"{name} {part}")
    return tables.dataframe(head, zip(*columns, strict=True))


def _part(cell: Cell, part: str) -> Any:
    return getattr(cell, part) if isinstance(cell, Estimate) else None


def check_folder(folder: Path) -> None:
    """Raise UsageError for a folder that reports cannot be written to, before any work is done."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} is not a folder", "--out names a folder")
    if not folder.parent.is_dir():
        raise UsageError(f"cannot make {str(folder)!r}: there is no folder {str(folder.parent)!r}")
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        raise UsageError(f"cannot write to {str(folder)!r}", "--out names another folder")


def check_page(path: Path) -> None:
    """Raise UsageError for a file that a page cannot be written to: no HTML name, no folder, or a file of another kind."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"cannot write a page to {path.name!r}", "end the name in .html")
    check_place(path, "a report of softllama", MARK)


def save_all(reports: Sequence[Report], folder: Path) -> list[Path]:
    """Write NAME.json, NAME.csv and NAME.html of each report, and index.html for several.

    Returns:
        The files, pages last.

    Raises:
        UsageError: a file of another kind has one of these names; nothing is written then.
    """
    from softllama.report import html

    check_folder(folder)
    folder.mkdir(exist_ok=True)
    texts = {}
    for r in reports:
        texts[f"{r.name}.json"], texts[f"{r.name}.csv"] = r.json() + "\n", r.csv()
    for r in reports:
        texts[f"{r.name}.html"] = html.page([r])
    if len(reports) > 1:
        texts["index.html"] = html.page(reports)
    for name in texts:  # all, before one is written
        check_place(folder / name, "a report of softllama", MARKS[Path(name).suffix])
    for name, text in texts.items():
        with replacing(folder / name) as f:
            f.write(text.encode("utf-8", "replace"))
    return [folder / name for name in texts]
