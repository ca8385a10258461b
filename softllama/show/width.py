"""How wide text is on a terminal. Knows what rich knows of East Asian and combining characters."""

from __future__ import annotations

from rich.cells import cell_len


def columns(text: str) -> int:
    """Columns that a text takes in one line: two for each wide character, none for a combining one."""
    return cell_len(text)
