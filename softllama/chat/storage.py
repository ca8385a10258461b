"""Conversations as files: the JSON that is saved and loaded, and the file that is kept while somebody talks.

Knows `Saved`, a conversation as a plain value, and folders. Does not know a Conversation, a model or a terminal.
A file is always replaced as a whole, so a process that is killed leaves the conversation as it was at its last change.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from softllama.base import arguments, folders, system
from softllama.base.files import check_place, from_json, replacing
from softllama.chat import settings as chat_settings
from softllama.chat.messages import COUNTS, Message, Mix
from softllama.errors import SoftLlamaError
from softllama.generation.options import GenerationOptions
from softllama.prompts.build import ASSISTANT, USER
from softllama.trace import reader

FORMAT = 1
KEEP = 50  # autosaved conversations; the oldest are deleted first
_HINT = "/save FILE in softllama chat writes one"
_BAD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A conversation as a value: what is saved of it, and what another Conversation needs to go on.

    system: the system message, "" for none. template: the Jinja text of a chat template, None for the model's own.
    seed: of the first answer. answers: how many were made; the next one's seed is seed + answers. settings: how answers
    are made. mixes: the mixtures that {name} in a message can stand for. messages: user and assistant in turn.
    """

    system: str = ""
    template: str | None = None
    seed: int = 0
    answers: int = 0
    settings: GenerationOptions = field(default_factory=lambda: chat_settings.options({}))
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()


def folder() -> Path:
    """SOFTLLAMA_STATE, or the folder that the system has for what a program remembers."""
    return folders.state()


# ---- conversations as JSON ---------------------------------------------------------------------------------------------


def dump(saved: Saved, *, traces: bool = False) -> dict[str, Any]:
    """A conversation, ready for JSON; `parse` reads it. A manifest that several answers share is written once.

    Args:
        saved: the conversation.
        traces: write the record of every step of every answer as well.
    """
    manifests: list[Any] = []
    return {
        "kind": "conversation",
        "format": FORMAT,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": saved.system,
        "settings": chat_settings.to_dict(saved.settings),
        "template": saved.template,
        "seed": saved.seed,
        "answers": saved.answers,
        "mixes": {name: mix.to_dict() for name, mix in saved.mixes.items()},
        "messages": [_message_record(m, manifests, traces) for m in saved.messages],
        "manifests": manifests,
    }


def _message_record(m: Message, manifests: list[Any], traces: bool) -> dict[str, Any]:
    """One message for JSON. Its manifest goes to `manifests`, and its index there stays in its place."""
    record: dict[str, Any] = {"role": m.role, "content": m.content}
    if m.mixes:
        record["mixes"] = {name: mix.to_dict() for name, mix in m.mixes.items()}
    if m.role == ASSISTANT:
        numbers = dict(m.details)
        if "manifest" in numbers:
            if numbers["manifest"] not in manifests:
                manifests.append(numbers["manifest"])
            numbers["manifest"] = manifests.index(numbers["manifest"])
        record |= {"thinking": m.thinking, "made": numbers}
    if traces and m.trace is not None:
        record["trace"] = [json.loads(line) for line in m.trace.jsonl()]
    return record


def parse(data: Any) -> Saved:
    """The conversation that `dump` wrote.

    Args:
        data: what JSON gave, of any type.

    Raises:
        SoftLlamaError: it is not a conversation, or something in it is not allowed.
    """
    try:
        if data["kind"] != "conversation" or data["format"] != FORMAT:
            raise ValueError(f"its kind is {data['kind']!r}, format {data['format']!r}")
        if not isinstance(data["system"], str) or not isinstance(data["template"], str | None):
            raise ValueError("its system message and template must be text")
        for n in (data["seed"], data["answers"]):
            if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 2**63:
                raise ValueError(f"{n!r} is not a seed or count")
        return Saved(
            system=data["system"],
            template=data["template"],
            seed=data["seed"],
            answers=data["answers"],
            settings=chat_settings.options(data["settings"]),
            mixes=_mixes(data["mixes"]),
            messages=_messages(data["messages"], data["manifests"]),
        )
    except SoftLlamaError as e:
        raise SoftLlamaError(f"the conversation cannot be read: {e.message}", e.hint) from None
    except _BAD as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else str(e)
        raise SoftLlamaError(f"this is not a conversation: {reason}", _HINT) from None


def _messages(records: Any, manifests: list[Any]) -> tuple[Message, ...]:
    messages = tuple(_message(r, manifests) for r in records)
    for i, m in enumerate(messages):
        if m.role != (ASSISTANT if i % 2 else USER):
            raise ValueError("its messages are not the user's and the assistant's in turn")
    return messages


