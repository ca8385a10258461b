"""Text of models, of files and of users as it can be printed: nothing in it acts on a terminal or turns a line around.

Knows neither rich nor HTML. Everything that prints tokens or a model's text goes through `printable` or `visible`.
"""

from __future__ import annotations


def printable(text: str, keep: str = "\n\t") -> str:
    """Text in which every character that cannot be printed is an escape, such as \\x1b.

    Args:
        text: any text; also with halves of surrogate pairs.
        keep: control characters that stay as they are.
    """
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def visible(text: str) -> str:
    """A token's text in one line: spaces at its ends as ␣, what cannot be printed as escapes, ∅ for nothing."""
    shown = printable(text, keep="")
    core = shown.strip(" ")
    if not core:
        return "␣" * len(shown) or "∅"
    return "␣" * (len(shown) - len(shown.lstrip(" "))) + core + "␣" * (len(shown) - len(shown.rstrip(" ")))


def small(p: float) -> str:
    """A probability with two digits that count: .099, .0085."""
    return number(p) if p >= 0.01 or p < 0.00001 else f"{p:.2g}".removeprefix("0")


def number(p: float, digits: int = 3) -> str:
    """A probability in four characters: .512, 1.00, .000; in fewer with fewer digits."""
    shown = f"{p:.{digits}f}"
    return shown[1:] if shown.startswith("0") else f"{p:.{max(1, digits - 1)}f}"
