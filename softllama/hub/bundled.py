"""The models that come with the package, by name. Knows only their files; softllama/models/README.md has their cards."""

from __future__ import annotations

import os
from pathlib import Path

from softllama.errors import ModelError

FOLDER = Path(__file__).resolve().parents[1] / "models"
DEFAULT = "words"


def names() -> list[str]:
    """Return the names of the bundled models, the default first."""
    stems = sorted(p.stem for p in FOLDER.glob("*.gguf"))
    return sorted(stems, key=lambda n: n != DEFAULT)


def resolve(path: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """Return the file for what the user named: None for the default model, "bundled:NAME" for another, or a path as it is."""
    text = f"bundled:{DEFAULT}" if path is None else path
    if not isinstance(text, str) or not text.startswith("bundled:"):
        return text
    name = text.removeprefix("bundled:")
    if name not in names():
        known = ", ".join(names()) or "none in this installation"
        raise ModelError(f"there is no bundled model {name!r}", f"bundled are: {known}; -m FILE.gguf names a file")
    return FOLDER / f"{name}.gguf"
