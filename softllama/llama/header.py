"""A GGUF's header: metadata and where the tensors lie, read by ggml without loading anything (0.1 s for 256k tokens).

Knows files, splits and what they hold. Does not know which of them can take mixtures: architectures.py decides.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.errors import ModelError
from softllama.llama import bindings, gguf

_TYPED = {  # keys that llama.cpp reads without asking what type they have: it ends the process if it is another
    "general.architecture": gguf.STRING,
    "general.type": gguf.STRING,
    "adapter.type": gguf.STRING,
    "adapter.lora.alpha": 6,
    "split.no": 2,
    "split.count": 2,
}


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


def read(path: str | os.PathLike[str]) -> Header:
    """Read the header of a GGUF file and of the other files of its split, without loading weights.

    Args:
        path: The file; of a split model the first one, NAME-00001-of-0000N.gguf, with the others beside it.

    Returns:
        Metadata of the first file and the tensors of all.

    Raises:
        ModelError: The file is missing, unreadable, a folder, no GGUF, truncated, damaged, or not a split's first file.
    """
    first = check_path(path)
    stamps = [_stamp_of(first)]
    metadata, tensors = _read_one(first)
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
            tensors |= _read_one(check_path(other))[1]
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


def _read_one(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and tensors of a single file. Raises ModelError with ggml's reason."""
    bindings.clear_log()
    with gguf.opened(path) as handle:
        if not handle:
            raise ModelError(f"{path} is damaged or not complete: {bindings.last_error()}", "fetch the file again")
        return _metadata(handle, path), _tensors(handle, path)


def _metadata(handle: int, path: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    wrong = []  # keys of another type than llama.cpp takes them for
    for i in range(gguf.n_kv(handle)):
        kind = gguf.kv_type(handle, i)
        key = gguf.get_key(handle, i).decode("utf-8", "replace")
        if _TYPED.get(key, kind) != kind:
            wrong.append(key)
        if kind == gguf.STRING:
            metadata[key] = gguf.val_str(handle, i).decode("utf-8", "replace")
        elif kind == gguf.ARRAY:
            metadata[key] = Array(gguf.arr_n(handle, i))
        elif kind in gguf.SCALARS:
            metadata[key] = gguf.SCALARS[kind].from_address(gguf.val_data(handle, i)).value
    for key in wrong:
        if (
            not key.startswith("adapter.") or metadata.get("general.type") == "adapter"
        ):  # which only an adapter's are read
            raise ModelError(f"{path} is damaged: {key} is of another type than it must be", "fetch the file again")
    return metadata


def _tensors(handle: int, path: Path) -> dict[str, Tensor]:
    size, base = _stamp_of(path)[2], gguf.data_offset(handle)
    tensors = {}
    for i in range(gguf.n_tensors(handle)):
        name = gguf.tensor_name(handle, i).decode("utf-8", "replace")
        ne = gguf.tensor_ne(handle, i)
        n_bytes, offset = gguf.tensor_size(handle, i), base + gguf.tensor_offset(handle, i)
        if offset + n_bytes > size:
            raise ModelError(
                f"{path} is not complete: the tensor {name} ends at byte {offset + n_bytes:,}, the file at {size:,}",
                "the download may have stopped early; fetch it again",
            )
        tensors[name] = Tensor(name, path, tuple(ne[:4]), gguf.tensor_type(handle, i), offset, n_bytes)
    return tensors
