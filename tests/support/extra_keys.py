"""Header keys that a model's file does not have, added to it: what softllama says of the header, and what llama.cpp does.

llama.cpp ends the process on some, so files are loaded in forked processes, and this is a process of its own:

    python -m tests.support.extra_keys FOLDER N     a line of JSON for each architecture of tests/support. Of the header's
                                                    refusals N are tried without the header's check (a large N: all)
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import random
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softllama.llama import architectures, header
from tests.support import damage, forked

NAMES = (*list(forked.WRITERS)[:15], *forked.ARCHITECTURES)
TEXT = struct.pack("<Q", 3) + b"512"
VALUES: tuple[tuple[Any, int, bytes], ...] = (  # as Python reads it, the type's number, the bytes
    *((n, damage.U32, struct.pack("<I", n)) for n in (0, 1, 7, 512, 1 << 31)),
    *((x, damage.F32, struct.pack("<f", x)) for x in (0.5, -1.0, math.nan)),
    (True, damage.BOOL, b"\1"),
    ("512", damage.STRING, TEXT),
    (header.Array(2), damage.ARRAY, struct.pack("<IQII", damage.U32, 2, 512, 512)),
)


@dataclass(frozen=True)
class Refusal:
    """A key with a value, at which softllama calls the file damaged."""

    key: str
    kind: int
    raw: bytes


def refusals(h: header.Header) -> Iterator[Refusal]:
    """All that the header's check says of keys that the file does not have."""
    for key in damage.KEYS:
        full = f"{h.arch}.{key}"
        for value, kind, raw in VALUES if full not in h.metadata else ():
            if architectures.damage(replace(h, metadata={**h.metadata, full: value})) is not None:
                yield Refusal(key, kind, raw)


def outcome(fuzzer: forked.Fuzzer, path: Path, arch: str, r: Refusal) -> str:
    """What becomes of the file with that key in llama.cpp: loaded, refused, crash, hang or memory."""
    whole = damage.take_apart(path.read_bytes())
    entry = damage.Entry(f"{arch}.{r.key}".encode(), r.kind, r.raw)
    changed = fuzzer.folder / "changed.gguf"
    changed.write_bytes(replace(whole, entries=[*whole.entries, entry]).bytes())
    checked = architectures.damage
    architectures.damage = lambda h: None
    try:
        return forked.in_child(lambda: visit(changed), 1 << 30, 5)[0]
    finally:
        architectures.damage = checked


def visit(path: Path) -> tuple[str, str]:
    """`visit_once` where fresh memory holds something, as in a process that has run for long: what reads it by mistake crashes."""
    fill = getattr(ctypes.CDLL(None), "mallopt", None)
    if fill is not None:  # glibc
        fill(-6, 0xA5)  # M_PERTURB
    return forked.visit_once(path, None)


def main() -> None:
    """One line of JSON for each architecture."""
    folder, n = Path(sys.argv[1]), int(sys.argv[2])
    os.environ["SOFTLLAMA_TRIAL"] = "off"
    fuzzer = forked.Fuzzer(0, folder)
    for name in NAMES:
        path = fuzzer.model(name)
        h = header.read(path)
        of_header = list(refusals(h))
        some = random.Random(name).sample(of_header, min(n, len(of_header)))
        tried = {f"{r.key} {r.raw.hex()}": outcome(fuzzer, path, h.arch, r) for r in some}
        row = {"name": name, "keys": sorted({r.key for r in of_header}), "tried": tried}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
