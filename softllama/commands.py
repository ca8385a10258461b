"""The commands of a chat: /help, /mix, /compare and so on. Each is a function of the repl and the text after its name."""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from softllama import chatfile, policy
from softllama.conversation import MODES
from softllama.errors import SoftLlamaError, UsageError
from softllama.messages import ASSISTANT, Mix
from softllama.mixture import parse as parse_mix
from softllama.screen import VIEWS

if TYPE_CHECKING:
    from softllama.repl import Repl

NOTHING = ("none", "default", "")
NUMBERS = ("think_budget", "max_tokens")


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


def run(repl: Repl, line: str) -> None:
    """Do what a line that begins with / asks for. Raises UsageError, with the closest name, for one that is unknown."""
    name, _, rest = line[1:].partition(" ")
    find(name).run(repl, rest.strip())


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


@command("[COMMAND]", "these lines, or more about one command")
def help_(repl: Repl, text: str) -> None:
    from softllama import render_chat

    if text:
        c = find(text.removeprefix("/"))
        name = next(n for n, x in COMMANDS.items() if x is c)
        repl.screen.say(f"/{name} {c.form}".rstrip() + f": {c.about}" + (f"\n{c.details}" if c.details else ""))
        return
    rows = [(f"/{n} {c.form}".rstrip(), c.about) for n, c in COMMANDS.items() if n != "quit"]
    repl.screen.show(render_chat.pairs(rows, repl.screen.width))
    repl.screen.note(
        'A message of several lines begins and ends with """; one that begins with / is written with two. Ctrl-C stops an '
        "answer and keeps its text, Ctrl-D leaves."
    )


@command("", "forget the messages; the system message, settings and mixtures stay")
def clear(repl: Repl, text: str) -> None:
    if repl.autosave is not None:  # what was said so far stays in its own file
        repl.save(open_=False)
        repl.autosave.anew()
    repl.conversation.clear()
    repl.screen.note("cleared")


@command("[TEXT|@FILE|none]", "show or change the system message", "It counts from the next answer on.")
def system(repl: Repl, text: str) -> None:
    c = repl.conversation
    if not text:
        repl.screen.say(c.system or "there is no system message")
        return
    before = c.system
    c.system = "" if text == "none" else system_text(text)
    try:
        c.check()
    except SoftLlamaError:
        c.system = before
        raise
    c.changed()


@command(
    "[POLICY|default]", "show or change how the model thinks and answers",
    'Such as /policy soft_thinking:n=10,tau=0.01. "softllama policies" describes them all.',
)  # fmt: skip
def policy_(repl: Repl, text: str) -> None:
    c = repl.conversation
    if text:
        c.set(policy=None if text in NOTHING else text)
    why = "" if c.settings.policy else ": " + c.default_policy()[1]
    repl.screen.say(f"{c.policy!r}{why}")
    if not text:
        repl.screen.note(f"there are: {', '.join(policy.names())}")


@command(
    "[NAME VALUE]", "show the settings, or change one",
    "max_tokens N|none (of an answer with its thinking), think_budget N|none, stop TEXT|none (\\n is a newline), "
    "seed N (of the next answer; each takes the next number), policy, answer (the policy after the thinking), think, "
    "think_tags OPEN,CLOSE.",
)  # fmt: skip
def set_(repl: Repl, text: str) -> None:
    c = repl.conversation
    if text:
        name, _, value = text.partition(" ")
        change(repl, name, value.strip())
    rows = [(k, shown(v)) for k, v in c.settings.to_dict().items()]
    rows += [("seed", f"{c.seed + c.answers} for the next answer")]
    if text:
        rows = [(k, v) for k, v in rows if k == text.partition(" ")[0]]
    for k, v in rows:
        repl.screen.say(f"{k} = {v}")


def shown(value: Any) -> str:
    """A setting's value as it is typed."""
    if isinstance(value, list):
        return ", ".join(repr(v) for v in value) or "none"
    return "none" if value is None else str(value)


def change(repl: Repl, name: str, value: str) -> None:
    """Change one setting, from text."""
    c = repl.conversation
    names = [*c.settings.to_dict(), "seed"]
    if name not in names:
        raise policy.method.unknown(f"there is no setting {name!r}", name, names)
    if not value:
        raise UsageError(f"/set {name} needs a value", f"/set {name} none" if name != "seed" else "/set seed 7")
    if name == "seed":
        seed = whole(name, value)
        if not 0 <= seed < 2**63:
            raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, not {seed}")
        c.reseed(seed)
    elif value in NOTHING:
        c.set(**{name: () if name == "stop" else "auto" if name == "think" else None})
    elif name == "stop":
        c.set(stop=(value.replace("\\n", "\n"),))
    else:
        c.set(**{name: whole(name, value) if name in NUMBERS else value})