def _message(record: Mapping[str, Any], manifests: list[Any]) -> Message:
    content, thinking, numbers = record["content"], record.get("thinking", ""), dict(record.get("made", {}))
    if not isinstance(content, str) or not isinstance(thinking, str):
        raise ValueError("a message's content and thinking must be text")
    if "manifest" in numbers:
        numbers["manifest"] = dict(manifests[numbers["manifest"]])
        dict(numbers["manifest"].get("model", {}))
    for name, value in numbers.items():
        if name in COUNTS and not isinstance(value, int | float):
            raise ValueError(f"{name} = {value!r} is not a number")
        if name == "seed" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{value!r} is not a seed")
        if name in ("policy", "stop_reason") and not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is not text")
    trace = None
    if (lines := record.get("trace")) is not None:
        trace = reader.parse([json.dumps(x).encode() for x in lines], Path("a trace in the conversation"))
    return Message(record["role"], content, _mixes(record.get("mixes", {})), thinking, numbers, trace)


def _mixes(records: Mapping[Any, Any]) -> dict[str, Mix]:
    for name, record in records.items():
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
            raise ValueError(f"{name!r} is not a name of a mixture")
        if not isinstance(record["text"], str):
            raise ValueError("a mixture must be text")
    return {name: Mix(**record) for name, record in records.items()}


# ---- files -------------------------------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], data: Any, *, private: bool = False) -> None:
    """Write JSON; the file is replaced as a whole.

    Args:
        path: the file.
        data: what json.dumps takes, such as what `dump` returns.
        private: only the user may read the file.

    Raises:
        SoftLlamaError: it cannot be written.
    """
    text = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    with replacing(arguments.path(path).expanduser(), private=private) as f:
        f.write(text.encode("utf-8", "backslashreplace"))


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise UsageError if a conversation cannot be saved at this path, or if the file is something else."""
    check_place(Path(path).expanduser(), "a conversation", b'"kind": "conversation"')


def read(path: str | os.PathLike[str]) -> Any:
    """The JSON of a file.

    Raises:
        SoftLlamaError: there is no such file, or it is not JSON.
    """
    p = arguments.path(path).expanduser()
    try:
        return from_json(p.read_bytes())
    except OSError as e:
        raise SoftLlamaError(f"cannot read {str(p)!r}: {e.strerror or e}", "check the path") from None
    except ValueError as e:
        raise SoftLlamaError(f"{str(p)!r} is not a conversation: it is not JSON ({e})", _HINT) from None


class Autosave:
    """The file in which a conversation is kept while it goes on. A lock file beside it keeps other chats away.

    `open: true` in the file says that the conversation was not ended in order; the next chat offers to continue it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock: int | None = None
        self.path = path or _new_path()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._acquire()

    def write(self, saved: Saved, *, finished: bool = False) -> None:
        """Write the conversation as it is now. One without messages gets no file.

        Args:
            saved: the conversation.
            finished: it was ended in order, so that nobody offers to continue it.

        Raises:
            SoftLlamaError, OSError: the file cannot be written.
        """
        if saved.messages:
            write(self.path, {**dump(saved), "open": not finished}, private=True)
        else:
            self.path.unlink(missing_ok=True)

    def start_new_file(self) -> None:
        """Go on in another file; this one stays as it is."""
        self.release()
        self.path = _new_path()
        self._acquire()

    def release(self) -> None:
        """Give up the lock: another process may have the file."""
        if self._lock is not None:
            lock = self.path.with_suffix(".lock")
            with contextlib.suppress(OSError):
                lock.unlink()  # while it is held, so that nobody else's is removed
            os.close(self._lock)
            self._lock = None
            if system.WINDOWS:  # which removes no open file
                with contextlib.suppress(OSError):
                    lock.unlink()

    def _acquire(self) -> None:
        fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        if not system.lock(fd):
            os.close(fd)
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        self._lock = fd
        files = sorted(self.path.parent.glob("*.json"), key=lambda p: p.name)
        for old in files[:-KEEP]:
            if old != self.path and not _in_use(old):
                old.unlink(missing_ok=True)
                old.with_suffix(".lock").unlink(missing_ok=True)


def latest() -> tuple[Path, dict[str, Any]] | None:
    """The newest autosaved conversation that no running chat holds: its file and its JSON. Damaged files are skipped."""
    try:
        paths = sorted((folder() / "chats").glob("*.json"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    except OSError:  # another chat deleted one just now
        return None
    for path in paths:
        if _in_use(path):
            continue
        with contextlib.suppress(SoftLlamaError):
            data = read(path)
            if isinstance(data, dict) and data.get("kind") == "conversation" and data.get("messages"):
                return path, data
    return None


def _new_path() -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return folder() / "chats" / f"{stamp}-{os.getpid()}.json"


def _in_use(path: Path) -> bool:
    """Does a running chat hold the lock of this file?"""
    try:
        fd = os.open(path.with_suffix(".lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        return not system.lock(fd)
    finally:
        os.close(fd)
