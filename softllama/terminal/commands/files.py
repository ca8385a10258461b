"""/save, /load and /trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from softllama.chat import storage
from softllama.errors import UsageError
from softllama.terminal.commands.table import command, unquoted
from softllama.trace.record import check_path

if TYPE_CHECKING:
    from softllama.terminal.repl import Repl


@command("FILE [traces]", "save the conversation as JSON; traces: with every step of every answer")
def save(repl: Repl, text: str) -> None:
    path, traces = text, False
    if text.endswith(" traces"):
        path, traces = text.removesuffix(" traces").strip(), True
    path = unquoted(path, "/save chat.json")
    storage.check_path(path)
    repl.conversation.save(path, traces=traces)
    repl.screen.note(f"saved: {path}")


@command("FILE", "go on with a saved conversation; the present one stays in the autosave")
def load(repl: Repl, text: str) -> None:
    path = unquoted(text, "/load chat.json")
    data = storage.read(path)
    if repl.autosave is not None and repl.conversation.messages:
        repl.save(open_=False)
        held, repl.autosave = repl.autosave, None  # so that the old file stays as it is
        try:
            repl.conversation.restore(data)
        finally:
            repl.autosave = held
        held.anew()
        repl.save()
    else:
        repl.conversation.restore(data)
    repl.screen.note(f"{len(repl.conversation.messages)} messages; the last of them:")
    repl.show_last()


@command("FILE", "save the record of the last answer (.jsonl or .npz), as softllama trace shows it")
def trace(repl: Repl, text: str) -> None:
    path = unquoted(text, "/trace answer.jsonl")
    last = repl.conversation.last
    if last is None or last.trace is None:
        raise UsageError("there is no record of the last answer", "/regen makes one")
    check_path(path)
    last.trace.save(path)
    repl.screen.note(f"saved: {path}")
