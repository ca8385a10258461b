"""Checks of arguments: each returns the value in its type, or raises an error that names the argument and the value.

Knows types and ranges. Does not know what an argument is for: callers give its name.
"""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from typing import Any, TypeVar

from softllama.errors import PromptError, UsageError

T = TypeVar("T")
SEEDS = 2**63  # seeds are below this: what fits into a signed integer of 64 bits


def integer(name: str, value: Any, low: int | None = None, high: int | None = None, hint: str = "") -> int:
    """A whole number as an int.

    Args:
        name: what the error message calls the argument.
        value: an int, or a number of numpy's integer types. True and 1.0 are not whole numbers.
        low, high: the range, both ends included. None: no limit.
        hint: the error's hint.

    Raises:
        UsageError: the value is something else, or out of range.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        n = operator.index(value)
    except TypeError:
        raise _not_allowed(name, value, "a whole number", low, high, hint) from None
    if (low is not None and n < low) or (high is not None and n > high):
        raise _not_allowed(name, n, "a whole number", low, high, hint)
    return n


def integer_or_none(
    name: str, value: Any, low: int | None = None, high: int | None = None, hint: str = ""
) -> int | None:
    """As `integer`; None stays None."""
    return None if value is None else integer(name, value, low, high, hint)


def seed(value: Any) -> int:
    """A seed of random numbers as an int.

    Args:
        value: a whole number from 0 to 2^63 - 1.

    Raises:
        UsageError: the value is something else.
    """
    try:
        return integer("a seed", value, 0, SEEDS - 1)
    except UsageError:
        raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, not {shown(value)}") from None


def number(name: str, value: Any, low: float | None = None, high: float | None = None, hint: str = "") -> float:
    """A finite number as a float.

    Args:
        name: what the error message calls the argument.
        value: anything that float() takes, except text and truth values.
        low, high: the range, both ends included. None: no limit.
        hint: the error's hint.

    Raises:
        UsageError: the value is something else, not finite, or out of range.
    """
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
    """The value itself, which must be an instance of `kind`.

    Raises:
        UsageError: the value is of another type.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be a {kind.__name__}, not {shown(value)}", hint)
    return value


def path(value: Any) -> Path:
    """The path of a file or folder.

    Args:
        value: text, or a path object whose path is text.

    Raises:
        UsageError: the value is something else.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(plain := os.fspath(value), str):
        raise UsageError(f"a path is text, not {shown(value)}")
    return Path(plain)


def text(name: str, value: Any) -> str:
    """Text that a user wrote, such as a prompt.

    Raises:
        PromptError: the value is not a str.
    """
    if not isinstance(value, str):
        raise PromptError(f"the {name} must be text, not {type(value).__name__}")
    return value


def shown(value: Any) -> str:
    """repr(value) for an error message, cut to 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"


def _not_allowed(name: str, value: Any, kind: str, low: float | None, high: float | None, hint: str) -> UsageError:
    limits = "" if low is None and high is None else f" of {low} or more" if high is None else f" from {low} to {high}"
    return UsageError(f"{name} must be {kind}{limits}, not {shown(value)}", hint)
