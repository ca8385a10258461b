r"""Answers compared as mathematics, by math-verify: 2\sqrt{3} and \sqrt{12} are the same. The only module that imports it.

Knows texts only. Reads what a box holds, else what follows ####, else what math-verify finds in the text.
"""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from typing import Any

from softllama.errors import SoftLlamaError

SECONDS = 5  # for one expression: sympy may never come to an end


def require() -> None:
    """Raise SoftLlamaError where math-verify is not installed."""
    try:
        import math_verify  # noqa: F401
    except ImportError:
        raise SoftLlamaError("the rule math needs math-verify", 'pip install "softllama[math]"') from None


@lru_cache(maxsize=4096)
def parsed(text: str) -> tuple[Any, ...]:
    """What math-verify makes of a text: expressions and their texts; () for nothing."""
    from math_verify import parse

    found = parse(text, parsing_timeout=_seconds(), raise_on_error=False)
    return tuple(found)


def expression(text: str) -> str | None:
    """The last expression of a text, as it stands there; None where there is none."""
    texts = [x for x in parsed(text) if isinstance(x, str)]
    return texts[-1].strip() or None if texts else None


def same(answer: str, right: str) -> bool:
    """Are two answers the same as mathematics?"""
    from math_verify import verify

    gold, given = parsed(_in_math(right)), parsed(_in_math(answer))
    if not gold or not given:
        return False
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns of every comparison that sympy cannot make
    try:
        return bool(verify(list(gold), list(given), timeout_seconds=_seconds(), raise_on_error=False))
    finally:
        logging.disable(before)


def _in_math(text: str) -> str:
    """An answer as LaTeX, unless it is marked as that."""
    return text if "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text else f"${text}$"


def _seconds() -> int | None:
    """The limit works by a signal, which only a main thread gets."""
    return SECONDS if threading.current_thread() is threading.main_thread() else None
