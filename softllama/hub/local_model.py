"""A model on this machine, as whoever looks for models reports it. Knows names and paths, opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]  # called with a line for the user

SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)  # a file of a split model


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        name: What -m takes.
        path: The file; of a split model, the first one.
        source: Whose folder it lies in: "hugging face", "ollama", ...
        problem: Why it cannot be opened; "" where nothing is wrong.
    """

    name: str
    path: Path
    source: str
    problem: str = ""


def firsts(files: dict[str, Path]) -> list[tuple[str, Path]]:
    """Return all files but the later ones of splits whose first is there."""

    def first(name: str) -> str | None:
        m = SPLIT.fullmatch(name)
        return f"{m[1]}-00001-of-{m[3]}.gguf" if m and m[2] != "00001" else None

    return [(name, path) for name, path in sorted(files.items()) if first(name) not in files]