def whole(name: str, text: str) -> int:
    """A whole number, as typed."""
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} = {text!r} is not a whole number", f"/set {name} 100") from None


@command(
    "[show|hide|mixtures|on|off|auto|budget N]", "how thinking is shown, and whether and how long the model thinks",
    "show: its readouts; hide: only that it thinks; mixtures: every step's tokens with their weights, after its entropy "
    "in nats. show after hide shows the last thinking again. on insists on a thinking block, off prevents it, auto opens "
    "one where the model has one. budget N closes it after N steps, budget none does not.",
)  # fmt: skip
def think(repl: Repl, text: str) -> None:
    c, (word, _, rest) = repl.conversation, text.partition(" ")
    if word in VIEWS and not rest:
        unfold = word == "show" and repl.view == "hide" and c.last is not None
        repl.view = word
        if unfold and c.last is not None and c.last.thinking:
            repl.screen.dim(c.last.thinking)
    elif word in MODES and not rest:
        c.set(think=word)
    elif word == "budget" and rest:
        c.set(think_budget=None if rest in NOTHING else whole("think_budget", rest))
    elif text:
        raise UsageError(f"/think {text}: there is no such way to think", f"/think {COMMANDS['think'].form}")
    budget = c.settings.think_budget
    repl.screen.note(
        f"thinking: {c.settings.think}, {'no budget' if budget is None else f'a budget of {budget}'}, view: {repl.view}"
    )


@command(
    "[NAME=MIXTURE]", "give {NAME} a meaning in later messages, or list the mixtures",
    "/mix animal=dog:0.5,cat:0.5 makes a mixture that messages use as {animal}; {{animal}} is the text {animal}, and "
    "braces without such a name are just braces. /mix animal= forgets it. --split first|last|mean before the name says "
    "what a word of several tokens stands for; --normalize divides the weights by their sum; --signed allows any.",
)  # fmt: skip
def mix(repl: Repl, text: str) -> None:
    c = repl.conversation
    if not text:
        for name in c.mixes:
            _tell_mix(repl, name)
        if not c.mixes:
            repl.screen.say("there are no mixtures; /mix animal=dog:0.5,cat:0.5 makes one")
        return
    name = define(repl, text)
    if name in c.mixes:
        _tell_mix(repl, name)
    else:
        repl.screen.note(f"{{{name}}} is forgotten")


def define(repl: Repl, text: str) -> str:
    """What /mix and --mix do: NAME=MIXTURE, perhaps after options; NAME= forgets it. Returns the name."""
    c = repl.conversation
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
    parse_mix(text, signed=bool(read.get("signed")), normalize=bool(read.get("normalize")))
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


def _tell_mix(repl: Repl, name: str) -> None:
    c = repl.conversation
    parts = c.mixes[name].resolve(c.model).components
    shown_ = " + ".join(f"{p.weight:.3g} {p.label}" for p in parts[:8]) + " + …" * (len(parts) > 8)
    repl.screen.say(f"{{{name}}} = {shown_}")


@command(
    "[N]", "the N likeliest tokens at the last answer's turning points",
    "The distributions before the first token of the thinking and of the answer, and the one at its end, where the answer "
    "stopped; N is 5 unless you say.",
)  # fmt: skip
def top(repl: Repl, text: str) -> None:
    from softllama import render_chat

    n = whole("top", text) if text else 5
    if not 1 <= n <= 1000:
        raise UsageError(f"/top {n}: N is between 1 and 1000")
    found = repl.conversation.distributions()
    if not found:
        raise UsageError("no answer has been made yet in this chat", "write a message, or /regen")
    names = {"thinking": "first token of the thinking", "answer": "first token of the answer", "end": "at its end"}
    repl.screen.show(render_chat.tops({names[k]: found[k] for k in names if k in found}, n))


@command("", "answer the last message again, with the next seed")
def regen(repl: Repl, text: str) -> None:
    repl.answer(lambda show: repl.conversation.regen(show))


@command("", "take back the last message and its answer")
def undo(repl: Repl, text: str) -> None:
    from softllama.repl import began

    repl.screen.note(f"taken back: {began(repl.conversation.undo())}")


@command("FILE [traces]", "save the conversation as JSON; traces: with every step of every answer")
def save(repl: Repl, text: str) -> None:
    path, traces = text, False
    if text.endswith(" traces"):
        path, traces = text.removesuffix(" traces").strip(), True
    path = unquoted(path, "/save chat.json")
    repl.conversation.save(path, traces=traces)
    repl.screen.note(f"saved: {path}")


