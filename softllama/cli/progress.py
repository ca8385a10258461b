"""How far a download is, on stderr. In a pipe, a line for each tenth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from softllama.base.text import size
from softllama.cli import note
from softllama.hub.caches import Progress


@contextmanager
def bar(quiet: bool) -> Iterator[Progress | None]:
    """Yield what to call with (file, bytes so far, bytes in all); None if nothing is to be shown."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from softllama.hub import view

        shown = view.Download()
        try:
            yield shown.update
        finally:
            shown.stop()
    else:
        yield _lines()


def _lines() -> Progress:
    tenths: dict[str, int] = {}

    def update(file: str, done: int, total: int) -> None:
        tenth = 10 * done // total if total else 10
        if tenth != tenths.get(file):
            tenths[file] = tenth
            note(f"{file}: {10 * tenth} % of {size(total)}")

    return update
