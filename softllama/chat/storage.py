"""Conversations as files: JSON that is saved and loaded, and the one that is kept while somebody talks. No terminal.

A file is always replaced as a whole, so a process that is killed leaves the conversation as it was at its last change.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softllama.base import arguments
from softllama.base.files import check_place, from_json, replacing
from softllama.chat import settings as chat_settings
from softllama.chat.messages import COUNTS, Message, Mix
from softllama.errors import PromptError, SoftLlamaError
from softllama.prompts.build import ASSISTANT, USER
from softllama.trace import reader

if TYPE_CHECKING:
    from softllama.chat.conversation import Conversation

FORMAT = 1
KEEP = 50  # conversations that are kept by themselves; the oldest go first
_HINT = "/save FILE in softllama chat writes one"
_BAD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def folder() -> Path:
    """SOFTLLAMA_STATE, or the place that the system has for what a program remembers."""
    if given := os.environ.get("SOFTLLAMA_STATE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/softllama"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "softllama"


# ---- conversations as data ---------------------------------------------------------------------------------------------


def to_dict(c: Conversation, *, traces: bool = False) -> dict[str, Any]:
    """Everything that `restore` needs. A manifest that several answers share is there once."""
    manifests: list[Any] = []
    said = []
    for m in c.messages:
        made = dict(m.made)
        if "manifest" in made:
            if made["manifest"] not in manifests:
                manifests.append(made["manifest"])
            made["manifest"] = manifests.index(made["manifest"])
        record: dict[str, Any] = {"role": m.role, "content": m.content}
        if m.mixes:
            record["mixes"] = {name: mix.to_dict() for name, mix in m.mixes.items()}
        if m.role == ASSISTANT:
            record |= {"thinking": m.thinking, "made": made}
        if traces and m.trace is not None:
            record["trace"] = [json.loads(line) for line in m.trace.jsonl()]
        said.append(record)
    return {
        "kind": "conversation", "format": FORMAT, "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": c.system, "settings": chat_settings.to_dict(c.settings), "template": c.template_source, "seed": c.seed,
        "answers": c.answers, "mixes": {name: mix.to_dict() for name, mix in c.mixes.items()}, "messages": said,
        "manifests": manifests,
    }  # fmt: skip


def restore(c: Conversation, data: Any) -> None:
    """Put what `to_dict` gave into a conversation. Raises SoftLlamaError, and changes nothing, where it cannot be."""
    from softllama.chat import messages

    try:
        if data["kind"] != "conversation" or data["format"] != FORMAT:
            raise ValueError(f"its kind is {data['kind']!r}, format {data['format']!r}")
        system, source, seed, answers = data["system"], data["template"], data["seed"], data["answers"]
        if not isinstance(system, str) or not isinstance(source, str | None):
            raise ValueError("its system message and template must be text")
        for n in (seed, answers):
            if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 2**63:
                raise ValueError(f"{n!r} is no seed or count")
        settings = chat_settings.options(data["settings"])
        mixes = {_name(n): _mix(m) for n, m in data["mixes"].items()}
        said = [_message(m, data["manifests"]) for m in data["messages"]]
        for before, m in zip([None, *said], said, strict=False):
            if m.role not in (USER, ASSISTANT) or m.role == (before.role if before else ASSISTANT):
                raise ValueError("its messages are not the user's and the assistant's in turn")
    except SoftLlamaError as e:
        raise SoftLlamaError(f"the conversation cannot be read: {e.message}", e.hint) from None
    except _BAD as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else str(e)
        raise SoftLlamaError(f"this is not a conversation: {reason}", _HINT) from None
    template = messages.template_of(c.model, source)
    names = ("system", "template_source", "template", "seed", "answers", "settings", "mixes", "messages", "left_out")
    old = {name: getattr(c, name) for name in names}
    new = (system, source, template, seed, answers, settings, mixes, said, 0)
    vars(c).update(zip(names, new, strict=True))
    c.forget_tags()
    try:
        c.check()
    except BaseException:
        vars(c).update(old)
        c.forget_tags()
        raise


def _message(record: Mapping[str, Any], manifests: list[Any]) -> Message:
    content, thought, made = record["content"], record.get("thinking", ""), dict(record.get("made", {}))
    if not isinstance(content, str) or not isinstance(thought, str):
        raise ValueError("a message's content and thinking must be text")
    if "manifest" in made:
        made["manifest"] = dict(manifests[made["manifest"]])
        dict(made["manifest"].get("model", {}))
    for name, value in made.items():
        if name in COUNTS and not isinstance(value, int | float):
            raise ValueError(f"{name} = {value!r} is no number")
        if name == "seed" and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{value!r} is no seed")
        if name in ("policy", "stop_reason") and not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is no text")
    mixes = {_name(n): _mix(m) for n, m in record.get("mixes", {}).items()}
    lines = record.get("trace")
    whole = (
        None
        if lines is None
        else reader.parse([json.dumps(x).encode() for x in lines], Path("a trace in the conversation"))
    )
    return Message(record["role"], content, mixes, thought, made, whole)


def _mix(record: Mapping[str, Any]) -> Mix:
    if not isinstance(record["text"], str):
        raise ValueError("a mixture must be text")
    return Mix(**record)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ValueError(f"{name!r} is no name of a mixture")
    return name


# ---- files -------------------------------------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], data: Any, *, private: bool = False) -> None:
    """Write JSON; the file is replaced as a whole. private: for the user's eyes only."""
    text = json.dumps(data, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    with replacing(arguments.path(path).expanduser(), private=private) as f:
        f.write(text.encode("utf-8", "backslashreplace"))


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise UsageError for a place where a conversation cannot be saved, or where something else is."""
    check_place(Path(path).expanduser(), "a conversation", b'"kind": "conversation"')


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """The text of a file, without the newline at its end. what: what it is, for the errors."""
    p = Path(path).expanduser()
    try:
        return p.read_bytes().decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as e:
        raise PromptError(
            f"the {what} in {str(p)!r} is not UTF-8 text: byte {e.start}", "convert it to UTF-8"
        ) from None
    except OSError as e:
        raise PromptError(f"cannot read the {what} in {str(p)!r}: {e.strerror or e}", "check the path") from None


def read(path: str | os.PathLike[str]) -> Any:
    """The JSON in a file. Raises SoftLlamaError where there is none."""
    p = arguments.path(path).expanduser()
    try:
        return from_json(p.read_bytes())
    except OSError as e:
        raise SoftLlamaError(f"cannot read {str(p)!r}: {e.strerror or e}", "check the path") from None
    except ValueError as e:
        raise SoftLlamaError(f"{str(p)!r} is not a conversation: it is not JSON ({e})", _HINT) from None


class Autosave:
    """The file in which a conversation is kept while it goes on; nobody else's while this object lives.

    A file whose conversation was not ended in order has `open: true`, which is how the next start knows.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock: int | None = None
        self.path = path or _fresh()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._hold()

    def write(self, c: Conversation, *, open_: bool = True) -> None:
        """Keep the conversation as it is now; one without messages is not worth a file."""
        if c.messages:
            write(self.path, {**to_dict(c), "open": open_}, private=True)
        else:
            self.path.unlink(missing_ok=True)

    def anew(self) -> None:
        """Go on in another file, and leave this one as it is."""
        self.release()
        self.path = _fresh()
        self._hold()

    def release(self) -> None:
        """Let another process have the file."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self.path.with_suffix(".lock").unlink()
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> None:
        fd = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock = fd
        kept = sorted(self.path.parent.glob("*.json"), key=lambda p: p.name)
        for old in kept[:-KEEP]:
            if old != self.path and not _held(old):
                old.unlink(missing_ok=True)
                old.with_suffix(".lock").unlink(missing_ok=True)


def latest() -> tuple[Path, dict[str, Any]] | None:
    """The newest conversation that no running chat holds, and what is in it; damaged files are passed over."""
    try:
        found = sorted((folder() / "chats").glob("*.json"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    except OSError:  # another chat took one away just now
        return None
    for path in found:
        if _held(path):
            continue
        with contextlib.suppress(SoftLlamaError):
            data = read(path)
            if isinstance(data, dict) and data.get("kind") == "conversation" and data.get("messages"):
                return path, data
    return None


def _fresh() -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return folder() / "chats" / f"{stamp}-{os.getpid()}.json"


def _held(path: Path) -> bool:
    try:
        fd = os.open(path.with_suffix(".lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
