"""How reports and evaluations look in a terminal: rich tables, and progress on stderr with an estimate."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from softllama.render import console
from softllama.report import Report, Table, show

Tick = Callable[[str, int, int], None]  # what is being done, how many are done, how many there are
FEW, LONGEST = 4, 32  # columns beside which intervals fit into a line; characters that are not broken
QUIET = 15.0  # seconds between two lines where stderr is no terminal


def report(r: Report) -> RenderableType:
    """Question, answer, tables, controls."""
    parts: list[RenderableType] = [Text(r.title, style="bold"), Text(r.question, style="dim"), Text()]
    parts += [Text(a, style="bold" if not i else "") for i, a in enumerate(r.answer)]
    for t in r.tables:
        parts += [Text(), Text(t.title, style="bold")]
        if t.note:
            parts.append(Text(t.note, style="dim"))
        parts.append(table(t))
    if r.controls:
        parts += [Text(), *(Text(f"control: {c}", style="dim") for c in r.controls)]
    if r.command:
        parts += [Text(), Text(f"repeat: {r.command}", style="dim")]
    return Group(*parts)


def table(t: Table) -> Grid:
    """A table without lines; intervals are dim, in a line of their own where there are many columns."""
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, h in enumerate(t.head):
        text = all(isinstance(r[i], str) for r in t.rows)
        longest = max((len(str(r[i])) for r in t.rows), default=0)
        grid.add_column(h, justify="left" if text else "right", no_wrap=text and longest <= LONGEST, overflow="fold")
    gap = "\n" if len(t.head) > FEW else " "
    for row in t.rows:
        cells = []
        for c in row:
            number, bracket, interval = show(c).partition(" [") if not isinstance(c, str) else (c, "", "")
            cells.append(Text(number) + Text(gap * bool(bracket) + bracket[1:] + interval, style="dim"))
        grid.add_row(*cells)
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
