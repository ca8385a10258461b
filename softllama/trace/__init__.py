"""The record of a generation as data, its files, and how it looks. `load` reads a file of one.

Knows vectors only: the loop makes the record, and does not appear here. The names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softllama.trace.reader import load
    from softllama.trace.record import Trace
    from softllama.trace.step import Step

__all__ = ["Step", "Trace", "load"]

_HOME = {"Step": "step", "Trace": "record", "load": "reader"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'softllama.trace' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"softllama.trace.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
