"""Arrays of numbers in files: .npy and .safetensors, read without running anything that is in them.

.safetensors is read here, in some lines, rather than by the package of that name: the format is a JSON header before plain
bytes, soft prompts are often in bfloat16, and numpy has no such type for the package to give. Knows no model.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray

from softllama.base.files import from_json, save_as
from softllama.errors import MixtureError

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_HEADER = 100_000_000  # bytes of a header at most, as in the format's own description
_WRITE = "write one with numpy.save"


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds. values: any shape; bfloat16 has become float32. metadata: of a .safetensors file."""

    values: NDArray[Any]
    metadata: Mapping[str, str] = field(default_factory=dict)


def floats(a: NDArray[Any]) -> NDArray[Any]:
    """An array of floats as numpy knows them: bfloat16, which it does not, becomes float32 by its bits.

    Args:
        a: an array, also of ml_dtypes' bfloat16, or as numpy reads that from a file: two bytes of no type.

    Raises:
        ValueError: it holds no floats or integers.
    """
    if a.dtype.itemsize == 2 and (a.dtype.name == "bfloat16" or a.dtype.str[1:] == "V2"):
        return (np.ascontiguousarray(a).view("<u2").astype(np.uint32) << 16).view(np.float32)
    if a.dtype.kind not in "fiu":
        raise ValueError(f"{a.dtype} are no numbers")
    return a


def read(path: str | os.PathLike[str], tensor: str = "") -> Stored:
    """Read the array of a .npy or .safetensors file.

    Args:
        path: the file; ~ is the user's folder. "FILE.safetensors#NAME" names a tensor of several.
        tensor: the same.

    Raises:
        MixtureError: the file cannot be read, or holds something else.
    """
    text = os.fspath(path)
    try:
        p = Path(text).expanduser()
        if not tensor and not p.exists() and "#" in p.name:
            text, _, tensor = text.rpartition("#")
            p = Path(text).expanduser()
        with p.open("rb") as f:
            if p.suffix.lower() == ".safetensors":
                return _safetensors(f, tensor)
            values = np.load(f, allow_pickle=False)
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        MemoryError,
        OverflowError,
    ) as e:  # RuntimeError: ~user without one
        # numpy has reasons of its own for a damaged file, and some of its hints are dangerous
        own = str(e) if isinstance(e, _FormatError) else "it is not an .npy file of numbers"
        reason = e.strerror if isinstance(e, OSError) and e.strerror else own
        hint = e.hint if isinstance(e, _FormatError) else _WRITE
        raise MixtureError(f"cannot read the vector {text!r}: {reason}", hint) from None
    if not isinstance(values, np.ndarray):
        raise MixtureError(f"{text!r} holds several arrays", _WRITE)
    return Stored(floats(values) if values.dtype.kind == "V" and values.dtype.itemsize == 2 else values)


def write(path: str | os.PathLike[str], values: NDArray[np.float32], what: str, metadata: Mapping[str, str]) -> None:
    """Write .npy or .safetensors, where the tensor is called "vector".

    Args:
        what: for error messages, such as "a vector".
        metadata: texts for a .safetensors file.

    Raises:
        UsageError: the name has another suffix.
        SoftLlamaError: the file cannot be written.
    """
    save_as(path, what, {".npy": lambda: npy(values), ".safetensors": lambda: _bytes(values, metadata)})


def npy(values: NDArray[Any]) -> bytes:
    """The bytes of an .npy file."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


class _FormatError(ValueError):
    """A file of this format that is damaged, or from which nothing can be chosen."""

    def __init__(self, text: str, hint: str = "make the file again") -> None:
        super().__init__(text)
        self.hint = hint


def _safetensors(f: BinaryIO, tensor: str) -> Stored:
    """Eight bytes with the length of the header, the header as JSON, and the bytes that it describes."""
    n = int.from_bytes(f.read(8), "little")
    header = f.read(n) if n <= _HEADER else b""
    try:
        entries = from_json(header.decode("utf-8")) if len(header) == n else None
    except ValueError:
        entries = None
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise _FormatError("it is not a .safetensors file")
    metadata = {k: v for k, v in entries.pop("__metadata__", {}).items() if isinstance(v, str)}
    if not tensor and len(entries) != 1:
        names = ", ".join(sorted(entries)[:8]) or "none"
        raise _FormatError(f"it holds {len(entries)} tensors: {names}", "FILE.safetensors#NAME takes one of them")
    name = tensor or next(iter(entries))
    if name not in entries:
        raise _FormatError(f"it has no tensor {name!r}", f"there are: {', '.join(sorted(entries)[:8])}")
    return Stored(_tensor(f, 8 + n, name, entries[name]), metadata)


def _tensor(f: BinaryIO, start: int, name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, offsets = str(entry.get("dtype")), entry.get("shape"), entry.get("data_offsets")
    if dtype not in _TYPES:
        raise _FormatError(f"its tensor {name!r} is of the type {dtype}", f"softllama reads {', '.join(_TYPES)}")
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise _FormatError(f"its tensor {name!r} is described wrongly")
    kind = np.dtype(_TYPES[dtype])
    size = math.prod(shape) * kind.itemsize
    there = start + offsets[1] <= os.fstat(f.fileno()).st_size  # before so much memory is taken
    f.seek(start + offsets[0] if there else 0)
    data = f.read(size) if there and offsets[1] - offsets[0] == size else b""
    if len(data) != size:
        raise _FormatError(f"its tensor {name!r} is not complete")
    a = np.frombuffer(data, dtype=kind).reshape(shape)
    return (a.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else a


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(i) is int and 0 <= i < 2**62 for i in value)


def _bytes(values: NDArray[np.float32], metadata: Mapping[str, str]) -> bytes:
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    entry = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({**({"__metadata__": dict(metadata)} if metadata else {}), "vector": entry}).encode()
    header += b" " * (-len(header) % 8)  # so that the numbers begin at a multiple of 8, as the format has it
    return len(header).to_bytes(8, "little") + header + data
