"""An answer while it is being made: `softllama chat` and `softllama run` print with this one class.

Knows steps and a screen. Does not know a conversation, or how steps come about.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from softllama.show.printable import printable
from softllama.terminal.format import step_line
from softllama.terminal.screen import Screen
from softllama.terminal.wrap import WordWrap
from softllama.trace.step import SOFT, Step

BETWEEN = 0.1  # seconds between two counts that are shown
VIEWS = ("show", "hide", "mixtures")


class TokenCount:
    """How many tokens there are so far and how fast they come: a line on stderr that goes away, on a terminal only.

    Args:
        screen: where the line goes.
        clock: gives seconds.
    """

    def __init__(self, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen, self._clock = screen, clock
        self._n = 0
        self._began = self._last = 0.0
        self._shown = False

    def __call__(self, what: str = "") -> None:
        """Count one more token. The line is written ten times a second at most.

        Args:
            what: is being done.
        """
        self._n += 1
        now = self._clock()
        if self._n == 1:
            self._began = now
        if not self._shown or now - self._last >= BETWEEN:
            seconds = now - self._began
            rate = f", {(self._n - 1) / seconds:.0f}/s" if seconds > 0 else ""
            self._screen.status(f"{what}{', ' * bool(what)}{self._n:,} tokens{rate}")
            self._shown, self._last = True, now

    def end(self) -> None:
        """Erase the line."""
        if self._shown:
            self._screen.status("")
            self._shown = False


class AnswerPrinter:
    """Prints the steps of one answer as they are made: the answer to stdout, the thinking dim to stderr.

    On a terminal, control characters become escapes and lines break between words; a pipe gets the answer as it is.

    Args:
        screen: where text goes.
        spell: the text of a token id.
        view: how thinking is shown. "show": as its readouts. "hide": only how many tokens there are, in one line that goes
            away. "mixtures": a line for each step, with the tokens that were fed and their weights.
        verbatim: keep the white space at the ends of the answer, as the continuation of a prompt needs it. Without,
            white space at the ends is left out, and the answer ends with a newline even if it is empty.
        every_step: with "mixtures", a line for the steps of the answer, too, also where they are not soft.
        answer: False prints the thinking only, where something else writes to stdout.

    An answer that goes to a pipe is counted in such a line, too.
    """

    def __init__(
        self,
        screen: Screen,
        spell: Callable[[int], str],
        *,
        view: str = "show",
        verbatim: bool = False,
        every_step: bool = False,
        answer: bool = True,
    ) -> None:
        self._screen, self._spell, self._view = screen, spell, view
        self._verbatim, self._every_step, self._prints_answer = verbatim, every_step, answer
        self._n_thinking = self._n_answer = 0  # characters written so far
        self._in_thinking = False  # is the line of the thinking open?
        self._after_thinking = False
        self._trailing = ""  # white space that is written if more text follows
        self._count = TokenCount(screen)
        self._counts_answer = answer and not sys.stdout.isatty()
        self._delayed: list[str] | None = None  # pieces of an answer whose steps are listed on the same terminal
        self._wraps = {"thinking": WordWrap(screen.width, sys.stderr), "answer": WordWrap(screen.width, sys.stdout)}

    def __call__(self, step: Step) -> None:
        """Print one step."""
        if self._view == "mixtures" and (self._every_step or step.thinking or step.mode == SOFT):
            if not step.thinking and self._delayed is None and sys.stdout.isatty() and sys.stderr.isatty():
                self._delayed = []
            self._screen.cut(step_line(step, self._spell))
        if step.thinking:
            self._think(step.text, counts=True)
        elif self._prints_answer:
            self._answer(step.text)
            if self._counts_answer:
                self._count()

    def end(self, tail: tuple[str, str]) -> None:
        """Print what is left, and the last newline.

        Args:
            tail: the text of the thinking and of the answer that was held back for a stop string.
        """
        if tail[0]:
            self._think(tail[0])
        if tail[1] and self._prints_answer:
            self._answer(tail[1])
        self._end_thinking()
        self._count.end()
        if self._prints_answer:
            if self._delayed is not None:
                text, self._delayed = "".join(self._delayed), None
                self._write_answer(text)
            end = "\n" if self._n_answer or not self._verbatim else ""
            self._screen.answer(self._wraps["answer"].end() + end)

    def _think(self, text: str, *, counts: bool = False) -> None:
        self._in_thinking = self._after_thinking = True
        if self._view == "show":
            text = self._stripped(text, self._n_thinking)
            self._n_thinking += len(text)
            if text := self._wraps["thinking"].push(printable(text)):
                self._screen.dim(text, "")
        elif self._view == "hide" and counts:
            self._count("thinking")

    def _answer(self, text: str) -> None:
        self._end_thinking()
        if not self._verbatim:
            text = self._stripped(text, self._n_answer)
        elif self._after_thinking and not self._n_answer:
            text = text.lstrip()  # the white space that templates put between the block and the answer
        self._n_answer += len(text)
        if self._delayed is None:
            self._write_answer(text)
        else:
            self._delayed.append(text)

    def _write_answer(self, text: str) -> None:
        if text := self._wraps["answer"].push(printable(text) if sys.stdout.isatty() else text):
            self._screen.answer(text)

    def _stripped(self, text: str, n_before: int) -> str:
        """The text without white space at the ends of the whole: what is at its end waits for more text."""
        text = self._trailing + text
        stripped = text.rstrip()
        self._trailing = text[len(stripped) :]
        return stripped if n_before else stripped.lstrip()

    def _end_thinking(self) -> None:
        if not self._in_thinking:
            return
        self._in_thinking, self._trailing = False, ""
        if self._view == "hide":
            self._count.end()
        elif self._view == "show" and self._n_thinking:
            self._screen.dim(self._wraps["thinking"].end())
