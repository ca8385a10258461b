"""Small facts about files that are slow to find out, kept between runs: calibrations and hashes.

A cache that cannot be read or written is no error: the fact is found out again. Knows nothing of models.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LIMIT = 500  # entries of a kind; the oldest go first


def folder() -> Path:
    """SOFTLLAMA_CACHE, or the place that the system has for caches."""
    if given := os.environ.get("SOFTLLAMA_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/softllama"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "softllama"


def file_key(files: Sequence[Path], *more: str) -> str:
    """A key that changes when a file is replaced or changed: by path, size, and the times of its content and its inode.

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
    """What was stored, or None."""
    return _read(kind).get(key)


def load_all(kind: str) -> dict[str, Any]:
    """Everything of a kind."""
    return _read(kind)


def store(kind: str, key: str, value: Any) -> None:
    """Remember a JSON value. The file is replaced as a whole, so that a reader never sees half of it."""
    store_all(kind, {key: value})


def store_all(kind: str, values: dict[str, Any]) -> None:
    """Remember several values at once."""
    with contextlib.suppress(OSError):
        path = folder() / f"{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = _read(kind)
        for key, value in values.items():
            entries.pop(key, None)
            entries[key] = value
        while len(entries) > LIMIT:
            del entries[next(iter(entries))]
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{kind}-")
        try:
            with os.fdopen(fd, "w") as f:
                json.dump(entries, f)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise


def file_hash(files: Sequence[Path]) -> str:
    """SHA-256 of the files one after the other, in hexadecimal; remembered, as a large model takes seconds."""
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


def _read(kind: str) -> dict[str, Any]:
    try:
        data = json.loads((folder() / f"{kind}.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
