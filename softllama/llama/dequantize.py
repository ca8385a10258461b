"""A copy of a GGUF file with all weights in F32, on which llama.cpp rounds no activations to 8 bits: what is noise goes away.

ggml turns the weights into floats, and writes the header. The values are those that it computes with, so nothing is gained
but the exactness of the arithmetic, at four bytes a weight. Knows files and ggml. Loads no model.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from softllama.base.files import replacing
from softllama.base.text import size
from softllama.errors import ModelError, SoftLlamaError, UsageError
from softllama.llama import bindings, gguf, header
from softllama.llama.bindings import declare
from softllama.llama.header import Header, Tensor

_P, _STR = ctypes.c_void_p, ctypes.c_char_p
_empty = declare("gguf_init_empty", _P)
_set_kv = declare("gguf_set_kv", None, _P, _P)
_set_u32 = declare("gguf_set_val_u32", None, _P, _STR, ctypes.c_uint32)
_remove_key = declare("gguf_remove_key", ctypes.c_int64, _P, _STR)
_add_tensor = declare("gguf_add_tensor", None, _P, _P)
_set_type = declare("gguf_set_tensor_type", None, _P, _STR, ctypes.c_int)
_meta_size = declare("gguf_get_meta_size", ctypes.c_size_t, _P)
_meta_data = declare("gguf_get_meta_data", None, _P, _P)
_get_tensor = declare("ggml_get_tensor", _P, _P, _STR)
_free_tensors = declare("ggml_free", None, _P)

F32 = 0  # of enum ggml_type, and "all F32" of enum llama_ftype
ALIGNMENT = 32  # GGUF's own where the header names none
VALUES = 1 << 20  # that are in memory at once
DROPPED = (
    b"general.alignment",
    b"split.no",
    b"split.count",
    b"split.tensors.count",
)  # they describe the old file or files


def target(path: Path, quantization: str) -> Path:
    """The name of the copy, in the current folder: "model-Q4_K_M.gguf" becomes "model-F32.gguf"."""
    stem = path.stem.split("-00001-of-")[0]
    at = stem.lower().rfind(quantization.lower()) if quantization else -1
    return Path(f"{stem[:at]}F32{stem[at + len(quantization) :]}.gguf" if at > 0 else f"{stem}-F32.gguf")


def expected_bytes(h: Header) -> int:
    """About how large the copy becomes, without its header."""
    return sum(_bytes(t) for t in h.tensors.values())


def check(h: Header, out: Path) -> None:
    """Check, before any work is done, that there is something to do and that the copy can be written.

    Raises:
        UsageError: the copy's file is there already, or its folder is not.
        ModelError: all weights are F32 already.
        SoftLlamaError: the disk has too little room.
    """
    if not any(_becomes_f32(t) for t in h.tensors.values()):
        raise ModelError(f"{h.path.name} has all its weights in F32 already", "use it as it is")
    if out.exists() or out.is_symlink():
        raise UsageError(f"{str(out)!r} is there already", "name another file with -o")
    if not out.parent.is_dir():
        raise UsageError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}", "make the folder first")
    need = expected_bytes(h) + sum(p.stat().st_size for p in h.files) - sum(t.size for t in h.tensors.values())
    if (free := shutil.disk_usage(out.parent).free) < need:
        raise SoftLlamaError(
            f"{str(out)!r} would have {size(need)}, and the disk has {size(free)} left",
            "name a file on another disk with -o",
        )


def write(path: str | os.PathLike[str], out: Path, tick: Callable[[str, int, int], None] | None = None) -> int:
    """Write the copy. An error or Ctrl-C leaves no file.

    Args:
        path: the model; of a split one the first file. The copy is one file.
        out: a file that is not there yet.
        tick: called with the file's name, the bytes that are written, and the bytes that there will be.

    Returns:
        The size of the copy in bytes.

    Raises:
        ModelError: the model cannot be read, or is F32 already.
        UsageError, SoftLlamaError: the copy cannot be written.
    """
    h = header.read(path)
    check(h, out)
    with _files(h.files) as opened, replacing(out) as f:
        f.write(_header(opened))
        start, total = f.tell(), expected_bytes(h)
        for name in itertools.chain.from_iterable(names for _, _, names in opened):
            _write_tensor(f, h.tensors[name.decode("utf-8", "replace")])
            if tick is not None:
                tick(out.name, f.tell() - start, total)
        return f.tell()


_Opened = tuple[int, int, list[bytes]]  # ggml's handle of a file, its tensors without data, and their names


@contextlib.contextmanager
def _files(files: Sequence[Path]) -> Iterator[list[_Opened]]:
    """The headers of a model's files, as ggml has them."""
    with contextlib.ExitStack() as stack:
        opened: list[_Opened] = []
        for path in files:
            tensors = _P()
            handle = gguf.init(os.fsencode(path), gguf.InitParams(True, ctypes.addressof(tensors)))
            if not handle:
                raise ModelError(f"{path} is damaged: {bindings.last_error()}", "fetch the file again")
            stack.callback(gguf.free, handle)
            stack.callback(_free_tensors, tensors)
            names = [gguf.tensor_name(handle, i) for i in range(gguf.n_tensors(handle))]
            opened.append((handle, int(tensors.value or 0), names))
        every = [name for _, _, names in opened for name in names]
        if len(set(every)) < len(every):  # which ggml would end the process for
            raise ModelError(f"{files[0]} is damaged: two of its files have the same tensor", "fetch the files again")
        yield opened


