"""Where the text of a chat goes: answers to stdout, all else to stderr; dim, redrawn and with a prompt only on a terminal.

Knows streams and widths. Does not know what a conversation is.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING, TextIO

from softllama.errors import SoftLlamaError
from softllama.show.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from softllama.api import Model
    from softllama.trace.step import Step

VIEWS = ("show", "hide", "mixtures")
DIM, PLAIN, ERASE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


class Screen:
    """quiet: nothing but answers, errors and what a command was asked for. typed: does somebody type at a terminal?"""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.typed = sys.stdin is not None and sys.stdin.isatty()
        self.terminal = self.typed and sys.stdout.isatty()

    @property
    def width(self) -> int:
        """Columns."""
        return max(20, shutil.get_terminal_size((100, 24)).columns)

    def answer(self, text: str) -> None:
        """A piece of an answer, as it is; a terminal is spared the control characters."""
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
        sys.stdout.flush()

    def dim(self, text: str, end: str = "\n") -> None:
        """Something beside the answers, such as the thinking; not if quiet."""
        if not self.quiet:
            plain = not styled(sys.stderr)
            shown = printable(text) if sys.stderr.isatty() else text
            self._err((shown if plain or not text else f"{DIM}{shown}{PLAIN}") + end)

    def note(self, text: str) -> None:
        """A dim line, broken between words where it is too long."""
        self.dim(self._filled(text) if sys.stderr.isatty() else text)

    def status(self, text: str) -> None:
        """A line that the next status, or what is said next, replaces; "" erases it. Only a terminal has one."""
        if not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._err(ERASE)
            if text:
                self.dim(text[: self.width - 1], "")

    def say(self, text: str) -> None:
        """What a command was asked for: beside the answers on a terminal, on stderr where they are data."""
        if self.terminal:
            self.answer("\n".join(map(self._filled, text.split("\n"))) + "\n")
        else:
            self._err(text + "\n")

    def show(self, renderable: RenderableType) -> None:
        """The same for tables."""
        from softllama.show import console

        to_stderr = not self.terminal
        if to_stderr and not sys.stderr.isatty():
            self._err(console.to_text(renderable, self.width) + "\n")
        else:
            console.console(stderr=to_stderr, width=self.width).print(renderable)

    def error(self, e: SoftLlamaError) -> None:
        """What went wrong, and what to do."""
        sys.stdout.flush()
        for line in [f"Error: {e.message}", f"Hint: {e.hint}"][: 1 + bool(e.hint)]:
            self._err(printable(self._filled(line) if sys.stderr.isatty() else line) + "\n")

    def _filled(self, line: str) -> str:
        return textwrap.fill(line, self.width - 1, break_long_words=False, break_on_hyphens=False)

    def _err(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Show:
    """Prints the steps of one answer as they come: the thinking dim, as `view` says; the answer as it is.

    Spaces and newlines at the ends of both are left out.
    """

    def __init__(self, screen: Screen, model: Model, view: str) -> None:
        self._screen, self._model, self._view = screen, model, view
        self._thought = self._answered = 0  # characters, or lines of mixtures, that were written
        self._held = ""
        self._thinking = False
        self._lines = {True: Lines(screen.width, sys.stderr), False: Lines(screen.width, sys.stdout)}

    def __call__(self, step: Step) -> None:
        if self._view == "mixtures" and (step.thinking or step.mode == "soft"):
            self._mixture(step)
        if step.thinking:
            self._thinking = True
            if self._view == "show":
                self._thought += self._text(step.text, self._thought, dim=True)
            elif self._view == "hide":
                self._screen.status(f"thinking, {step.index + 1} tokens")
        else:
            self._end_thinking()
            self._answered += self._text(step.text, self._answered)

    def end(self, tail: tuple[str, str]) -> None:
        """What was held back, and the newline."""
        if tail[0] and self._view == "show":
            self._thought += self._text(tail[0], self._thought, dim=True)
        if tail[1]:
            self._end_thinking()
            self._answered += self._text(tail[1], self._answered)
        self._end_thinking()
        self._write(self._lines[False].end() + "\n", False)

    def _text(self, text: str, written: int, dim: bool = False) -> int:
        text = self._held + text
        shown = text.rstrip()
        self._held = text[len(shown) :]
        if not written:
            shown = shown.lstrip()
        if shown:
            self._write(self._lines[dim].push(shown), dim)
        return len(shown)

    def _write(self, text: str, dim: bool) -> None:
        if text and dim:
            self._screen.dim(text, "")
        elif text:
            self._screen.answer(text)

    def _end_thinking(self) -> None:
        if self._thinking:
            self._write(self._lines[True].end(), True)
            self._thinking, self._held = False, ""
            if self._view == "hide":
                self._screen.status("")
            elif self._thought and self._view == "show":
                self._screen.dim("")

    def _mixture(self, step: Step) -> None:
        from softllama.show.printable import number, visible

        if step.mode != "soft":
            line = visible(self._model.spell(step.token)) + (f"  ({step.why})" if step.forced and step.why else "")
        else:
            shown = step.mixture.top(5)
            line = "  ".join(f"{visible(self._model.spell(i))} {number(w)}" for i, w in shown)
            line += f"  + {len(step.mixture) - len(shown)} more" * (len(step.mixture) > len(shown))
        line = f"{step.entropy:5.2f}  {line}"
        width = self._screen.width
        self._screen.dim(line if len(line) < width else line[: width - 2] + "…")


class Lines:
    """Text that comes in pieces, broken between words at the width of a terminal; as it is where there is none."""

    def __init__(self, width: int, stream: TextIO) -> None:
        self._width = width - 1 if stream.isatty() else 0
        self._column = 0
        self._spaces = self._word = ""

    def push(self, text: str) -> str:
        """What can be written now: all but the last word, which may go on."""
        if not self._width:
            return text
        out = ""
        for c in text:
            if c.isspace():
                out += self.end()
                self._spaces += c
                if c == "\n":
                    out, self._spaces, self._column = out + self._spaces, "", 0
            else:
                self._word += c
                if columns(self._word) >= self._width:
                    out += self.end()
        return out

    def end(self) -> str:
        """The last word, on a new line if it needs one."""
        if not self._word:
            return ""
        word, spaces, n = self._word, self._spaces, columns(self._word)
        self._word = self._spaces = ""
        if self._column and self._column + len(spaces) + n > self._width:
            self._column = n
            return "\n" + word
        self._column += len(spaces) + n
        return spaces + word


def columns(text: str) -> int:
    """How wide a text is on a terminal: East Asian characters take two columns, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def styled(stream: TextIO) -> bool:
    """May this stream be given colours?"""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