@command("FILE", "go on with a saved conversation; the present one stays in the autosave")
def load(repl: Repl, text: str) -> None:
    path = unquoted(text, "/load chat.json")
    data = chatfile.read(path)
    if repl.autosave is not None and repl.conversation.messages:
        repl.save(open_=False)
        held, repl.autosave = repl.autosave, None  # so that the old file stays as it is
        try:
            repl.conversation.restore(data)
        finally:
            repl.autosave = held
        held.anew()
        repl.save()
    else:
        repl.conversation.restore(data)
    repl.screen.note(f"{len(repl.conversation.messages)} messages; the last of them:")
    repl.show_last()


@command("FILE", "save the record of the last answer (.jsonl or .npz), as softllama trace shows it")
def trace(repl: Repl, text: str) -> None:
    path = unquoted(text, "/trace answer.jsonl")
    last = repl.conversation.last
    if last is None or last.trace is None:
        raise UsageError("there is no record of the last answer", "/regen makes one")
    last.trace.save(path)
    repl.screen.note(f"saved: {path}")


@command("", "counts of this conversation")
def stats(repl: Repl, text: str) -> None:
    c = repl.conversation
    made = [m.made for m in c.messages if m.role == ASSISTANT]
    total = {k: sum(int(m.get(k, 0)) for m in made) for k in ("n_thinking", "n_answer", "n_soft", "evaluated")}
    seconds = sum(float(m.get("seconds", 0)) for m in made)
    rows = [
        f"{len(c.messages)} messages, {len(made)} of them answers; {c.left_out} oldest turns left out",
        f"{total['n_thinking']} thinking + {total['n_answer']} answer tokens, {total['n_soft']} of them soft, in "
        f"{seconds:.1f} s",
        f"{total['evaluated']} positions evaluated for these answers, {c.evaluated} in this chat",
        f"{len(c.memory.held)} of {c.n_ctx} positions of the context in use",
        f"next seed {c.seed + c.answers}",
    ]
    if repl.autosave is not None:
        rows.append(f"kept in {repl.autosave.path}")
    repl.screen.say("\n".join(rows))


@command(
    "POLICY", "answer the last message with another policy too, side by side",
    "The same seed is used, and the conversation goes on with the answer it had.",
)  # fmt: skip
def compare(repl: Repl, text: str) -> None:
    from softllama import render_chat
    from softllama.repl import numbers

    c = repl.conversation
    if not text:
        raise UsageError("/compare needs a policy", "such as /compare greedy")
    last = c.last
    if last is None:
        raise UsageError("there is no answer to compare with", "write a message, or /regen")
    other = policy.parse(text)
    steps = 0

    def count(_: Any) -> None:
        nonlocal steps
        steps += 1
        repl.screen.status(f"{other.name}, {steps} tokens")

    try:
        t = c.compare(other, count)
    finally:
        repl.screen.status("")
    sides = []
    both = (
        (last.content, last.thinking, dict(last.made)),
        (
            t.answer.strip(), t.thinking.strip(),
            {k: getattr(t, k) for k in ("policy", "stop_reason", "n_thinking", "n_answer", "n_soft", "mean_entropy")}
            | {"effective_tokens": t.effective_tokens, "tokens_per_second": t.tokens_per_second}
            | {"seconds": t.timings.get("total", 0.0)},
        ),
    )  # fmt: skip
    for answer, thought, made in both:
        line = numbers(
            int(made.get("n_thinking", 0)), int(made.get("n_answer", 0)), int(made.get("n_soft", 0)),
            float(made.get("mean_entropy", 0)), float(made.get("effective_tokens", 1)),
            float(made.get("tokens_per_second", 0)), str(made.get("stop_reason", "")),
        )  # fmt: skip
        line = f"{float(made.get('seconds', 0)):.2f} s, {line}"
        sides.append(render_chat.Side(str(made.get("policy", "")), thought, answer, line))
    repl.screen.show(render_chat.compared(sides, repl.screen.width, thinking=repl.view != "hide"))


@command("", "leave; Ctrl-D does too")
def exit_(repl: Repl, text: str) -> None:
    repl.leaving = True


COMMANDS["quit"] = COMMANDS["exit"]


def system_text(text: str) -> str:
    """A system message as typed: itself, or @FILE for what is in a file."""
    return chatfile.read_text(text[1:], "system message") if text.startswith("@") else text


def unquoted(text: str, example: str) -> str:
    """A file's name, perhaps in quotes."""
    if not text:
        raise UsageError("which file?", example)
    if text[0] in "\"'":
        with contextlib.suppress(ValueError):
            text = " ".join(shlex.split(text))
    return text
