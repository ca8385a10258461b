"""How a chat's tables look in a terminal: answers side by side, distributions, commands. Knows rich; does not know a chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from softllama.show.console import tokens
from softllama.show.printable import printable
from softllama.vectors.distribution import Distribution

BESIDE = 80  # columns from which two answers have room beside each other


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the answers that are compared."""

    title: str
    thinking: str
    answer: str
    numbers: str


def compared(sides: Sequence[Side], width: int, *, thinking: bool) -> RenderableType:
    """Answers beside each other, or one below the other on a narrow terminal.

    Args:
        sides: the answers.
        width: columns of the terminal.
        thinking: show the thinking above the answers.
    """
    cells = []
    for s in sides:
        parts: list[RenderableType] = [Text(printable(s.title), style="bold")]
        if thinking and s.thinking:
            parts.append(Text(printable(s.thinking), style="dim"))
        cells.append(Group(*parts, Text(printable(s.answer) or "(no answer)"), Text(s.numbers, style="dim")))
    if width < BESIDE:
        return Group(*(part for c in cells for part in (Text(), c)))
    table = Table.grid(padding=(0, 4, 0, 0), expand=True)
    for _ in cells:
        table.add_column(ratio=1)
    table.add_row(*cells)
    return table


def tops(distributions: Mapping[str, Distribution], n: int) -> RenderableType:
    """The likeliest tokens of named distributions, and their entropies."""
    parts: list[RenderableType] = []
    for name, d in distributions.items():
        parts += [Text(f"{name}, entropy {d.entropy():.3f} nats", style="dim"), tokens(d.top(n))]
    return Group(*parts)


def pairs(rows: Sequence[tuple[str, str]], width: int) -> RenderableType:
    """Names and what they mean, in two columns, or one below the other on a narrow terminal."""
    if width < 1.7 * max(len(a) for a, _ in rows):
        return Group(*(part for a, b in rows for part in (Text(a), Padding(Text(printable(b), style="dim"), (0, 4)))))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for a, b in rows:
        table.add_row(Text(a), Text(printable(b)))
    return table
