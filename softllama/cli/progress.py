"""How far a download is, on stderr. In a pipe, a line for each tenth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from softllama.cli import note

if TYPE_CHECKING:
    from softllama.show.progress import Tick


@contextmanager
def bar(quiet: bool) -> Iterator[Tick | None]:
    """A function of (file, bytes so far, bytes in all) that shows the download; None if quiet."""
    if quiet:
        yield None
        return
    from softllama.show import progress

    if not sys.stderr.isatty():
        yield progress.tenths(note)
        return
    download = progress.Download()
    try:
        yield download.update
    finally:
        download.stop()
