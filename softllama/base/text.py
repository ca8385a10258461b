"""Text for people: how bytes are written, and the hint "did you mean". Knows no models and no terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from softllama.errors import UsageError


def size(n_bytes: float) -> str:
    """Write a number of bytes with one decimal below 100: "4.9 GB", "27.5 MB", "146 kB".

    Args:
        n_bytes: The number; 1 GB is 1e9 bytes, as disks and downloads count.
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= 0.9995 * scale:
            value = n_bytes / scale
            return f"{value:.{1 if value < 99.95 else 0}f}".removesuffix(".0") + f" {unit}"
    return f"{n_bytes:.0f} B"


def percent(share: float) -> str:
    """Write a share with two digits that count, and no exponent: "0.41 %", "4.1 %", "110 %"."""
    value = float(f"{100 * share:.2g}")
    return f"{value:.0f} %" if abs(value) >= 10 else f"{value:g} %" if abs(value) >= 1e-4 or not value else "<0.0001 %"


def duration(seconds: float) -> str:
    """ "12.3 s", "13 min 5 s", "2 h 5 min"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def unknown(message: str, word: str, choices: Iterable[str]) -> UsageError:
    """Make the error for a name that is none of the choices, with the closest of them as the hint.

    Args:
        message: What happened, such as "there is no policy 'sotf'".
        word: The name as the user wrote it.
        choices: The names that there are.
    """
    names = list(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    listed = f"there are: {', '.join(names) or 'none'}"
    return UsageError(message, f"did you mean {close[0]!r}? {listed}" if close else listed)
