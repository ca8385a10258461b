"""What can be changed in a chat: /system, /policy, /set, /think and /mix."""

from __future__ import annotations

from typing import Any, cast

from softllama import policy
from softllama.base import arguments
from softllama.base.files import text_or_file
from softllama.base.text import unknown
from softllama.chat import settings as chat_settings
from softllama.chat.conversation import Conversation
from softllama.chat.messages import Mix
from softllama.chat.settings import THINK as MODES
from softllama.chat.settings import ChatKeywords
from softllama.errors import SoftLlamaError, UsageError
from softllama.generation import prepare
from softllama.terminal.commands.table import COMMANDS, command, integer
from softllama.terminal.live import VIEWS
from softllama.terminal.state import ChatState

NOTHING = ("none", "default", "")
NUMBERS = ("think_budget", "max_tokens")


@command("[TEXT|@FILE|none]", "show or change the system message", "It counts from the next answer on.")
def system(chat: ChatState, text: str) -> None:
    c = chat.conversation
    if not text:
        chat.screen.print(c.system or "there is no system message")
        return
    before = c.system
    c.system = "" if text == "none" else text_or_file(text, "system message")
    try:
        c.check()
    except SoftLlamaError:
        c.system = before
        raise
    c.changed()


@command(
    "[POLICY|default]",
    "show or change how the model thinks and answers",
    'Such as /policy soft_thinking:n=10,tau=0.01. "softllama policies" lists them all.',
)
def policy_(chat: ChatState, text: str) -> None:
    c = chat.conversation
    if text:
        c.set(policy=None if text in NOTHING else text)
        give_room_to_act(chat)
    why = "" if c.settings.policy else ": " + c.default_policy()[1]
    chat.screen.print(f"{c.policy!r}{why}")
    if not text:
        chat.screen.note(f"there are: {', '.join(policy.names())}")


def give_room_to_act(chat: ChatState) -> None:
    """Ask for thinking in plain text where the policy would never act, and say so."""
    c = chat.conversation
    if c.settings.policy is None or c.acts():
        return
    why = prepare.no_block(c.model, c.policy, c.settings.think)
    if c.settings.think == "auto":
        c.set(think="prompt")
        why += ": the model is asked to think in plain text (/think prompt)"
    chat.screen.note(f"{why}; /policy {c.policy.name}:where=everywhere mixes the whole answer")


@command(
    "[NAME VALUE]",
    "show the settings, or change one",
    "max_tokens N|none (of an answer with its thinking), think_budget N|none, stop TEXT|none (\\n is a newline), "
    "on_loop warn|stop|hard, "
    "seed N (of the next answer; each takes the next number), policy, answer (the policy after the thinking), think, "
    "think_tags OPEN,CLOSE, parse_special on|off (control tokens in messages).",
)
def set_(chat: ChatState, text: str) -> None:
    c = chat.conversation
    if text:
        name, _, value = text.partition(" ")
        change(chat, name, value.strip())
        if name == "policy":
            give_room_to_act(chat)
    rows = [(k, shown(v)) for k, v in chat_settings.to_dict(c.settings).items()]
    rows += [("seed", f"{c.seed + c.answers} for the next answer")]
    if text:
        rows = [(k, v) for k, v in rows if k == text.partition(" ")[0]]
    for k, v in rows:
        chat.screen.print(f"{k} = {v}")


def shown(value: Any) -> str:
    """A setting's value as it is typed."""
    if isinstance(value, list):
        return ", ".join(repr(v) for v in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)


def _set(c: Conversation, name: str, value: object) -> None:
    """Change a setting whose name and value were typed; the conversation checks both."""
    c.set(**cast(ChatKeywords, {name: value}))


def change(chat: ChatState, name: str, value: str) -> None:
    """Change one setting, from text."""
    c = chat.conversation
    names = [*chat_settings.to_dict(c.settings), "seed"]
    if name not in names:
        raise unknown(f"there is no setting {name!r}", name, names)
    if not value:
        raise UsageError(f"/set {name} needs a value", f"/set {name} none" if name != "seed" else "/set seed 7")
    if name == "seed":
        c.reseed(arguments.seed(integer(name, value)))
    elif name == "parse_special":
        if value not in ("on", "off"):
            raise UsageError(f"/set {name} {value}: it is on or off", f"/set {name} on")
        c.set(parse_special=value == "on")
    elif value in NOTHING:
        _set(c, name, () if name == "stop" else "auto" if name == "think" else None)
    elif name == "stop":
        c.set(stop=(value.replace("\\n", "\n"),))
    else:
        _set(c, name, integer(name, value) if name in NUMBERS else value)


