"""llama_cpp and ggml, loaded once: log kept aside, table types, devices, threads. Knows no model."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import platform
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # or ggml starts a debugger when it aborts

import llama_cpp
from llama_cpp import llama_cpp as _api

from softllama.base import signals
from softllama.errors import ModelError, SoftLlamaError
from softllama.vectors import native

api: Any = _api  # functions, structs and constants of llama.h
lib: Any = _api._lib  # libllama; the dynamic linker finds the symbols of libggml through it

with contextlib.suppress(AttributeError):  # the OpenMP that ggml's CPU back end is linked with, if it is
    native.use_openmp(ctypes.cast(lib.GOMP_parallel, ctypes.c_void_p).value or 0)

VERSION: str = llama_cpp.__version__

_WARN, _ERROR, _CONT = 3, 4, 5  # enum ggml_log_level


class _Log(threading.local):
    """What llama.cpp said in this thread, so that the cause of one thread's failure is not taken for another's."""

    def __init__(self) -> None:
        self.lines: collections.deque[tuple[int, str]] = collections.deque(maxlen=200)


_log = _Log()
_echo = False
_heard: list[str] | None = None


@api.llama_log_callback  # type: ignore[untyped-decorator]
def _keep(level: int, text: bytes, _: object) -> None:
    if _echo:
        os.write(2, text)
    if _heard is not None:
        _heard.append(text.decode("utf-8", "replace"))
    log = _log.lines
    if level == _CONT and log:
        last, line = log.pop()
        log.append((last, line + text.decode("utf-8", "replace")))
    elif level in (_WARN, _ERROR):
        log.append((level, text.decode("utf-8", "replace")))


api.llama_log_set(_keep, None)
api.llama_backend_init()


def clear_log() -> None:
    """Forget what llama.cpp has said so far."""
    _log.lines.clear()


def echo_log() -> None:
    """From now on, also write everything that llama.cpp says to stderr: for a child process whose parent reads that."""
    global _echo
    _echo = True


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Everything that llama.cpp says meanwhile, information included."""
    global _heard
    said: list[str] = []
    before, _heard = _heard, said
    try:
        yield said
    finally:
        _heard = before


def buffers(said: Sequence[str]) -> int:
    """Bytes of the buffers that llama.cpp says it made, those of the weights left out."""
    found = re.findall(r"(\S+) +buffer size = +([\d.]+) MiB", "".join(said))
    return int(sum(float(n) for kind, n in found if kind != "model") * (1 << 20))


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


class Held:
    """Something of llama.cpp's that is given back once: by `free`, with its owner, or when Python ends.

    pointer: None afterwards. lock: is held while it is used. after: what must not be given back before. among: where all
    that there are of its kind are listed.
    """

    def __init__(
        self, pointer: Any, function: Any, lock: Any, after: object = None, among: set[Held] | None = None
    ) -> None:
        self.pointer = pointer
        self._function, self._lock, self._after = function, lock, after
        self._among = set() if among is None else among
        self._among.add(self)

    def free(self) -> None:
        """Safe to call twice. Not done in a forked child, where llama.cpp's threads are gone and may hold locks, nor
        when Python ends while a thread goes on computing: the memory goes with the process then.
        """
        if signals.forked() or not self._lock.acquire(timeout=60):
            return
        try:
            pointer, self.pointer = self.pointer, None
            if pointer is not None:
                with signals.deferred():  # llama.cpp's log calls Python, where an interrupt would be lost
                    self._function(pointer)
            self._after = None
            self._among.discard(self)
        finally:
            self._lock.release()


def exit_on_abort() -> None:
    """Make llama.cpp's abort end this process with a sentence and exit code 1. For the command line, once at start.

    A file's first load is tried in a child process (softllama.engine.first_load). So this is for what comes later: an RPC
    worker that goes away, a batch of a shape that was not tried.
    """
    lib.ggml_set_abort_callback.restype = ctypes.c_void_p
    lib.ggml_set_abort_callback(_on_abort)


@ctypes.CFUNCTYPE(None, ctypes.c_char_p)  # type: ignore[untyped-decorator]
def _on_abort(message: bytes) -> None:
    cause = message.decode("utf-8", "replace").strip().rpartition("/")[2]
    os.write(2, f"Error: llama.cpp stopped: {cause}\nHint: softllama doctor -m FILE may tell more\n".encode())
    os._exit(1)


# ---- table types ---------------------------------------------------------------------------------------------------


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


def _declare(name: str, result: Any, *arguments: Any) -> Any:
    f = getattr(lib, name)
    f.restype, f.argtypes = result, list(arguments)
    return f


def address(name: str) -> int:
    """Where a function of the libraries lies, for C that is linked to none of them."""
    return int(ctypes.cast(getattr(lib, name), ctypes.c_void_p).value or 0)


