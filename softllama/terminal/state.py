"""One chat: its conversation, its screen, its autosave. Commands act on it, and the repl gives it messages.

Does not know where lines come from.
"""

from __future__ import annotations

from collections.abc import Callable

from softllama.chat.conversation import Conversation
from softllama.chat.messages import details_of
from softllama.chat.overflow import OVERFLOW
from softllama.chat.storage import Autosave
from softllama.errors import SoftLlamaError
from softllama.generation.run import no_answer
from softllama.terminal.format import answer_numbers, warnings
from softllama.terminal.live import AnswerPrinter
from softllama.terminal.screen import Screen
from softllama.trace.record import Trace


class ChatState:
    """What a chat's commands work with.

    Args:
        conversation: answers messages; its changes are saved from now on.
        screen: where text goes.
        view: how thinking is shown, one of terminal.live.VIEWS.
        autosave: where the conversation is kept; None for nowhere.

    Attributes:
        leaving: the chat ends after this line.
        had_empty_answer: was an answer empty?
    """

    def __init__(
        self, conversation: Conversation, screen: Screen, *, view: str = "show", autosave: Autosave | None = None
    ) -> None:
        self.conversation, self.screen, self.view, self.autosave = conversation, screen, view, autosave
        self.leaving = self.had_empty_answer = False
        self._reported: set[str] = set()
        conversation.changed = self.save

    def reply(self, text: str) -> None:
        """Answer a message."""
        self.answer(lambda each: self.conversation.reply(text, each))

    def answer(self, make: Callable[[AnswerPrinter], Trace]) -> None:
        """Print an answer while it is made, and its numbers.

        Args:
            make: makes the answer; it hands every step to the function that it gets.

        Raises:
            KeyboardInterrupt: Ctrl-C stopped the answer, and nobody types at a terminal.
        """
        c, n_left_out = self.conversation, self.conversation.left_out
        printer = AnswerPrinter(self.screen, c.model.spell, view=self.view)
        trace = make(printer)
        printer.end(trace.tail)
        self.screen.note(answer_numbers(details_of(trace)))
        if why := no_answer(trace):
            self.had_empty_answer = True
            hint = "/think off, /think budget N" if trace.n_thinking else "/regen draws another"
            self.screen.error(f"the answer is empty: {why}", hint)
        for warning in warnings(trace.degenerations, c.settings.on_loop):
            self.screen.note(warning)
        if c.left_out > n_left_out:
            self.report_once(
                f"The context of {c.n_ctx:,} positions is full. {OVERFLOW} This is reported once; /stats counts them."
            )
        if self.screen.terminal:
            self.screen.answer("\n")
        if trace.stop_reason == "interrupted" and not self.screen.typed:
            raise KeyboardInterrupt

    def report_once(self, text: str) -> None:
        """Print a note that this chat has not printed yet."""
        if text not in self._reported:
            self._reported.add(text)
            self.screen.note(text)

    def save(self, *, finished: bool = False) -> None:
        """Write the autosave. If that fails, the chat goes on, and the reason is reported once."""
        if self.autosave is None:
            return
        try:
            self.autosave.write(self.conversation.snapshot(), finished=finished)
        except (SoftLlamaError, OSError) as e:
            self.report_once(f"this conversation is not being kept: {e}")

    def start_new_file(self, change: Callable[[], None]) -> None:
        """Change the conversation, and save it in another file from now on; the old file keeps what was there before.

        Args:
            change: changes the conversation. If it raises, the old file is used further.
        """
        self.save(finished=True)
        autosave, self.autosave = self.autosave, None  # while it changes, nothing is written to the old file
        try:
            change()
        finally:
            self.autosave = autosave
        if autosave is not None:
            autosave.start_new_file()
            self.save()

    def show_last(self) -> None:
        """Print the last message and its answer, for somebody who comes back to them."""
        c = self.conversation
        for m in c.messages[-2:] if c.last else c.messages[-1:]:
            self.screen.print(f"> {m.content}" if m.role == "user" else m.content)
        if c.waiting:
            self.screen.note("This message has no answer yet: /regen answers it, /undo takes it back.")
