"""Files that are written as a whole or not at all. Knows nothing of what is in them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from softllama.errors import SoftLlamaError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    private: for its owner alone.
    Raises SoftLlamaError if it cannot be written, or if `path` is something other than a file, such as /dev/stdout.
    """
    p = Path(path)
    try:
        if p.exists() and not p.is_file():
            raise SoftLlamaError(f"cannot write {str(p)!r}: it is not a file", "name another file")
        fd, name = tempfile.mkstemp(dir=p.parent, prefix=f".{p.name[:100]}-")
        try:
            with os.fdopen(fd, "wb") as f:
                yield f
            if not private:  # mkstemp's files are for their owner alone, which a new file should not be
                umask = os.umask(0)
                os.umask(umask)
                Path(name).chmod(0o666 & ~umask)
            Path(name).replace(p)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as e:
        raise SoftLlamaError(f"cannot write {str(p)!r}: {e.strerror or e}", "name another file") from None


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text in which every number is one: NaN and infinity, which Python reads, are none.

    Raises ValueError for everything else, also for what is nested too deeply or does not fit into a float.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}")

    def real(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise ValueError(f"it holds {digits[:30]}")
        return value

    try:
        return json.loads(text, parse_constant=refuse, parse_float=real)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
