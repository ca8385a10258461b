"""How reports look in a terminal: text and rich tables that fit its width. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from softllama.report.data import ReportData, Table
from softllama.show.printable import printable

FEW, LONGEST = 4, 32  # columns beside which intervals fit into a line; characters that are not broken
GAP = 2  # characters between columns


def report(r: ReportData, *, brief: bool = False) -> RenderableType:
    """Question, tables, controls, and last, where a terminal is read first, the answer. brief: no tables and controls."""
    parts: list[RenderableType] = [_text(r.title, "bold"), _text(r.question, "dim")]
    for t in () if brief else filter(lambda t: t.rows and t.in_terminal, r.tables):
        parts += [Text(), _text(t.title, "bold")]
        if t.note:
            parts.append(_text(t.note, "dim"))
        parts.append(Grids(t))
    if r.controls and not brief:
        parts += [Text(), *(_text(f"control: {c}", "dim") for c in r.controls)]
    parts += [Text(), *(_text(a, "bold" if not i else "") for i, a in enumerate(r.answer))]
    if r.command:
        parts += [Text(), _text(f"repeat: {r.command}", "dim")]
    return Group(*parts)


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


@dataclass(frozen=True)
class Grids:
    """A table without lines. Where it is wider than the terminal it is cut into several, one below the other, each with
    the columns that tell the rows apart; no word or number is broken. Intervals are dim, in a line of their own where there
    are many columns.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = [_column(self.table, i) for i in range(len(self.table.head))]
        keys = _keys(self.table)
        for n, block in enumerate(_blocks([c.least for c in columns], keys, options.max_width)):
            if n:
                yield Text()
            yield _grid([columns[i] for i in block], options.max_width)


@dataclass(frozen=True)
class _Column:
    """A column and the fewest characters, and the most, that a line of it takes."""

    head: str
    cells: tuple[Text, ...]
    text: bool
    least: int
    most: int


def _column(t: Table, i: int) -> _Column:
    cells = []
    for c in (row[i] for row in t.rows):
        value, bracket, interval = t.text(i, c).partition(" [") if not isinstance(c, str) else (c, "", "")
        gap = ("\n" if len(t.head) > FEW else " ") * bool(bracket)
        cells.append(_text(value, "dim" if t.floor(i, c) else "") + Text(gap + bracket[1:] + interval, style="dim"))
    text = all(isinstance(row[i], str) for row in t.rows)
    lines = [line for c in cells for line in c.plain.split("\n")]
    whole = text and max(map(cell_len, lines), default=0) <= LONGEST
    least = max(map(cell_len, (*t.head[i].split(), *(lines if whole else " ".join(lines).split()))), default=0)
    return _Column(t.head[i], tuple(cells), text, least, max(map(cell_len, (t.head[i], *lines)), default=0))


def _keys(t: Table) -> list[int]:
    """The first columns, as few as tell the rows apart."""
    n = next((n for n in range(1, len(t.head)) if len({r[:n] for r in t.rows}) == len(t.rows)), 1)
    return list(range(n))


def _blocks(least: list[int], keys: list[int], width: int) -> Iterator[list[int]]:
    """The columns of each part, keys first; a part has at least one column beside them."""
    block = list(keys)
    for i in range(len(keys), len(least)):
        if len(block) > len(keys) and sum(least[j] + GAP for j in (*block, i)) - GAP > width:
            yield block
            block = list(keys)
        block.append(i)
    yield block


def _grid(columns: list[_Column], width: int) -> Grid:
    """One part, whose columns have what they need at least; the first ones get what is left."""
    left = width - sum(c.least + GAP for c in columns) + GAP
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for c in columns:
        more = max(0, min(c.most - c.least, left))
        left -= more
        grid.add_column(_text(c.head), justify="left" if c.text else "right", width=c.least + more, overflow="fold")
    for row in zip(*(c.cells for c in columns), strict=True):
        grid.add_row(*row)
    return grid
