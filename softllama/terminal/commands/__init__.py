"""The commands of a chat: /help, /mix, /compare and so on. Each is a function of the chat and the text after its name.

table    Command, the table of them, finding one by its name
talk     help clear top regen undo stats compare exit
change   system policy set think mix
files    save load trace
"""

from __future__ import annotations

from softllama.terminal.commands import change, files, talk
from softllama.terminal.commands.change import define, give_room_to_act
from softllama.terminal.commands.table import COMMANDS, Command, find
from softllama.terminal.state import ChatState

__all__ = ["COMMANDS", "Command", "change", "define", "files", "find", "give_room_to_act", "run", "talk"]

ORDER = "help clear system policy set think mix top regen undo compare save load trace stats exit"
for _name in ORDER.split():  # as /help lists them, whichever module they are in
    COMMANDS[_name] = COMMANDS.pop(_name)
COMMANDS["quit"] = COMMANDS["exit"]


def run(chat: ChatState, line: str) -> None:
    """Run a line that begins with /.

    Raises:
        UsageError: there is no such command; the hint has the closest name.
    """
    name, _, rest = line[1:].partition(" ")
    find(name).run(chat, rest.strip())