@command(
    "[show|hide|mixtures|on|off|auto|prompt|budget N]",
    "how thinking is shown, and whether and how long the model thinks",
    "show: its readouts; hide: only that it thinks; mixtures: every step's tokens with their weights, after its entropy "
    "in nats. show after hide shows the last thinking again. on: think; a model without a thinking block refuses. off: do "
    "not think. auto: think if the model has a thinking block. prompt: the message asks for thinking in plain text. "
    "budget N closes the block after N steps, budget none does not.",
)
def think(chat: ChatState, text: str) -> None:
    c, (word, _, rest) = chat.conversation, text.partition(" ")
    if word in VIEWS and not rest:
        unfold = word == "show" and chat.view == "hide" and c.last is not None
        chat.view = word
        if unfold and c.last is not None and c.last.thinking:
            chat.screen.dim(c.last.thinking)
    elif word in MODES and not rest:
        _set(c, "think", word)
    elif word == "budget" and rest:
        c.set(think_budget=None if rest in NOTHING else integer("think_budget", rest))
    elif text:
        raise UsageError(f"/think {text}: there is no such way to think", f"/think {COMMANDS['think'].form}")
    budget = c.settings.think_budget
    chat.screen.note(
        f"thinking: {c.settings.think}, {'no budget' if budget is None else f'a budget of {budget}'}, view: {chat.view}"
    )
    if line := c.thinks_anyway():
        chat.screen.note(line)


@command(
    "[NAME=MIXTURE]",
    "give {NAME} a meaning in later messages, or list the mixtures",
    "/mix animal=dog:0.5,cat:0.5 makes a mixture that messages use as {animal}; {{animal}} is the text {animal}, and "
    "braces without such a name are just braces. /mix animal= forgets it. --split first|last|mean before the name says "
    "what a word of several tokens stands for; --normalize divides the weights by their sum; --signed allows any.",
)
def mix(chat: ChatState, text: str) -> None:
    c = chat.conversation
    if not text:
        for name in c.mixes:
            _print_mix(chat, name)
        if not c.mixes:
            chat.screen.print("there are no mixtures; /mix animal=dog:0.5,cat:0.5 makes one")
        return
    name = define(chat, text)
    if name in c.mixes:
        _print_mix(chat, name)
    else:
        chat.screen.note(f"{{{name}}} is forgotten")


def define(chat: ChatState, text: str) -> str:
    """What /mix and --mix do: NAME=MIXTURE, perhaps after options; NAME= forgets it. Returns the name."""
    c = chat.conversation
    read, text = mix_options(text)
    name, equals, body = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier() or not name.isascii():
        raise UsageError(f"{text!r} does not say what the mixture is called", "/mix animal=dog:0.5,cat:0.5")
    if not body.strip():
        if name not in c.mixes:
            raise UsageError(f"there is no mixture {{{name}}}", f"there are: {', '.join(c.mixes) or 'none'}")
        c.mixes = {k: v for k, v in c.mixes.items() if k != name}
        c.changed()
        return name
    c.define(name, Mix(body.strip(), **read))
    return name


def mix_options(text: str) -> tuple[dict[str, Any], str]:
    """The --options before a mixture, and the rest."""
    read: dict[str, Any] = {}
    while text.startswith("--"):
        word, _, text = text.partition(" ")
        text = text.strip()
        if word in ("--signed", "--normalize"):
            read[word[2:]] = True
        elif word == "--split":
            read["split"], _, text = text.partition(" ")
        else:
            raise UsageError(
                f"/mix has no option {word}", "there are --split first|last|mean, --normalize and --signed"
            )
    return read, text


def _print_mix(chat: ChatState, name: str) -> None:
    c = chat.conversation
    parts = c.mixes[name].resolve(c.model).components
    text = " + ".join(f"{p.weight:.3g} {p.label}" for p in parts[:8]) + " + …" * (len(parts) > 8)
    chat.screen.print(f"{{{name}}} = {text}")
