"""The commands of a chat: /help, /mix, /compare and so on. Each is a function of the repl and the text after its name.

table   Command, the table, finding one by its name
talk    help clear top regen undo stats compare exit
change  system policy set think mix
files   save load trace
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from softllama.terminal.commands import change, files, talk
from softllama.terminal.commands.change import define, system_text
from softllama.terminal.commands.table import COMMANDS, Command, find

if TYPE_CHECKING:
    from softllama.terminal.repl import Repl

__all__ = ["COMMANDS", "Command", "change", "define", "files", "find", "run", "system_text", "talk"]

ORDER = (
    "help", "clear", "system", "policy", "set", "think", "mix", "top", "regen", "undo", "compare", "save", "load", "trace",
    "stats", "exit",
)  # fmt: skip
for _name in ORDER:  # as /help lists them, whichever module they are in
    COMMANDS[_name] = COMMANDS.pop(_name)
COMMANDS["quit"] = COMMANDS["exit"]


def run(repl: Repl, line: str) -> None:
    """Do what a line that begins with / asks for. Raises UsageError, with the closest name, for one that is unknown."""
    name, _, rest = line[1:].partition(" ")
    find(name).run(repl, rest.strip())
