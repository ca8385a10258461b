"""Trials that go wrong on purpose, in the child process of a first load."""

from __future__ import annotations

import os
from typing import Any

from softllama.base import child
from softllama.engine.attempt import attempt
from softllama.errors import ModelError


def aborts_without_vocabulary(send: child.Send, **arguments: Any) -> None:
    """As if llama.cpp needed the vocabulary to load this model."""
    if not arguments["vocabulary"]:
        os.abort()
    attempt(send, **arguments)


def refuses_without_vocabulary(send: child.Send, **arguments: Any) -> None:
    """As if llama.cpp said that something is missing."""
    if not arguments["vocabulary"]:
        raise ModelError("llama.cpp cannot load it: no vocabulary")
    attempt(send, **arguments)


def aborts(send: child.Send, **arguments: Any) -> None:
    """As if it ended the process with the vocabulary, too."""
    os.abort()
