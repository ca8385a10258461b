"""The chat of a terminal or a pipe: lines in, commands or messages, answers out. Knows one conversation and one screen."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from softllama.chat import storage
from softllama.chat.conversation import OVERFLOW, Conversation, made_of
from softllama.chat.messages import Message
from softllama.chat.storage import Autosave
from softllama.errors import PromptError, SoftLlamaError
from softllama.terminal import commands
from softllama.terminal.screen import Screen, Show
from softllama.trace.record import Trace
from softllama.trace.step import StopReason

Line: TypeAlias = "tuple[str, bool] | PromptError"  # text, and was it in fences; or why there is none
FENCE = '"""'
LEAVE = "Ctrl-D or /exit leaves."
WELCOME = f"Type a message. /help lists the commands, {FENCE} begins and ends several lines. {LEAVE}"


class Repl:
    """view: how thinking is shown. autosave: where the conversation is kept, None for nowhere."""

    def __init__(
        self, conversation: Conversation, screen: Screen, *, view: str = "show", autosave: Autosave | None = None
    ) -> None:
        self.conversation, self.screen, self.view, self.autosave = conversation, screen, view, autosave
        self.leaving = False
        self.failed = False
        self._told: set[str] = set()
        conversation.changed = self.save

    def run(self) -> int:
        """Talk until the lines end; returns the exit code: 1 if a line of a pipe could not be done."""
        try:
            with self._history():
                self._talk()
            self.save(open_=False)
        finally:
            if self.autosave is not None:
                self.autosave.release()
        return int(self.failed and not self.screen.typed)

    def _talk(self) -> None:
        lines = self._typed() if self.screen.typed else _piped()
        while not self.leaving:
            try:
                line = next(lines, None)
                if line is None:
                    break
                self.handle(line)
            except SoftLlamaError as e:
                self.failed = True
                self.screen.error(e)
                lines = self._typed() if self.screen.typed else lines
            except KeyboardInterrupt:
                if not self.screen.typed:
                    raise
                self.screen.dim("\n" + LEAVE)
                lines = self._typed()

    def handle(self, line: Line) -> None:
        """A command, or a message; several lines are always a message."""
        if isinstance(line, PromptError):
            raise line
        text, fenced = line
        if not text.strip():
            return
        if text.startswith("/") and not fenced:
            if not text.startswith("//"):
                commands.run(self, text)
                return
            text = text[1:]
        self.answer(lambda show: self.conversation.reply(text, show))

    def answer(self, make: Callable[[Show], Trace]) -> Trace:
        """Have an answer made and shown, with the dim line after it."""
        c, before = self.conversation, self.conversation.left_out
        show = Show(self.screen, c.model, self.view)
        trace = make(show)
        show.end(trace.tail)
        self.screen.note(numbers(made_of(trace)))
        if c.left_out > before:
            self.tell(f"The context of {c.n_ctx:,} positions is full. {OVERFLOW} Said once; /stats counts them.")
        if self.screen.terminal:
            self.screen.answer("\n")
        if trace.stop_reason == "interrupted" and not self.screen.typed:
            raise KeyboardInterrupt
        return trace

    def tell(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            self._told.add(text)
            self.screen.note(text)

    def save(self, open_: bool = True) -> None:
        """Keep the conversation. Not being able to is said once, and is no reason to stop talking."""
        if self.autosave is None:
            return
        try:
            self.autosave.write(self.conversation, open_=open_)
        except (SoftLlamaError, OSError) as e:
            self.tell(f"this conversation is not being kept: {e}")

    def show_last(self) -> None:
        """The last message and its answer, for somebody who comes back to them."""
        c = self.conversation
        said = c.messages[-2:] if c.last else c.messages[-1:]
        for m in said:
            self.screen.say(f"> {m.content}" if m.role == "user" else m.content)
        if c.waiting:
            self.screen.note("This message has no answer yet: /regen answers it, /undo takes it back.")

    # ---- lines

    def _typed(self) -> Iterator[Line]:
        """What somebody types, without the fences of several lines."""
        while (line := self._input("> ")) is not None:
            if fenced := line.strip().startswith(FENCE):
                whole = _Fenced(line.strip())
                while not whole.closed:
                    more = self._input("... ")
                    if more is None:
                        return
                    whole.add(more)
                line = whole.text
            self._remember()
            yield (line if fenced else line.strip()), fenced

    def _input(self, prompt: str) -> str | None:
        try:
            if self.screen.terminal:
                return input(prompt)
            self.screen.status(prompt)
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        except EOFError:
            self.screen.answer("\n")
            return None
        except UnicodeDecodeError as e:
            raise PromptError(f"the line is not UTF-8 text: byte {e.start}", "set a UTF-8 locale") from None

    @contextlib.contextmanager
    def _history(self) -> Iterator[None]:
        """The lines of earlier chats, with the arrow keys; none where nobody types or nothing is to be kept."""
        self._remember: Callable[[], None] = lambda: None
        if not self.screen.terminal:
            yield
            return
        try:
            import readline
        except ImportError:  # a Python without it
            yield
            return
        if self.autosave is not None:
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
    whole: _Fenced | None = None
    began = 0
    for number, raw in enumerate(sys.stdin.buffer if sys.stdin is not None else (), 1):
        try:
            line = raw.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as e:
            yield PromptError(f"line {number} is not UTF-8 text: byte {e.start}", "convert it to UTF-8")
            continue
        if whole is None and line.strip().startswith(FENCE):
            whole, began = _Fenced(line.strip()), number
        elif whole is not None:
            whole.add(line)
        else:
            yield line.strip(), False
        if whole is not None and whole.closed:
            yield whole.text, True
            whole = None
    if whole is not None:
        yield PromptError(f"the {FENCE} of line {began} is not closed", "what follows it was not sent")


def numbers(made: Mapping[str, Any]) -> str:
    """An answer in numbers, from how it was made. Without soft steps there were no mixtures to speak of."""
    parts = [
        f"{made.get('n_thinking', 0)} thinking + {made.get('n_answer', 0)} answer tokens",
        f"mean entropy {made.get('mean_entropy', 0):.2f} nats",
        *([f"{made.get('effective_tokens', 1):.1f} tokens in a mixture"] if made.get("n_soft") else []),
        f"{made.get('tokens_per_second', 0):.0f} tokens/s",
    ]
    reason = made.get("stop_reason", StopReason.END_OF_GENERATION)
    return ", ".join(parts) + (f"; {reason}" if reason != StopReason.END_OF_GENERATION else "")


def began(message: Message, n: int = 40) -> str:
    """The beginning of a message, for a line."""
    text = " ".join(message.content.split())
    return text if len(text) <= n else text[: n - 1] + "…"
