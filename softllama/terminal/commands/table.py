"""The table of a chat's commands, and the decorator that puts one there. Knows none of the commands."""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from softllama.errors import UsageError
from softllama.terminal.state import ChatState


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    run: what it does, with the chat and the text after its name. form: that text, as help shows it. about: the line of
    /help. details: what /help NAME adds.
    """

    run: Callable[[ChatState, str], None]
    form: str
    about: str
    details: str = ""


COMMANDS: dict[str, Command] = {}


def command(form: str, about: str, details: str = "") -> Callable[[Callable[[ChatState, str], None]], Command]:
    """Put a function into COMMANDS, under its name without the underscore that keeps it apart from Python's names."""

    def add(f: Callable[[ChatState, str], None]) -> Command:
        COMMANDS[f.__name__.strip("_")] = entry = Command(run=f, form=form, about=about, details=details)
        return entry

    return add


def find(name: str) -> Command:
    """The command of that name."""
    if name not in COMMANDS:
        close = difflib.get_close_matches(name.lower(), COMMANDS, 1, 0.5)
        raise UsageError(
            f"there is no command /{name}",
            (f"did you mean /{close[0]}? " if close else "/help lists them; ")
            + "a message that begins with / is written with two",
        )
    return COMMANDS[name]


def integer(name: str, text: str) -> int:
    """A whole number, as typed. name: what the error message calls it."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} = {text!r} is not a whole number", f"/set {name} 100") from None


def unquoted(text: str, example: str) -> str:
    """The name of a file, which may be in quotes. example: the hint where there is none."""
    if not text:
        raise UsageError("which file?", example)
    if text[0] in "\"'":
        with contextlib.suppress(ValueError):
            text = " ".join(shlex.split(text))
    return text
