"""Small facts about files that take long to measure, kept between runs: calibrations, headers, hashes.

If the cache cannot be read or written, that is no error: the fact is measured again. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softllama.base import folders

LIMIT = 500  # entries of a kind; the oldest go first
BLOBS = 8  # of a kind, in files of their own; the oldest go first


def file_key(files: Sequence[Path], *more: str) -> str:
    """Return a key that changes when a file is replaced or changed: by path, size, and the times of its content and its inode.

    The latter because cp -p, rsync -t and unpacked images give another model of the same size the same modification time.
    """
    h = hashlib.sha256()
    for f in files:
        s = f.stat()
        state = f"{f.resolve()}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ctime_ns}\0"
        h.update(state.encode("utf-8", "surrogateescape"))
    for text in more:
        h.update(f"{text}\0".encode())
    return h.hexdigest()[:32]


def load(kind: str, key: str) -> Any:
    """Return the value of a key, or None."""
    return _read(kind).get(key)


def load_all(kind: str) -> dict[str, Any]:
    """Return all values of a kind, by key."""
    return _read(kind)


def store(kind: str, key: str, value: Any) -> None:
    """Keep a JSON value. The file is replaced as a whole, so that a reader never sees half of it."""
    store_all(kind, {key: value})


def store_all(kind: str, values: dict[str, Any]) -> None:
    """Keep several JSON values, with one write."""
    with contextlib.suppress(OSError):
        path = folders.cache() / f"{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = _read(kind)
        for key, value in values.items():
            entries.pop(key, None)
            entries[key] = value
        while len(entries) > LIMIT:
            del entries[next(iter(entries))]
        _write(path, json.dumps(entries).encode())


def load_bytes(kind: str, key: str) -> bytes | None:
    """Return the bytes of a key, or None."""
    try:
        return (folders.cache() / kind / key).read_bytes()
    except OSError:
        return None


def store_bytes(kind: str, key: str, data: bytes) -> None:
    """Keep bytes, too many for JSON, in a file of their own, and the latest BLOBS of the kind."""
    with contextlib.suppress(OSError):
        folder = folders.cache() / kind
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / key, data)
        files = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime_ns)
        for old in files[:-BLOBS]:
            old.unlink(missing_ok=True)


def file_hash(files: Sequence[Path]) -> str:
    """Return the SHA-256 of the files one after the other, in hexadecimal; kept, as a large model takes seconds."""
    key = file_key(files)
    known = load("sha256", key)
    if isinstance(known, str) and len(known) == 64:
        return known
    h = hashlib.sha256()
    for path in files:
        with path.open("rb") as f:
            while block := f.read(1 << 22):
                h.update(block)
    store("sha256", key, h.hexdigest())
    return h.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Put a file in place as a whole."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _read(kind: str) -> dict[str, Any]:
    try:
        data = json.loads((folders.cache() / f"{kind}.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
