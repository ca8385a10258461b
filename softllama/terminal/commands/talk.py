"""What can be done with a chat's answers: /help, /clear, /top, /regen, /undo, /stats, /compare and /exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softllama import policy
from softllama.chat.conversation import made_of
from softllama.errors import UsageError
from softllama.prompts.build import ASSISTANT
from softllama.terminal.commands.table import COMMANDS, command, find, whole

if TYPE_CHECKING:
    from softllama.terminal.repl import Repl


@command("[COMMAND]", "these lines, or more about one command")
def help_(repl: Repl, text: str) -> None:
    from softllama.terminal import tables

    if text:
        c = find(text.removeprefix("/"))
        name = next(n for n, x in COMMANDS.items() if x is c)
        repl.screen.say(f"/{name} {c.form}".rstrip() + f": {c.about}" + (f"\n{c.details}" if c.details else ""))
        return
    rows = [(f"/{n} {c.form}".rstrip(), c.about) for n, c in COMMANDS.items() if n != "quit"]
    repl.screen.show(tables.pairs(rows, repl.screen.width))
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


@command(
    "[N]", "the N likeliest tokens at the last answer's turning points",
    "The distributions before the first token of the thinking and of the answer, and the one at its end, where the answer "
    "stopped; N is 5 unless you say.",
)  # fmt: skip
def top(repl: Repl, text: str) -> None:
    from softllama.terminal import tables

    n = whole("top", text) if text else 5
    if not 1 <= n <= 1000:
        raise UsageError(f"/top {n}: N is between 1 and 1000")
    found = repl.conversation.distributions()
    if not found:
        raise UsageError("no answer has been made yet in this chat", "write a message, or /regen")
    names = {"thinking": "first token of the thinking", "answer": "first token of the answer", "end": "at its end"}
    repl.screen.show(tables.tops({names[k]: found[k] for k in names if k in found}, n))


@command("", "answer the last message again, with the next seed")
def regen(repl: Repl, text: str) -> None:
    repl.answer(lambda show: repl.conversation.regen(show))


@command("", "take back the last message and its answer")
def undo(repl: Repl, text: str) -> None:
    from softllama.terminal.repl import began

    repl.screen.note(f"taken back: {began(repl.conversation.undo())}")


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
        f"{len(c.cache.items)} of {c.n_ctx} positions of the context in use",
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
    from softllama.terminal import tables
    from softllama.terminal.repl import numbers

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
    sides = [
        tables.Side(str(made.get("policy", "")), thought, answer, f"{made.get('seconds', 0):.2f} s, {numbers(made)}")
        for answer, thought, made in (
            (last.content, last.thinking, last.made),
            (t.answer.strip(), t.thinking.strip(), made_of(t)),
        )
    ]
    repl.screen.show(tables.compared(sides, repl.screen.width, thinking=repl.view != "hide"))


@command("", "leave; Ctrl-D does too")
def exit_(repl: Repl, text: str) -> None:
    repl.leaving = True
