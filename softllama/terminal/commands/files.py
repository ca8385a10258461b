"""/save, /load and /trace."""

from __future__ import annotations

from softllama.chat import storage
from softllama.errors import UsageError
from softllama.terminal.commands.table import command, unquoted
from softllama.terminal.state import ChatState
from softllama.trace.record import check_path


@command("FILE [traces]", "save the conversation as JSON; traces: with every step of every answer")
def save(chat: ChatState, text: str) -> None:
    path, traces = text, False
    if text.endswith(" traces"):
        path, traces = text.removesuffix(" traces").strip(), True
    path = unquoted(path, "/save chat.json")
    storage.check_path(path)
    chat.conversation.save(path, traces=traces)
    chat.screen.note(f"saved: {path}")


@command("FILE", "go on with a saved conversation; the present one stays in the autosave")
def load(chat: ChatState, text: str) -> None:
    saved = storage.parse(storage.read(unquoted(text, "/load chat.json")))
    chat.start_new_file(lambda: chat.conversation.restore(saved))
    chat.screen.note(f"{len(chat.conversation.messages)} messages; the last of them:")
    chat.show_last()


@command("FILE", "save the record of the last answer (.npz or .jsonl), as softllama trace shows it")
def trace(chat: ChatState, text: str) -> None:
    path = unquoted(text, "/trace answer.npz")
    last = chat.conversation.last
    if last is None or last.trace is None:
        raise UsageError("there is no record of the last answer", "/regen makes one")
    check_path(path)
    last.trace.save(path)
    chat.screen.note(f"saved: {path}")
