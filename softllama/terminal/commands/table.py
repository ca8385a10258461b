"""The table of a chat's commands, and the decorator that puts one there. Knows none of them."""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.terminal.repl import Repl


@dataclass(frozen=True)
class Command:
    """form: what follows the name. about: the line of /help; details: what /help NAME adds."""

    run: Callable[[Repl, str], None]
    form: str
    about: str
    details: str = ""


COMMANDS: dict[str, Command] = {}


def command(form: str, about: str, details: str = "") -> Callable[[Callable[[Repl, str], None]], Command]:
    """List a function in COMMANDS by its name, without the underscore that keeps it off Python's own names."""

    def listed(f: Callable[[Repl, str], None]) -> Command:
        made = Command(f, form, about, details)
        COMMANDS[f.__name__.strip("_")] = made
        return made

    return listed


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


def whole(name: str, text: str) -> int:
    """A whole number, as typed."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} = {text!r} is not a whole number", f"/set {name} 100") from None


def unquoted(text: str, example: str) -> str:
    """A file's name, perhaps in quotes."""
    if not text:
        raise UsageError("which file?", example)
    if text[0] in "\"'":
        with contextlib.suppress(ValueError):
            text = " ".join(shlex.split(text))
    return text
