"""How far work is, on stderr: `Tick`, which long work calls, and the bars that are drawn from it.

Loads rich only when a bar is drawn. Does not know what the work is.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from softllama.base.text import size
from softllama.show.printable import visible

if TYPE_CHECKING:
    from rich.progress import TaskID

Tick: TypeAlias = Callable[[str, int, int], None]  # what is being done, how much is done, how much there is
QUIET = 15.0  # seconds between two lines where stderr is no terminal


@contextlib.contextmanager
def progress(quiet: bool = False, *, unit: int | None = None) -> Iterator[Tick]:
    """A Tick for work that is counted: a bar with tokens and an estimate, or a line now and then where stderr is no terminal.

    Args:
        quiet: show nothing.
        unit: tokens that one unit of the work takes at most, which moves the bar until one is done; None for unknown.
    """
    if quiet:
        yield _nothing
        return
    from softllama.show.console import console

    out = console(stderr=True)
    if out.is_terminal:
        from softllama.show.bar import Bars

        with Bars(out, unit=unit) as bars:
            yield bars.tick
    else:
        yield lines(lambda line: out.print(line, style="dim", soft_wrap=True, markup=False))


@contextlib.contextmanager
def counting(what: str, quiet: bool = False) -> Iterator[None]:
    """While work of unknown length goes on: a line with the tokens so far, where stderr is a terminal.

    Args:
        what: is being done.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    from softllama.show import bar
    from softllama.show.console import console

    with bar.counting(what, console(stderr=True)):
        yield


def _nothing(what: str, done: int, total: int) -> None:
    """A Tick that shows nothing."""


def lines(write: Callable[[str], None]) -> Tick:
    """A Tick that writes a line every 15 seconds, with an estimate of the time that is left."""
    began: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}

    def tick(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        start, before = began.setdefault(what, (now, done))
        if done and now - last.get(what, start) >= QUIET:
            last[what] = now
            rate = (done - before) / (now - start) if now > start else 0.0
            left = f", about {(total - done) / rate:,.0f} s left" if rate > 0 else ""
            write(f"{visible(what)}: {done} of {total}{left}")

    return tick


def tenths(write: Callable[[str], None]) -> Tick:
    """A Tick of bytes that writes a line for each tenth of a file."""
    last: dict[str, int] = {}

    def tick(file: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if tenth != last.get(file):
            last[file] = tenth
            write(f"{visible(file)}: {10 * tenth} % of {size(total)}")

    return tick


class Download:
    """A bar for each file that is downloaded; its `update` is a Tick of bytes."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        from softllama.show.console import console

        name = TextColumn("{task.description}", markup=False)
        self._progress = Progress(
            name,
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def update(self, file: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of a file are here."""
        if file not in self._tasks:
            self._progress.start()
            self._tasks[file] = self._progress.add_task(visible(file.rpartition("/")[2]), total=total)
        self._progress.update(self._tasks[file], completed=done)

    def stop(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()
