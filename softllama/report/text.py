"""How reports and evaluations look in a terminal: rich tables, and progress on stderr with an estimate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from softllama.report.data import Report, Table, show
from softllama.show.console import console

Tick = Callable[[str, int, int], None]  # what is being done, how many are done, how many there are
FEW, LONGEST = 4, 32  # columns beside which intervals fit into a line; characters that are not broken
GAP = 2  # characters between columns
QUIET = 15.0  # seconds between two lines where stderr is no terminal


def report(r: Report) -> RenderableType:
    """Question, answer, tables, controls."""
    parts: list[RenderableType] = [Text(r.title, style="bold"), Text(r.question, style="dim"), Text()]
    parts += [Text(a, style="bold" if not i else "") for i, a in enumerate(r.answer)]
    for t in filter(lambda t: t.rows, r.tables):
        parts += [Text(), Text(t.title, style="bold")]
        if t.note:
            parts.append(Text(t.note, style="dim"))
        parts.append(Grids(t))
    if r.controls:
        parts += [Text(), *(Text(f"control: {c}", style="dim") for c in r.controls)]
    if r.command:
        parts += [Text(), Text(f"repeat: {r.command}", style="dim")]
    return Group(*parts)


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
        number, bracket, interval = show(c).partition(" [") if not isinstance(c, str) else (c, "", "")
        gap = ("\n" if len(t.head) > FEW else " ") * bool(bracket)
        cells.append(Text(number) + Text(gap + bracket[1:] + interval, style="dim"))
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
        grid.add_column(c.head, justify="left" if c.text else "right", width=c.least + more, overflow="fold")
    for row in zip(*(c.cells for c in columns), strict=True):
        grid.add_row(*row)
    return grid


@contextlib.contextmanager
def progress(quiet: bool = False) -> Iterator[Tick]:
    """A function that shows how far the work is: a bar with an estimate, or a line now and then where there is no terminal."""
    out = console(stderr=True)
    if quiet:
        yield lambda what, done, total: None
    elif not out.is_terminal:
        began: dict[str, tuple[float, int]] = {}
        last: dict[str, float] = {}

        def line(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            began.setdefault(what, (now, done))
            if done and (now - last.get(what, began[what][0]) >= QUIET):
                last[what] = now
                start, before = began[what]
                rate = (done - before) / (now - start) if now > start else 0.0
                left = f", about {(total - done) / rate:,.0f} s left" if rate > 0 else ""
                out.print(f"{what}: {done} of {total}{left}", style="dim", soft_wrap=True)

        yield line
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=out, transient=True) as bar:
            tasks: dict[str, TaskID] = {}

            def tick(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done, total=total, visible=done < total)

            yield tick
