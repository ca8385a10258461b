"""A GGUF's header without its vocabulary, for lists of many models: the strings of long arrays are stepped over, not read,
so that a file takes a few milliseconds instead of ggml's tenth of a second.

Only what is entirely regular is read here. At anything else header.read_one decides, and gives ggml's reason.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from softllama.llama import header, library
from softllama.llama.header import Array, Header, Parts, Tensor
from softllama.vectors import kernels

_FORMATS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}  # gguf_type
_STRING, _ARRAY = 8, 9
_ALIGNMENT = "general.alignment"


class _IrregularError(Exception):
    """Something that is better left to ggml."""


def read_one(path: Path) -> Parts:
    """As header.read_one, with the same result for every file that ggml accepts."""
    try:
        with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header(path)
    except (_IrregularError, struct.error, ValueError, OSError, OverflowError):
        return header.read_one(path)


def in_vocabulary(h: Header, texts: Iterable[str]) -> set[str]:
    """Those of the texts that are tokens, as far as the header's bytes tell: a token there is its length and its text."""
    end = min((t.offset for t in h.tensors.values() if t.path == h.path), default=None)
    try:
        with h.path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = len(data) if end is None else end
            return {t for t in texts if data.find(struct.pack("<Q", len(t.encode())) + t.encode(), 0, end) >= 0}
    except (ValueError, OSError):
        return set()


class _Cursor:
    """A place in the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def header(self, path: Path) -> Parts:
        if self.data[:4] != b"GGUF" or struct.pack("=I", 1) != struct.pack("<I", 1):
            raise _IrregularError
        self.at = 4
        version, n_tensors, n_kv = self.number("<I"), self.number("<q"), self.number("<q")
        if version not in (2, 3) or not 0 <= n_tensors < 1 << 20 or not 0 <= n_kv < 1 << 16:
            raise _IrregularError
        metadata: dict[str, Any] = {}
        for _ in range(n_kv):
            key = self.string()
            if not key or key in metadata:
                raise _IrregularError
            metadata[key] = self.value(self.number("<i"))
        alignment = metadata.get(_ALIGNMENT, 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _IrregularError
        found = [self.tensor() for _ in range(n_tensors)]
        base = (self.at + alignment - 1) // alignment * alignment
        tensors: dict[str, Tensor] = {}
        expected = 0
        for name, shape, kind, offset in found:
            size = _bytes(shape, kind)
            if name in tensors or offset != expected or base + offset + size > len(self.data):
                raise _IrregularError
            expected += (size + alignment - 1) // alignment * alignment
            tensors[name] = Tensor(name, path, shape, kind, base + offset, size)
        return metadata, tensors

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        n = self.number("<Q")
        if n > len(self.data) - self.at:
            raise _IrregularError
        raw = self.data[self.at : self.at + n]
        self.at += n
        return raw.partition(b"\0")[0].decode("utf-8", "replace")  # as far as C reads it

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind in _FORMATS:
            return self.number(_FORMATS[kind])
        if kind != _ARRAY:
            raise _IrregularError
        item, n = self.number("<i"), self.number("<Q")
        if item == _STRING:
            end = kernels.skip_strings(self.data, n, self.at) if n < 1 << 31 else None
        else:
            end = self.at + n * struct.calcsize(_FORMATS[item]) if item in _FORMATS else None
        if end is None or end > len(self.data):
            raise _IrregularError
        self.at = end
        return Array(n)

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, n_dims = self.string(), self.number("<I")
        if not 1 <= n_dims <= 4:
            raise _IrregularError
        shape = [self.number("<q") for _ in range(n_dims)] + [1] * (4 - n_dims)
        if min(shape) < 1 or max(shape) > 1 << 40:
            raise _IrregularError
        return name, tuple(shape), self.number("<i"), self.number("<Q")


def _bytes(shape: tuple[int, ...], kind: int) -> int:
    if not 0 <= kind < library.api.GGML_TYPE_COUNT:
        raise _IrregularError
    block, size = library.block_of(kind)
    if block < 1 or size < 1 or shape[0] % block:
        raise _IrregularError
    return int(shape[0] // block * size * shape[1] * shape[2] * shape[3])
