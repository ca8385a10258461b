"""gguf.h of ggml by ctypes: a file's header is opened without loading anything (0.1 s for 256k tokens), and its arrays read.

Knows one file's keys, types and arrays. Does not know splits, or what a header must hold: header.py does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from softllama.llama.bindings import declare, exporter


class InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


_P, _I64, _STR = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
init = declare("gguf_init_from_file", _P, _STR, InitParams)
free = declare("gguf_free", None, _P)
data_offset = declare("gguf_get_data_offset", ctypes.c_size_t, _P)
n_kv = declare("gguf_get_n_kv", _I64, _P)
get_key = declare("gguf_get_key", _STR, _P, _I64)
kv_type = declare("gguf_get_kv_type", ctypes.c_int, _P, _I64)
arr_n = declare("gguf_get_arr_n", ctypes.c_size_t, _P, _I64)
find_key = declare("gguf_find_key", _I64, _P, _STR)
arr_type = declare("gguf_get_arr_type", ctypes.c_int, _P, _I64)
arr_data = declare("gguf_get_arr_data", _P, _P, _I64)
arr_str = declare("gguf_get_arr_str", _STR, _P, _I64, ctypes.c_size_t)
val_data = declare("gguf_get_val_data", _P, _P, _I64)
val_str = declare("gguf_get_val_str", _STR, _P, _I64)
n_tensors = declare("gguf_get_n_tensors", _I64, _P)
tensor_name = declare("gguf_get_tensor_name", _STR, _P, _I64)
tensor_offset = declare("gguf_get_tensor_offset", ctypes.c_size_t, _P, _I64)
tensor_type = declare("gguf_get_tensor_type", ctypes.c_int, _P, _I64)
tensor_size = declare("gguf_get_tensor_size", ctypes.c_size_t, _P, _I64)
_NE = "gguf_get_tensor_ne"  # newer than llama-cpp-python 0.3.17
_tensor_ne = declare(_NE, ctypes.POINTER(_I64), _P, _I64) if hasattr(exporter(_NE), _NE) else None
_get_tensor, _free_tensors = declare("ggml_get_tensor", _P, _P, _STR), declare("ggml_free", None, _P)

_TYPES = "uint8 int8 uint16 int16 uint32 int32 float bool - - uint64 int64 double"  # enum gguf_type
SCALARS: dict[int, Any] = {i: getattr(ctypes, f"c_{t}") for i, t in enumerate(_TYPES.split()) if t != "-"}
STRING, ARRAY = 8, 9
INTEGERS = {0, 1, 2, 3, 4, 5, 10, 11}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int | None]:
    """Open a file's header for as long as the block lasts: ggml's handle, or None if ggml cannot read it."""
    tensors = (
        None if _tensor_ne is not None else ctypes.c_void_p()
    )  # of an older ggml, which has the shapes nowhere else
    handle = init(os.fsencode(path), InitParams(True, None if tensors is None else ctypes.addressof(tensors)))
    if handle and tensors is not None:
        _tensors[handle] = tensors.value
    try:
        yield handle
    finally:
        if handle:
            free(handle)
            if tensors is not None:
                _free_tensors(_tensors.pop(handle))


_tensors: dict[int, int | None] = {}  # a handle's tensors


def tensor_ne(handle: int, i: int) -> Sequence[int]:
    """The shape of a tensor: 4 numbers, the fastest first."""
    if _tensor_ne is not None:
        return _tensor_ne(handle, i)[:4]  # type: ignore[no-any-return]
    tensor = _get_tensor(_tensors[handle], tensor_name(handle, i))
    return list((_I64 * 4).from_address(tensor + 16))  # struct ggml_tensor: its type, a pointer, and ne


# ---- arrays ---------------------------------------------------------------------------------------------------------


def token_texts(path: Path) -> Iterator[bytes]:
    """Yield the token texts in the order of their ids; nothing where a file has none."""
    with opened(path) as handle:
        key = find_key(handle, b"tokenizer.ggml.tokens") if handle else -1
        if key >= 0 and kv_type(handle, key) == ARRAY and arr_type(handle, key) == STRING:
            for i in range(arr_n(handle, key)):
                yield arr_str(handle, key, i) or b""


def texts_in_vocabulary(path: Path, texts: Iterable[str]) -> set[str]:
    """Return those of the texts that are tokens of their own.

    Takes 0.2 s for a vocabulary of 256k tokens.
    """
    wanted = {text.encode(): text for text in texts}
    return {wanted[token] for token in token_texts(path) if token in wanted}


def twice_in_vocabulary(path: Path) -> str | None:
    """Return a token text that the vocabulary lists twice, at which llama.cpp ends the process; None if there is none.

    Takes 0.2 s for a vocabulary of 256k tokens.
    """
    seen: set[bytes] = set()
    for i, token in enumerate(token_texts(path)):
        if (text := token or b"[EMPTY_%d]" % i) in seen:  # llama.cpp gives an empty text a name of its own
            return str(text.decode("utf-8", "replace"))
        seen.add(text)
    return None


def integers(path: Path, name: str) -> list[int]:
    """Return a metadata array of integers; [] where the file has no such array."""
    with opened(path) as handle:
        key = find_key(handle, name.encode()) if handle else -1
        if key < 0 or kv_type(handle, key) != ARRAY or (kind := arr_type(handle, key)) not in INTEGERS:
            return []
        return list((SCALARS[kind] * arr_n(handle, key)).from_address(arr_data(handle, key)))
