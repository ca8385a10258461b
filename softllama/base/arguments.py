"""Arguments of functions that are of another type, or not allowed, as sentences. Knows nothing of what they are for."""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from typing import Any, TypeVar

from softllama.errors import PromptError, UsageError

T = TypeVar("T")


def whole(name: str, value: Any, low: int | None = None, high: int | None = None, hint: str = "") -> int:
    """A whole number from low to high, as an int. Raises UsageError for anything else: True and 1.0 are none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        n = operator.index(value)
    except TypeError:
        raise _not_allowed(name, value, "a whole number", low, high, hint) from None
    if (low is not None and n < low) or (high is not None and n > high):
        raise _not_allowed(name, n, "a whole number", low, high, hint)
    return n


def whole_or_none(name: str, value: Any, low: int | None = None, high: int | None = None, hint: str = "") -> int | None:
    """The same, or None."""
    return None if value is None else whole(name, value, low, high, hint)


def number(name: str, value: Any, low: float | None = None, high: float | None = None, hint: str = "") -> float:
    """A finite number from low to high, as a float. Raises UsageError for anything else."""
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        x = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _not_allowed(name, value, "a number", low, high, hint) from None
    if not math.isfinite(x) or (low is not None and x < low) or (high is not None and x > high):
        raise _not_allowed(name, x, "a number", low, high, hint)
    return x


def instance(name: str, value: Any, kind: type[T], hint: str = "") -> T:
    """The value, if it is of that kind. Raises UsageError for anything else."""
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be a {kind.__name__}, not {shown(value)}", hint)
    return value


def path(value: Any) -> Path:
    """The path of a file or folder. Raises UsageError for anything else than text or a path object."""
    if not isinstance(value, str | os.PathLike) or not isinstance(given := os.fspath(value), str):
        raise UsageError(f"a path is text, not {shown(value)}")
    return Path(given)


def shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _not_allowed(name: str, value: Any, kind: str, low: float | None, high: float | None, hint: str) -> UsageError:
    limits = "" if low is None and high is None else f" of {low} or more" if high is None else f" from {low} to {high}"
    return UsageError(f"{name} must be {kind}{limits}, not {shown(value)}", hint)


def check_text(text: str, what: str = "prompt") -> str:
    """The text, or PromptError if it cannot be one."""
    if not isinstance(text, str):
        raise PromptError(f"the {what} must be text, not {type(text).__name__}")
    return text
