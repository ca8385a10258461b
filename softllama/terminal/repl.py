"""The loop of a chat: lines in, dispatch out. A line is a command or a message; what happens then, `ChatState` knows.

Knows fences of several lines, the history of typed lines, Ctrl-C and Ctrl-D. Does not know what a command does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

from softllama.chat import storage
from softllama.errors import EmptyAnswerError, PromptError, SoftLlamaError
from softllama.terminal import commands
from softllama.terminal.state import ChatState

Line: TypeAlias = "tuple[str, bool] | PromptError"  # the text, and was it in fences; or why it cannot be read
FENCE = '"""'
LEAVE = "Ctrl-D or /exit leaves."
WELCOME = f"Type a message. /help lists the commands, {FENCE} begins and ends several lines. {LEAVE}"


class Repl:
    """Reads lines until they end or a command leaves.

    Args:
        chat: what the lines act on.
    """

    def __init__(self, chat: ChatState) -> None:
        self._chat, self._screen = chat, chat.screen
        self._failed = False
        self._remember: Callable[[], None] = lambda: None  # writes the history of lines

    def run(self) -> int:
        """Talk until the lines end; returns the exit code: 1 if a line of a pipe failed, 3 if an answer to one was empty."""
        try:
            with self._history():
                self._talk()
            self._chat.save(finished=True)
        finally:
            if self._chat.autosave is not None:
                self._chat.autosave.release()
        if self._screen.typed:
            return 0
        return 1 if self._failed else EmptyAnswerError.exit_code * self._chat.had_empty_answer

    def _talk(self) -> None:
        lines = self._typed() if self._screen.typed else _piped()
        while not self._chat.leaving:
            try:
                line = next(lines, None)
                if line is None:
                    break
                self._dispatch(line)
            except SoftLlamaError as e:
                self._failed = True
                self._screen.error(e.message, e.hint)
                lines = self._typed() if self._screen.typed else lines
            except KeyboardInterrupt:
                if not self._screen.typed:
                    raise
                self._screen.dim("\n" + LEAVE)
                lines = self._typed()

    def _dispatch(self, line: Line) -> None:
        """A command, or a message; several lines are always a message."""
        if isinstance(line, PromptError):
            raise line
        text, fenced = line
        if not text.strip():
            return
        if text.startswith("/") and not fenced:
            if not text.startswith("//"):
                commands.run(self._chat, text)
                return
            text = text[1:]
        self._chat.reply(text)

    def _typed(self) -> Iterator[Line]:
        """The lines that somebody types, without the fences of several lines."""
        while (line := self._input("> ")) is not None:
            if fenced := line.strip().startswith(FENCE):
                block = _Fenced(line.strip())
                while not block.closed:
                    more = self._input("... ")
                    if more is None:
                        return
                    block.add(more)
                line = block.text
            self._remember()
            yield (line if fenced else line.strip()), fenced

    def _input(self, prompt: str) -> str | None:
        try:
            if self._screen.terminal:
                return input(prompt)
            self._screen.status(prompt)
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        except EOFError:
            self._screen.answer("\n")
            return None
        except UnicodeDecodeError as e:
            raise PromptError(f"the line is not UTF-8 text: byte {e.start}", "set a UTF-8 locale") from None

    @contextlib.contextmanager
    def _history(self) -> Iterator[None]:
        """The arrow keys bring the lines of earlier chats, unless nobody types or nothing is to be kept."""
        if not self._screen.terminal:
            yield
            return
        try:
            import readline
        except ImportError:  # this Python has none
            yield
            return
        if self._chat.autosave is not None:
            path = storage.folder() / "chat_history"
            readline.set_history_length(1000)
            with contextlib.suppress(OSError):
                readline.read_history_file(path)

            def remember() -> None:
                with contextlib.suppress(OSError):
                    path.touch(mode=0o600)
                    readline.write_history_file(path)

            self._remember = remember
        yield


class _Fenced:
    """Lines between two \"\"\", which may share a line with text."""

    def __init__(self, first: str) -> None:
        self._lines: list[str] = []
        self.closed = False
        self.add(first[len(FENCE) :])

    def add(self, line: str) -> None:
        text = line.rstrip()
        if text.endswith(FENCE):
            self.closed = True
            line = text[: -len(FENCE)]
        self._lines.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self._lines).strip("\n")


def _piped() -> Iterator[Line]:
    """The lines of a pipe or file."""
    block: _Fenced | None = None
    first = 0  # number of the line that opened it
    for number, raw in enumerate(sys.stdin.buffer if sys.stdin is not None else (), 1):
        try:
            line = raw.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as e:
            yield PromptError(f"line {number} is not UTF-8 text: byte {e.start}", "convert it to UTF-8")
            continue
        if block is None and line.strip().startswith(FENCE):
            block, first = _Fenced(line.strip()), number
        elif block is not None:
            block.add(line)
        else:
            yield line.strip(), False
        if block is not None and block.closed:
            yield block.text, True
            block = None
    if block is not None:
        yield PromptError(f"the {FENCE} of line {first} is not closed", "what follows it was not sent")
