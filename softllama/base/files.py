"""Files that are written as a whole or not at all, and JSON that is strict. Does not know what is in the files."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from softllama.base import arguments
from softllama.errors import PromptError, SoftLlamaError, UsageError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    Args:
        private: only its owner may read it.

    Raises:
        SoftLlamaError: it cannot be written, or `path` is something other than a file, such as /dev/stdout.
    """
    p = Path(path)
    try:
        if p.exists() and not p.is_file():
            raise SoftLlamaError(f"cannot write {str(p)!r}: it is not a file", "name another file")
        name = p.with_name(f".{p.name[:100]}-{os.urandom(6).hex()}")
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
            with os.fdopen(fd, "wb") as f:
                yield f
            name.replace(p)
        except BaseException:
            with contextlib.suppress(OSError):
                name.unlink(missing_ok=True)
            raise
    except OSError as e:
        raise unwritable(p, e, "name another file") from None


def save_as(path: str | os.PathLike[str], what: str, forms: Mapping[str, Callable[[], str | bytes]]) -> None:
    """Write a value in the form that the file's suffix names.

    Args:
        path: an earlier file is replaced as a whole.
        what: the kind of value for the error message, such as "a trace".
        forms: from suffixes, such as ".json", to functions that make the contents. Text is written as UTF-8; halves of
            surrogate pairs, which UTF-8 lacks, as their escapes.

    Raises:
        UsageError: no form has that suffix.
        SoftLlamaError: the file cannot be written.
    """
    p = arguments.path(path)
    form = forms.get(p.suffix.lower())
    if form is None:
        *first, last = forms
        raise UsageError(f"cannot save {what} as {p.name!r}", f"end the name in {', '.join(first)} or {last}")
    contents = form()
    with replacing(p) as f:
        f.write(contents if isinstance(contents, bytes) else contents.encode("utf-8", "backslashreplace"))


def check_place(path: str | os.PathLike[str], what: str, mark: bytes) -> None:
    """Check, before any work is done, that a file can be written to a path, and that no other file is lost by it.

    Args:
        what: a noun for the kind of file, such as "a trace".
        mark: bytes that are among the first 2,000 of such a file. An earlier one may be replaced, any other file may not.

    Raises:
        UsageError: no file can be written there, or another file is there.
    """
    p = Path(path)
    hint = "name another file"
    if not p.parent.is_dir():
        raise UsageError(f"cannot write {str(p)!r}: there is no folder {str(p.parent)!r}", "make the folder first")
    if not os.access(p.parent, os.W_OK):
        raise UsageError(f"cannot write {str(p)!r}: its folder may not be written to", hint)
    if p.exists() and not p.is_file():
        raise UsageError(f"cannot write {str(p)!r}: it is not a file", hint)
    try:
        with p.open("rb") as f:
            start = f.read(2000)
    except FileNotFoundError:
        return
    except OSError as e:
        raise UsageError(f"cannot replace {str(p)!r}: {e.strerror or e}", hint) from None
    if start and mark not in start:
        raise UsageError(f"{str(p)!r} is there already and is not {what}", hint)


def unwritable(path: str | os.PathLike[str], e: OSError, hint: str) -> SoftLlamaError:
    """The error for a file that cannot be written. hint: what to do unless the disk is full."""
    full = {
        errno.ENOSPC: "make room on the disk",
        errno.EDQUOT: "make room within your quota",
        errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    }
    kept = " (what was there before is as it was)" if e.errno in full and Path(path).exists() else ""
    return SoftLlamaError(f"cannot write {os.fspath(path)!r}: {e.strerror or e}{kept}", full.get(e.errno or 0, hint))


def read_text(path: str | os.PathLike[str], what: str = "", hint: str = "check the path") -> str:
    """The text of a UTF-8 file that a user wrote, without a byte order mark and without the newline at its end.

    Lines that end as on Windows (CR LF) end in a newline, as a model's numbers would be others for the same text.

    Args:
        path: the file; ~ is the user's folder.
        what: what the text is, for error messages: "chat template".
        hint: the error's hint where the file cannot be read.

    Raises:
        PromptError: the file cannot be read, or is not UTF-8.
    """
    label = f"the {what} in {os.fspath(path)!r}" if what else repr(os.fspath(path))
    try:
        data = Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError) as e:  # a NUL in the name, a ~user who does not exist
        raise PromptError(f"cannot read {label}: {getattr(e, 'strerror', None) or e}", hint) from None
    return decode(data, label)


def text_or_file(text: str, what: str) -> str:
    """What a user typed: the text itself, or the text of a file, written @FILE. what: for error messages."""
    return read_text(text[1:], what) if text.startswith("@") else text


def decode(data: bytes, label: str) -> str:
    """UTF-8 bytes as text, as `read_text` does. label: names the text in the error message."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as e:
        raise PromptError(f"{label} is not UTF-8 text: byte {e.start}", "convert it to UTF-8") from None


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text. NaN and infinity, which Python's json reads, are not allowed.

    Raises:
        ValueError: the text is something else, is nested too deeply, or holds a number that does not fit into a float.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}")

    def real(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"it holds {digits[:30]}")
        return value

    try:
        return json.loads(text, parse_constant=refuse, parse_float=real)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
