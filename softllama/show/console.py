"""The one rich console, text of any width, and tokens side by side. Knows no model, and no result that it shows."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from softllama.show.printable import number, visible
from softllama.vectors.distribution import Token

Renderable: TypeAlias = RenderableType
PIPE = 4000  # columns where no terminal has a width: nothing wraps, so that lines can be searched and names stay whole


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console on stdout or stderr; plain in a pipe and with NO_COLOR. A pipe is as wide as COLUMNS says, else `PIPE`."""
    height = None if width is None else 25  # rich takes a width on a dumb terminal only together with a height
    out = Console(stderr=stderr, width=width, height=height, highlight=False, soft_wrap=False)
    if width is None and not out.is_terminal and not out.is_jupyter and not os.environ.get("COLUMNS"):
        out.width = PIPE
    return out


def to_text(renderable: RenderableType, width: int = 100) -> str:
    """What a renderable looks like, without colours; lines end without spaces."""
    out = Console(file=io.StringIO(), width=width, highlight=False, color_system=None, force_terminal=False)
    out.print(renderable)
    return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines())  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Flow:
    """Pieces side by side; lines break between them only, as rich breaks at every kind of space."""

    pieces: tuple[Text, ...]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths = [p.cell_len for p in self.pieces]
        return Measurement(max(widths), sum(widths) + 2 * (len(widths) - 1)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for p in self.pieces:
            if line and line.cell_len + 2 + p.cell_len > options.max_width:
                yield line
                line = Text()
            line.append("  " if line else "").append_text(p)
        yield line


def tokens(top: list[Token], digits_of: Callable[[float], int] = lambda p: 3) -> Flow:
    """Tokens with their probabilities, those that would show as .000 left out. digits_of: decimals of a probability."""
    pieces = []
    for i, t in enumerate([t for t in top if t.p >= 0.0005] or top[:1]):
        shown = visible(t.text)
        core = shown.lstrip("␣") or shown
        start = Text(shown[: len(shown) - len(core)], style="dim")
        pieces.append(
            Text.assemble(start, (core, "bold" if i == 0 else ""), (f" {number(t.p, digits_of(t.p))}", "dim"))
        )
    return Flow(tuple(pieces))
