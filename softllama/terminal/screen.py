"""Where text goes: answers to stdout, all else to stderr; dim, redrawn and with a prompt only on a terminal.

Knows streams and widths. Does not know what a conversation or a step is.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from softllama.show.printable import printable

if TYPE_CHECKING:
    from softllama.show.console import Renderable

DIM, NORMAL, ERASE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class Screen:
    """Prints to stdout and stderr.

    Args:
        quiet: print only answers, errors, and what a command asks for.

    Attributes:
        typed: does somebody type at a terminal?
        terminal: does somebody type at a terminal and read the answers there, too?
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.typed = sys.stdin is not None and sys.stdin.isatty()
        self.terminal = self.typed and sys.stdout.isatty()

    @property
    def width(self) -> int:
        """Columns."""
        return max(20, shutil.get_terminal_size((100, 24)).columns)

    def answer(self, text: str) -> None:
        """A piece of an answer. A pipe gets it as it is; on a terminal, control characters become escapes."""
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def dim(self, text: str, end: str = "\n") -> None:
        """Dim text on stderr, such as the thinking. Control characters become escapes. Nothing if quiet."""
        if not self.quiet:
            text = printable(text)
            self._err((f"{DIM}{text}{NORMAL}" if text and styled(sys.stderr) else text) + end)

    def note(self, text: str) -> None:
        """A dim line on stderr, broken between words where it is too long."""
        self.dim(self._filled(text) if sys.stderr.isatty() else text)

    def cut(self, line: str) -> None:
        """A dim line on stderr. A terminal gets only as much as fits in one line."""
        from softllama.show.width import columns

        if sys.stderr.isatty() and columns(line) >= self.width:
            while columns(line) > self.width - 2:
                line = line[:-1]
            line += "…"
        self.dim(line)

    def status(self, text: str) -> None:
        """A line that the next text replaces; "" erases it. Only a terminal has one."""
        if not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._err(ERASE)
            if text:
                self.dim(text[: self.width - 1], "")

    def print(self, text: str) -> None:
        """What a command asks for: beside the answers on a terminal, else on stderr, as stdout is data."""
        if self.terminal:
            self.answer("\n".join(map(self._filled, text.split("\n"))) + "\n")
        else:
            self._err(printable(text) + "\n")

    def show(self, renderable: Renderable) -> None:
        """The same for tables."""
        from softllama.show import console

        to_stderr = not self.terminal
        if to_stderr and not sys.stderr.isatty():
            self._err(console.to_text(renderable, self.width) + "\n")
        else:
            console.console(stderr=to_stderr, width=self.width).print(renderable)

    def error(self, message: str, hint: str = "") -> None:
        """An error message on stderr, with its hint."""
        for line in [f"Error: {message}", f"Hint: {hint}"][: 1 + bool(hint)]:
            self._err(printable(self._filled(line) if sys.stderr.isatty() else line) + "\n")

    def _filled(self, line: str) -> str:
        return textwrap.fill(line, self.width - 1, break_long_words=False, break_on_hyphens=False)

    def _err(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def styled(stream: TextIO) -> bool:
    """Does this stream take colours? A terminal does, unless NO_COLOR is set or it is dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