def _header(opened: Sequence[_Opened]) -> bytes:
    """The header of the copy: the keys of the first file, and the tensors of all."""
    handle = _empty()
    try:
        _set_kv(handle, opened[0][0])
        for key in DROPPED:
            _remove_key(handle, key)
        _set_u32(handle, b"general.file_type", F32)
        for source, tensors, names in opened:
            for i, name in enumerate(names):
                _add_tensor(handle, _get_tensor(tensors, name))
                if bindings.has_floats(gguf.tensor_type(source, i)):
                    _set_type(handle, name, F32)
        buffer = ctypes.create_string_buffer(_meta_size(handle))
        _meta_data(handle, buffer)
        return buffer.raw
    finally:
        gguf.free(handle)


def _becomes_f32(t: Tensor) -> bool:
    """Is this a tensor of another type that can be turned into floats? Integers stay what they are."""
    return t.ggml_type != F32 and bindings.has_floats(t.ggml_type)


def _bytes(t: Tensor) -> int:
    """The size of a tensor in the copy, up to the next multiple of ALIGNMENT."""
    n = 4 * int(np.prod(t.shape, dtype=np.int64)) if _becomes_f32(t) else t.size
    return -(-n // ALIGNMENT) * ALIGNMENT


def _write_tensor(f: BinaryIO, t: Tensor) -> None:
    """Write the values of a tensor, a part at a time, and zeros up to the next multiple of ALIGNMENT."""
    start = f.tell()
    rows = t.rows() if t.size else np.empty((0, 1), dtype=np.uint8)  # (n_rows, row_bytes) uint8
    if _becomes_f32(t):
        n = t.shape[0]
        read: Any = ctypes.CFUNCTYPE(None, _P, _P, ctypes.c_int64)(bindings.table_type(t.ggml_type).to_float)
        part = max(1, VALUES // n)
        for at in range(0, len(rows), part):
            some = np.ascontiguousarray(rows[at : at + part])
            values = np.empty((len(some), n), dtype=np.float32)
            read(some.ctypes.data, values.ctypes.data, values.size)
            f.write(values.data)
    else:
        for at in range(0, len(rows), part := max(1, 4 * VALUES // rows.shape[1])):
            f.write(np.ascontiguousarray(rows[at : at + part]).data)
    f.write(bytes(start + _bytes(t) - f.tell()))