_type_traits = _declare("ggml_get_type_traits", ctypes.POINTER(_TypeTraits), ctypes.c_int)
_type_name = _declare("ggml_type_name", ctypes.c_char_p, ctypes.c_int)
_type_size = _declare("ggml_type_size", ctypes.c_size_t, ctypes.c_int)
_blck_size = _declare("ggml_blck_size", ctypes.c_int64, ctypes.c_int)


@cache
def block_of(ggml_type: int) -> tuple[int, int]:
    """Values in a block of a type, and the block's bytes; (0, 0) for types that are no longer in use."""
    return int(_blck_size(ggml_type)), int(_type_size(ggml_type))


@dataclass(frozen=True)
class TableType:
    """A ggml type: `block` values take `block_bytes` bytes; `to_float` is its dequantizer's address (0 for F32)."""

    name: str
    block: int
    block_bytes: int
    to_float: int


@cache
def table_type(ggml_type: int) -> TableType:
    """What ggml knows of a type. Raises ModelError for one that ggml cannot turn into floats."""
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


# ---- devices and threads -------------------------------------------------------------------------------------------

_dev_count = _declare("ggml_backend_dev_count", ctypes.c_size_t)
_dev_get = _declare("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
_dev_name = _declare("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
_dev_description = _declare("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
_dev_type = _declare("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU; integrated ones are 2


@cache
def gpus() -> tuple[str, ...]:
    """Names of the GPUs that this build of llama.cpp can use, such as "CUDA0 (NVIDIA H100)"."""
    if not api.llama_supports_gpu_offload():
        return ()
    found = []
    for i in range(_dev_count()):
        dev = _dev_get(i)
        if _dev_type(dev) in (_GPU, _GPU + 1):
            found.append(f"{_dev_name(dev).decode()} ({_dev_description(dev).decode().strip()})")
    return tuple(found)


_dev_memory = _declare("ggml_backend_dev_memory", None, ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2)
_dev_reg = _declare("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)
_reg_name = _declare("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
_KINDS = ("CPU", "GPU", "integrated GPU", "accelerator")  # ggml_backend_dev_type


@dataclass(frozen=True)
class Device:
    """What llama.cpp can compute on. free, total: bytes of its memory, 0 where it does not tell."""

    name: str
    description: str
    kind: str
    back_end: str
    free: int
    total: int


def devices() -> list[Device]:
    """All devices of the back ends that this llama.cpp was built with."""
    found = []
    for dev in map(_dev_get, range(_dev_count())):
        free, total, kind = ctypes.c_size_t(), ctypes.c_size_t(), _dev_type(dev)
        _dev_memory(dev, free, total)
        name, text, reg = (x.decode("utf-8", "replace").strip() for x in (
            _dev_name(dev), _dev_description(dev), _reg_name(_dev_reg(dev))))  # fmt: skip
        found.append(Device(name, text, _KINDS[kind] if kind < len(_KINDS) else "device", reg, free.value, total.value))
    return found


@cache
def features() -> tuple[str, ...]:
    """The processor features that this llama.cpp was built with: "AVX2", "AVX512", "NEON"."""
    text = (api.llama_print_system_info() or b"").decode("utf-8", "replace")
    return tuple(re.findall(r"(\w+) = 1", text))


def ggml_version() -> str:
    """ggml's own version, "" where the library does not tell it."""
    with contextlib.suppress(AttributeError):
        return str(_declare("ggml_version", ctypes.c_char_p)().decode())
    return ""


@cache
def amx() -> bool:
    """Would llama.cpp use this processor's AMX unit? Its code for it crashes on some machines (llama.cpp #20824)."""
    return b"AMX_INT8 = 1" in (api.llama_print_system_info() or b"")


@cache
def physical_cores() -> int:
    """Physical cores that this process may use; on Apple silicon the performance cores. At least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    if sys.platform == "darwin":
        for key in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                return max(
                    1, int(subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=True).stdout)
                )
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        with contextlib.suppress(OSError):
            siblings.add(path.read_text().strip())
    return max(1, len(siblings) or len(allowed))


def cpu_name() -> str:
    """The processor as its maker calls it, as far as the system tells."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def build() -> str:
    """llama-cpp-python's version and, where the library tells them, llama.cpp's own and its commit."""
    text = f"llama-cpp-python {VERSION}"
    with contextlib.suppress(AttributeError):
        text += f", llama.cpp {api.llama_version().decode()}"
    with contextlib.suppress(AttributeError):  # ggml is built inside llama.cpp's tree, so its commit is llama.cpp's
        text += f", commit {_declare('ggml_commit', ctypes.c_char_p)().decode()}"
    return text
