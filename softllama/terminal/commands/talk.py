"""What can be done with a chat's answers: /help, /clear, /top, /regen, /undo, /stats, /compare and /exit."""

from __future__ import annotations

from softllama import policy
from softllama.chat.messages import details_of
from softllama.errors import UsageError
from softllama.generation import prepare
from softllama.prompts.build import ASSISTANT
from softllama.terminal.commands.table import COMMANDS, command, find, integer
from softllama.terminal.format import answer_numbers, beginning
from softllama.terminal.live import TokenCount
from softllama.terminal.state import ChatState


@command("[COMMAND]", "these lines, or more about one command")
def help_(chat: ChatState, text: str) -> None:
    from softllama.terminal import tables

    if text:
        c = find(text.removeprefix("/"))
        name = next(n for n, x in COMMANDS.items() if x is c)
        chat.screen.print(f"/{name} {c.form}".rstrip() + f": {c.about}" + (f"\n{c.details}" if c.details else ""))
        return
    rows = [(f"/{n} {c.form}".rstrip(), c.about) for n, c in COMMANDS.items() if n != "quit"]
    chat.screen.show(tables.pairs(rows, chat.screen.width))
    chat.screen.note(
        'A message of several lines begins and ends with """; one that begins with / is written with two. Ctrl-C stops an '
        "answer and keeps its text, Ctrl-D leaves."
    )


@command("", "forget the messages; the system message, settings and mixtures stay")
def clear(chat: ChatState, text: str) -> None:
    chat.start_new_file(chat.conversation.clear)
    chat.screen.note("cleared")


@command(
    "[N]",
    "the N likeliest tokens at the last answer's turning points",
    "The distributions before the first token of the thinking, before the first token of the answer, and where the answer "
    "stopped. Without N: 5.",
)
def top(chat: ChatState, text: str) -> None:
    from softllama.terminal import tables

    n = integer("top", text) if text else 5
    if not 1 <= n <= 1000:
        raise UsageError(f"/top {n}: N is between 1 and 1000")
    distributions = chat.conversation.distributions()
    if not distributions:
        raise UsageError("no answer has been made yet in this chat", "write a message, or /regen")
    names = {"thinking": "first token of the thinking", "answer": "first token of the answer", "end": "at its end"}
    chat.screen.show(tables.tops({names[k]: distributions[k] for k in names if k in distributions}, n))


@command("", "answer the last message again, with the next seed")
def regen(chat: ChatState, text: str) -> None:
    chat.answer(chat.conversation.regen)


@command("", "take back the last message and its answer")
def undo(chat: ChatState, text: str) -> None:
    chat.screen.note(f"taken back: {beginning(chat.conversation.undo())}")


@command("", "counts of this conversation")
def stats(chat: ChatState, text: str) -> None:
    c = chat.conversation
    answers = [m.details for m in c.messages if m.role == ASSISTANT]
    total = {k: sum(int(a.get(k, 0)) for a in answers) for k in ("n_thinking", "n_answer", "n_soft", "evaluated")}
    seconds = sum(float(a.get("seconds", 0)) for a in answers)
    rows = [
        f"{len(c.messages)} messages, {len(answers)} of them answers; {c.left_out} oldest turns left out",
        f"{total['n_thinking']} thinking + {total['n_answer']} answer tokens, {total['n_soft']} of them soft, in "
        f"{seconds:.1f} s",
        f"{total['evaluated']} positions evaluated for these answers, {c.evaluated} in this chat",
        f"{len(c.cache.items)} of {c.n_ctx} positions of the context in use",
        f"next seed {c.seed + c.answers}",
    ]
    if chat.autosave is not None:
        rows.append(f"kept in {chat.autosave.path}")
    chat.screen.print("\n".join(rows))


@command(
    "POLICY",
    "answer the last message with another policy too, side by side",
    "The same seed is used, and the conversation goes on with the answer it had.",
)
def compare(chat: ChatState, text: str) -> None:
    from softllama.terminal import tables

    c = chat.conversation
    if not text:
        raise UsageError("/compare needs a policy", "such as /compare greedy")
    last = c.last
    if last is None:
        raise UsageError("there is no answer to compare with", "write a message, or /regen")
    other = policy.parse(text)
    if not c.acts(other):
        why = prepare.no_block(c.model, other, c.settings.think)
        chat.screen.note(f"{why}: this is its answer policy; /think prompt gives it thinking, then /regen")
    count = TokenCount(chat.screen)
    try:
        t = c.compare(other, lambda _: count(other.name))
    finally:
        count.end()
    sides = [
        tables.Side(
            title=str(record.get("policy", "")),
            thinking=thinking,
            answer=answer,
            numbers=f"{record.get('seconds', 0):.2f} s, {answer_numbers(record)}",
        )
        for answer, thinking, record in (
            (last.content, last.thinking, last.details),
            (t.answer.strip(), t.thinking.strip(), details_of(t)),
        )
    ]
    chat.screen.show(tables.compared(sides, chat.screen.width, thinking=chat.view != "hide"))


@command("", "leave; Ctrl-D does too")
def exit_(chat: ChatState, text: str) -> None:
    chat.leaving = True
