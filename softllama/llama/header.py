"""A GGUF's header: metadata and where the tensors lie, read by ggml without loading anything (0.1 s for 256k tokens).

Knows files, splits and what they hold. Does not know which of them can take mixtures: architectures.py decides.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.errors import ModelError
from softllama.llama import library
from softllama.llama.library import declare


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


_P, _I64, _STR = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
_init = declare("gguf_init_from_file", _P, _STR, _InitParams)
_free = declare("gguf_free", None, _P)
_data_offset = declare("gguf_get_data_offset", ctypes.c_size_t, _P)
_n_kv = declare("gguf_get_n_kv", _I64, _P)
_key = declare("gguf_get_key", _STR, _P, _I64)
_kv_type = declare("gguf_get_kv_type", ctypes.c_int, _P, _I64)
_arr_n = declare("gguf_get_arr_n", ctypes.c_size_t, _P, _I64)
_find_key = declare("gguf_find_key", _I64, _P, _STR)
_arr_type = declare("gguf_get_arr_type", ctypes.c_int, _P, _I64)
_arr_data = declare("gguf_get_arr_data", _P, _P, _I64)
_arr_str = declare("gguf_get_arr_str", _STR, _P, _I64, ctypes.c_size_t)
_val_data = declare("gguf_get_val_data", _P, _P, _I64)
_val_str = declare("gguf_get_val_str", _STR, _P, _I64)
_n_tensors = declare("gguf_get_n_tensors", _I64, _P)
_find_tensor = declare("gguf_find_tensor", _I64, _P, _STR)
_tensor_name = declare("gguf_get_tensor_name", _STR, _P, _I64)
_tensor_offset = declare("gguf_get_tensor_offset", ctypes.c_size_t, _P, _I64)
_tensor_type = declare("gguf_get_tensor_type", ctypes.c_int, _P, _I64)
_tensor_size = declare("gguf_get_tensor_size", ctypes.c_size_t, _P, _I64)
_tensor_ne = declare("gguf_get_tensor_ne", ctypes.POINTER(ctypes.c_int64), _P, _I64)

_SCALARS: dict[int, Any] = {  # enum gguf_type
    0: ctypes.c_uint8, 1: ctypes.c_int8, 2: ctypes.c_uint16, 3: ctypes.c_int16, 4: ctypes.c_uint32, 5: ctypes.c_int32,
    6: ctypes.c_float, 7: ctypes.c_bool, 10: ctypes.c_uint64, 11: ctypes.c_int64, 12: ctypes.c_double,
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_TYPED = {  # keys that llama.cpp reads without asking what type they have: it ends the process if it is another
    "general.architecture": _STRING, "general.type": _STRING, "adapter.type": _STRING, "adapter.lora.alpha": 6,
    "split.no": 2, "split.count": 2,
}  # fmt: skip
_INTEGERS = {0, 1, 2, 3, 4, 5, 10, 11}


@dataclass(frozen=True)
class Array:
    """Stands for a metadata array, whose items are not read."""

    n: int


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies. shape: ggml's order, so (n_embd, n_vocab) for a token-embedding table."""

    name: str
    path: Path
    shape: tuple[int, ...]
    ggml_type: int
    offset: int  # bytes from the start of the file
    size: int  # bytes

    def rows(self) -> NDArray[np.uint8]:
        """The rows in the file's mapping, those of all matrices of a stack: read-only, (n_rows, row_bytes) uint8."""
        n_rows = math.prod(self.shape[1:])
        shape = (n_rows, self.size // n_rows)
        try:
            return np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.offset, shape=shape)
        except (OSError, ValueError) as e:  # the file was there a moment ago
            reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
            raise ModelError(f"cannot read {self.path}: {reason}", "load it again") from None


Parts = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Header:
    """metadata: scalars and strings by key, arrays as Array(n). tensors: by name, over all files of a split."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    files: tuple[Path, ...]
    stamps: tuple[tuple[int, ...], ...] = ()  # of the files, from before they were read

    def changed(self, *, same: bool = False) -> Path | None:
        """A file that is shorter or newer than it was. same: or that is another file, or gone."""
        for path, before in zip(self.files, self.stamps, strict=False):
            try:
                now = _stamp(path)
            except OSError:
                now = ()
            if now != before and (same or now[:2] == before[:2]):
                return path
        return None

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value; `{arch}.` in the key stands for the architecture's name."""
        return self.metadata.get(key.replace("{arch}", self.arch), default)

    @cached_property
    def arch(self) -> str:
        """general.architecture."""
        return str(self.metadata.get("general.architecture", ""))

    @cached_property
    def kind(self) -> str:
        """general.type: "model", "adapter", "mmproj", "imatrix", ... ("model" where the file does not say)."""
        return str(self.metadata.get("general.type", "model"))


def read(path: str | os.PathLike[str], one: Callable[[Path], Parts] | None = None) -> Header:
    """The header of a GGUF file and of the other files of its split. one: reads a single file, if not ggml (skim.py).

    Raises ModelError for what is missing, unreadable, a folder, no GGUF, truncated, damaged, or not a split's first file.
    """
    first = check_path(path)
    one = one or read_one
    stamps = [_stamp_of(first)]
    metadata, tensors = one(first)
    files = [first]
    count = metadata.get("split.count", 0)
    if isinstance(count, int) and count > 1:
        m = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", first.name)
        if not m or int(m[3]) != count:
            raise ModelError(
                f"{first} is one of {count} files of a split model, but its name does not say which",
                f"give all of them their names back: NAME-00001-of-{count:05d}.gguf and so on",
            )
        names = [first.with_name(f"{m[1]}-{i:05d}-of-{m[3]}.gguf") for i in range(1, count + 1)]
        if int(m[2]) != 1:
            raise ModelError(f"{first} is file {int(m[2])} of {count} of a split model", f"name the first: {names[0]}")
        for other in names[1:]:
            if not other.is_file():
                raise ModelError(
                    f"{first.name} needs {count} files, and {other.name} is not beside it",
                    "fetch that one, too, into the same folder",
                )
            stamps.append(_stamp_of(other))
            tensors |= one(check_path(other))[1]
        files = names
    return Header(first, metadata, tensors, tuple(files), tuple(stamps))


