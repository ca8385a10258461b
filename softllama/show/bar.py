"""Bars on a terminal for work that a model does: how much is done, how many tokens that took, and how long the rest takes.

rich draws them ten times a second from a thread of its own, so tokens count while a single answer is being made. Between two
calls of `tick` the bar moves by tokens: one more answer takes about as many as those before it took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from softllama.base.meter import evaluated
from softllama.base.text import duration
from softllama.show.printable import visible

ALMOST = 0.95  # of a unit: as far as a bar moves before the unit is done


@dataclass
class _Work:
    """One kind of work: the first and the last call of `tick`, each with the time and the tokens evaluated by then."""

    task: TaskID
    began: float
    first: int
    done: int
    total: int
    tokens_first: int
    tokens_done: int

    def completed(self, tokens: int, unit: int | None) -> float:
        """Units that are done, with the part of the next. tokens: evaluated by now. unit: tokens of a unit, until one is done."""
        n = self.done - self.first
        mean = (self.tokens_done - self.tokens_first) / n if n else float(unit or 0)
        if self.done >= self.total or mean <= 0:
            return float(self.done)
        return self.done + min(ALMOST, (tokens - self.tokens_done) / mean)

    def seconds_left(self, completed: float, now: float) -> float | None:
        """How long the rest takes at the rate so far; None where nothing was done yet."""
        n = completed - self.first
        return (now - self.began) * (self.total - completed) / n if n > 0 else None


class Bars(Progress):
    """A bar for each kind of work. `tick` is a Tick.

    Args:
        out: the terminal.
        unit: tokens that one unit of the work takes at most, which moves the bar until the first is done; None for unknown.
        clock: gives seconds.
    """

    def __init__(self, out: Console, *, unit: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._work: dict[str, _Work] = {}  # before rich draws for the first time
        self._unit, self._clock = unit, clock
        name = TextColumn("{task.description}", markup=False)
        super().__init__(
            name, BarColumn(bar_width=24), MofNCompleteColumn(), Tokens(clock), _Left(), console=out, transient=True
        )

    def tick(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        tokens = evaluated.total
        if (work := self._work.get(what)) is None:
            task = self.add_task(visible(what), total=total, completed=done, left=None)
            self._work[what] = work = _Work(task, self._clock(), done, done, total, tokens, tokens)
        work.done, work.total, work.tokens_done = done, total, tokens
        self._move(work)

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn, each time anew."""
        for work in [*self._work.values()]:
            self._move(work)
        yield from super().get_renderables()

    def _move(self, work: _Work) -> None:
        completed = work.completed(evaluated.total, self._unit)
        self.update(
            work.task,
            completed=completed,
            total=work.total,
            visible=work.done < work.total,
            left=work.seconds_left(completed, self._clock()),
        )


def counting(what: str, out: Console) -> Progress:
    """A line for work of unknown length: what is done, and how many tokens that took so far. A context manager."""
    name = TextColumn("{task.description}", markup=False)
    bar = Progress(SpinnerColumn(), name, Tokens(time.monotonic), console=out, transient=True)
    bar.add_task(visible(what), total=None)
    return bar


class Tokens(ProgressColumn):
    """Tokens evaluated since the column was made, and how many a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock, self._began, self._before = clock, clock(), evaluated.total

    def render(self, task: Task) -> Text:
        """The text of the column."""
        n, seconds = evaluated.total - self._before, self._clock() - self._began
        rate = f", {n / seconds:,.0f}/s" if n and seconds > 0 else ""
        return Text(f"{n:,} tokens{rate}")


class _Left(ProgressColumn):
    """How long the rest takes, once something is known of it."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("" if left is None else f"about {duration(left)} left")
