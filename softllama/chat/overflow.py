"""What is left out of a conversation's prompt when it grows too long for the context. Knows messages, no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softllama.chat.messages import Message, Rendered
from softllama.errors import ContextError
from softllama.prompts.build import USER

OVERFLOW = (
    "When a prompt no longer leaves a quarter of the context for the answer, the oldest turns are left out until half of "
    "it is free; the system message stays."
)


def fit(
    render: Callable[[list[Message]], Rendered],
    messages: Sequence[Message],
    left_out: int,
    n_ctx: int,
    max_tokens: int | None,
    system: bool,
) -> tuple[Rendered, int]:
    """The prompt for these messages, and how many of the oldest turns are left out of it: see OVERFLOW.

    Args:
        render: makes the prompt of the messages that are kept.
        left_out: turns that are left out already.
        max_tokens: of the answer; None for what there is room for.
        system: whether there is a system message, for the error message.

    Raises:
        ContextError: not even the last turn fits.
    """
    all_turns = turns(messages)
    out = min(left_out, len(all_turns) - 1)
    room = n_ctx - min(max_tokens or n_ctx, n_ctx // 4)
    while True:
        rendered = render([m for t in all_turns[out:] for m in t])
        n = len(rendered.items)
        if n <= room:
            return rendered, out
        if out == len(all_turns) - 1:
            break
        out, room = out + 1, min(room, n_ctx // 2)
    if n >= n_ctx:
        raise ContextError(
            f"the message has {n:,} tokens with its template{' and system message' if system else ''}, and the "
            f"context has room for {n_ctx:,}",
            "shorten it, or start with more room: --n-ctx N",
        )
    return rendered, out


def turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Messages in turns, each of which starts with the user's."""
    result: list[list[Message]] = []
    for m in messages:
        if m.role == USER or not result:
            result.append([])
        result[-1].append(m)
    return result