def _stamp(path: Path) -> tuple[int, ...]:
    """Which file this is (two numbers), and which state of it."""
    s = path.stat()
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns


def _stamp_of(path: Path) -> tuple[int, ...]:
    try:
        return _stamp(path)
    except OSError as e:
        raise ModelError(f"cannot read {str(path)!r}: {e.strerror}", "check the path") from None


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path of a readable file that begins like a GGUF. Raises ModelError with what is wrong instead."""
    if not isinstance(path, str | os.PathLike):
        raise ModelError(f"a model is named by a path, not by {type(path).__name__}", "-m FILE.gguf")
    try:
        p = Path(path).expanduser()
    except RuntimeError:  # ~user without such a user
        p = Path(path)
    try:
        if p.is_dir():
            inside = sorted(p.glob("*.gguf"))
            hint = f"name the file, such as {inside[0]}" if inside else "name a .gguf file"
            raise ModelError(f"{p} is a folder, not a model file", hint)
        if not p.exists():
            near = sorted(p.parent.glob("*.gguf"))[:3] if p.parent.is_dir() else []
            hint = f"in that folder: {', '.join(n.name for n in near)}" if near else "check the path"
            raise ModelError(f"there is no file {p}", hint)
        if not p.is_file():
            raise ModelError(f"{p} is not a regular file", "-m FILE.gguf names a file")
        with p.open("rb") as f:
            magic = f.read(4)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise ModelError(f"cannot read {str(p)!r}: {reason}", "check the path, and whether you may read it") from None
    if not magic:
        raise ModelError(f"{p} is empty", "the download may have failed; fetch it again")
    if magic == b"FUGG":
        raise ModelError(
            f"{p} is a big-endian GGUF, which this machine cannot use", "fetch the usual, little-endian one"
        )
    if magic != b"GGUF":
        raise ModelError(
            f"{p} is not a GGUF file: it begins with {magic!r}, not b'GGUF'", "softllama reads .gguf models"
        )
    return p


def read_one(path: Path) -> Parts:
    """Metadata and tensors of a single file. Raises ModelError with ggml's reason."""
    library.clear_log()
    ctx = _init(os.fsencode(path), _InitParams(True, None))
    if not ctx:
        raise ModelError(f"{path} is damaged or not complete: {library.last_error()}", "fetch the file again")
    try:
        metadata: dict[str, Any] = {}
        for i in range(_n_kv(ctx)):
            kind = _kv_type(ctx, i)
            key = _key(ctx, i).decode("utf-8", "replace")
            if _TYPED.get(key, kind) != kind:
                raise ModelError(f"{path} is damaged: {key} is of another type than it must be", "fetch the file again")
            if kind == _STRING:
                metadata[key] = _val_str(ctx, i).decode("utf-8", "replace")
            elif kind == _ARRAY:
                metadata[key] = Array(_arr_n(ctx, i))
            elif kind in _SCALARS:
                metadata[key] = _SCALARS[kind].from_address(_val_data(ctx, i)).value
        size, base = _stamp_of(path)[2], _data_offset(ctx)
        tensors = {}
        for i in range(_n_tensors(ctx)):
            name = _tensor_name(ctx, i).decode("utf-8", "replace")
            ne = _tensor_ne(ctx, i)
            n_bytes, offset = _tensor_size(ctx, i), base + _tensor_offset(ctx, i)
            if offset + n_bytes > size:
                raise ModelError(
                    f"{path} is not complete: the tensor {name} ends at byte {offset + n_bytes:,}, the file at {size:,}",
                    "the download may have stopped early; fetch it again",
                )
            tensors[name] = Tensor(name, path, tuple(ne[:4]), _tensor_type(ctx, i), offset, n_bytes)
        return metadata, tensors
    finally:
        _free(ctx)


def twice_in_vocabulary(path: Path) -> str | None:
    """A token text that the vocabulary lists twice, at which llama.cpp ends the process; None if there is none.

    Takes 0.2 s for 256k tokens.
    """
    ctx = _init(os.fsencode(path), _InitParams(True, None))
    if not ctx:
        return None
    try:
        key = _find_key(ctx, b"tokenizer.ggml.tokens")
        if key < 0 or _kv_type(ctx, key) != _ARRAY or _arr_type(ctx, key) != _STRING:
            return None
        seen: set[bytes] = set()
        for i in range(_arr_n(ctx, key)):
            # llama.cpp gives an empty text a name of its own
            if (text := _arr_str(ctx, key, i) or b"[EMPTY_%d]" % i) in seen:
                return str(text.decode("utf-8", "replace"))
            seen.add(text)
        return None
    finally:
        _free(ctx)


def integers(path: Path, name: str) -> list[int]:
    """A metadata array of integers; [] where the file has no such array."""
    ctx = _init(os.fsencode(path), _InitParams(True, None))
    if not ctx:
        return []
    try:
        key = _find_key(ctx, name.encode())
        if key < 0 or _kv_type(ctx, key) != _ARRAY or (kind := _arr_type(ctx, key)) not in _INTEGERS:
            return []
        return list((_SCALARS[kind] * _arr_n(ctx, key)).from_address(_arr_data(ctx, key)))
    finally:
        _free(ctx)
