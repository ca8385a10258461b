"""llama.cpp and ggml: how they are prepared, their log, and ggml's tensor types.

Knows the shared libraries (libraries.py). Does not know models, headers or devices: weights.py, header.py and devices.py
call it. Importing this module loads the libraries and changes nothing else; `init` does, on first use.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from softllama.errors import ModelError, SoftLlamaError
from softllama.llama.libraries import VERSION as VERSION  # and no other module imports that one
from softllama.llama.libraries import address as address
from softllama.llama.libraries import api as api
from softllama.llama.libraries import declare as declare
from softllama.llama.libraries import exporter as exporter
from softllama.llama.libraries import lib as lib
from softllama.vectors import native

_DEBUG, _WARN, _ERROR, _CONT = 1, 3, 4, 5  # enum ggml_log_level


@cache
def init() -> None:
    """Prepare llama.cpp: take over its log, start its back ends, and tell our C code of its threads. Once in a process.

    Everything in softllama.llama that can log or compute calls this first.
    """
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # or ggml starts a debugger when it aborts
    api.llama_log_set(_keep, None)
    api.llama_backend_init()
    with contextlib.suppress(AttributeError):  # the OpenMP that ggml's CPU back end is linked with, if it is
        native.use_openmp(ctypes.cast(lib.GOMP_parallel, ctypes.c_void_p).value or 0)


# ---- the log


class _Log(threading.local):
    """The log of one thread, so that the cause of one thread's failure is not taken for another's.

    llama.cpp logs from the thread that calls it.
    """

    def __init__(self) -> None:
        self.lines: collections.deque[tuple[int, str]] = collections.deque(
            maxlen=200
        )  # warnings and errors: level, text
        self.captured: list[str] | None = None  # everything, while capture_log is in use


_log = _Log()
_echo = False


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _keep(level: int, text: bytes, _: object) -> None:
    """llama.cpp's log callback."""
    if _echo and level != _DEBUG:
        os.write(2, text)
    if _log.captured is not None:
        _log.captured.append(text.decode("utf-8", "replace"))
    log = _log.lines
    if level == _CONT and log:
        last, line = log.pop()
        log.append((last, line + text.decode("utf-8", "replace")))
    elif level in (_WARN, _ERROR):
        log.append((level, text.decode("utf-8", "replace")))


def clear_log() -> None:
    """Forget what llama.cpp has logged in this thread, before a call whose failure `last_error` is to explain."""
    init()
    _log.lines.clear()


def echo_log() -> None:
    """From now on, also write llama.cpp's log to stderr, without thousands of lines for its authors: for a child process whose
    parent reads that."""
    global _echo
    init()
    _echo = True


@contextlib.contextmanager
def capture_log() -> Iterator[list[str]]:
    """A list that receives everything that llama.cpp logs in this thread meanwhile, information included."""
    init()
    lines: list[str] = []
    before, _log.captured = _log.captured, lines
    try:
        yield lines
    finally:
        _log.captured = before


def buffer_bytes(log_lines: Sequence[str]) -> int:
    """Bytes of the buffers that llama.cpp logs it has made, those of the weights left out."""
    sizes = re.findall(r"(\S+) +buffer size = +([\d.]+) MiB", "".join(log_lines))
    return int(sum(float(n) for kind, n in sizes if kind != "model") * (1 << 20))


def last_error() -> str:
    """The cause of the last failure in llama.cpp's words: the first error since clear_log(), without its prefix."""
    errors = [text.strip() for level, text in _log.lines if level == _ERROR]
    for text in errors:
        text = re.sub(r"^[A-Za-z_:~<>]+: ", "", text)
        text = re.sub(r"^error loading model(?: \w+)?: ", "", text)
        text = re.sub(r"^[a-z]+(_[a-z]+)+: ", "", text)  # the function that threw it
        if text:
            return text if len(text) < 300 else text[:300] + "…"  # it quotes the file
    return "it gave no reason"


def exit_on_abort() -> None:
    """Make llama.cpp's abort end this process with an error message and exit code 1. For the command line, once at start.

    A file's first load is tried in a child process (softllama.engine.first_load). So this is for what comes later: an RPC
    worker that goes away, a batch of a shape that was not tried.
    """
    init()
    declare("ggml_set_abort_callback", ctypes.c_void_p, ctypes.c_void_p)(_on_abort)


@ctypes.CFUNCTYPE(None, ctypes.c_char_p)  # type: ignore[untyped-decorator]
def _on_abort(message: bytes) -> None:
    cause = message.decode("utf-8", "replace").strip().rpartition("/")[2]
    os.write(2, f"Error: llama.cpp stopped: {cause}\nHint: softllama doctor -m FILE may tell more\n".encode())
    os._exit(1)


# ---- tensor types


class _TypeTraits(ctypes.Structure):  # struct ggml_type_traits, the same from llama-cpp-python 0.3.16 to 0.3.36
    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


_type_traits = declare("ggml_get_type_traits", ctypes.POINTER(_TypeTraits), ctypes.c_int)
_type_name = declare("ggml_type_name", ctypes.c_char_p, ctypes.c_int)
_type_size = declare("ggml_type_size", ctypes.c_size_t, ctypes.c_int)
_blck_size = declare("ggml_blck_size", ctypes.c_int64, ctypes.c_int)


@dataclass(frozen=True)
class TableType:
    """A ggml type: `block` values take `block_bytes` bytes; `to_float` is the address of its dequantizer (0 for F32)."""

    name: str
    block: int
    block_bytes: int
    to_float: int


@cache
def table_type(ggml_type: int) -> TableType:
    """What ggml knows of a type.

    Raises:
        ModelError: ggml does not know the type, or cannot turn it into floats.
        SoftLlamaError: ggml's table of types has another layout than ours.
    """
    init()
    if not 0 <= ggml_type < api.GGML_TYPE_COUNT:
        raise ModelError(f"tensor type {ggml_type} is unknown to llama.cpp", "upgrade llama-cpp-python")
    t = _type_traits(ggml_type).contents
    name = (_type_name(ggml_type) or b"").decode()
    if (
        (t.type_name or b"").decode() != name
        or t.blck_size != _blck_size(ggml_type)
        or t.type_size != _type_size(ggml_type)
    ):
        raise SoftLlamaError(
            f"ggml's type table has another layout in llama-cpp-python {VERSION}",
            "install a version that softllama was tested with (see README)",
        )
    if not t.type_size or (not t.to_float and ggml_type != api.GGML_TYPE_F32):
        raise ModelError(f"llama.cpp cannot turn the tensor type {name or ggml_type} into floats")
    return TableType(name.upper(), t.blck_size, t.type_size, t.to_float or 0)


@cache
def has_floats(ggml_type: int) -> bool:
    """Can ggml turn a tensor of this type into floats?"""
    try:
        return bool(table_type(ggml_type))
    except ModelError:
        return False


def ggml_version() -> str:
    """ggml's own version; "" if the library does not report it."""
    with contextlib.suppress(AttributeError):
        return str(declare("ggml_version", ctypes.c_char_p)().decode())
    return ""


def build() -> str:
    """llama-cpp-python's version and, if the library reports them, llama.cpp's own and its commit."""
    text = f"llama-cpp-python {VERSION}"
    with contextlib.suppress(AttributeError):
        text += f", llama.cpp {api.llama_version().decode()}"
    with contextlib.suppress(AttributeError):  # ggml is built inside llama.cpp's tree, so its commit is llama.cpp's
        text += f", commit {declare('ggml_commit', ctypes.c_char_p)().decode()}"
    return text
