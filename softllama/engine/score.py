"""How likely a model finds a given continuation: ln p of each of its tokens.

Knows token ids, mixtures and contexts. Knows no words, and nothing of what the continuation is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from softllama.engine.engine import Engine, Item
from softllama.errors import ContextError, NotFiniteError, PromptError
from softllama.llama.context import Context
from softllama.vectors.distribution import Distribution

OUTPUTS = 64  # rows whose logits are asked for at once: each is as long as the vocabulary


class Scored(NamedTuple):
    """A token of a continuation.

    id: the token. logp: ln p of it, at temperature 1 and before any filter. greedy: is it the most probable one?
    top: the likeliest (id, ln p) there, the most probable first.
    """

    id: int
    logp: float
    greedy: bool
    top: tuple[tuple[int, float], ...] = ()


def score(
    model: Engine,
    prompt: Sequence[Item],
    continuation: Sequence[int],
    *,
    n_top: int = 0,
    context: Context | None = None,
) -> list[Scored]:
    """ln p(token | prompt and all tokens before it) of each token of a continuation.

    Args:
        prompt: ids, mixtures and vectors, at least one.
        continuation: ids.
        n_top: how many of the likeliest tokens are returned beside each.
        context: one that `score_context` has made, whose sequence 0 is used; None for one that is made here.

    Raises:
        PromptError: the prompt is empty.
        ContextError: prompt and continuation are longer than the context.
        NotFiniteError: logits are not finite.
    """
    if not prompt:
        raise PromptError("an empty prompt gives the model nothing to go on", "write a prompt")
    if not continuation:
        return []
    items: list[Item] = [*prompt, *continuation[:-1]]
    room = model.n_ctx_limit if context is None else context.n_ctx
    if len(items) > room:
        raise ContextError(
            f"the prompt and its continuation have {len(items):,} tokens, and the context has room for {room:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    own = score_context(model, len(items)) if context is None else None
    try:
        after = distributions(model, own or context, items, len(prompt) - 1)  # type: ignore[arg-type]
        return [_scored(d, i, n_top) for d, i in zip(after, continuation, strict=True)]
    finally:
        if own is not None:
            own.close()


def score_context(model: Engine, n_ctx: int) -> Context:
    """A context for `score` with room for n_ctx positions."""
    return model.new_context(n_ctx, 1, n_batch=512, n_outputs=OUTPUTS)


def distributions(model: Engine, context: Context, items: Sequence[Item], first: int) -> Iterator[Distribution]:
    """The distributions after each item from `first` on. Sequence 0 of the context is emptied before.

    Raises:
        NotFiniteError: logits are not finite; the message has the position.
    """
    context.cut(0, 0)
    tokens = all(isinstance(i, int) for i in items)
    most = min(OUTPUTS, context.n_batch)
    start = 0
    while start < len(items):  # up to `first` as many at once as go, then as many as there are outputs
        end = min(first, start + context.n_batch) if start < first else min(len(items), start + most)
        part, n = items[start:end], end - start
        want = [start >= first] * n
        fed = {"tokens": part} if tokens else {"rows": model.rows(part)}
        logits = context.decode([0] * n, range(start, end), want, **fed)
        try:
            yield from model.distributions(logits)
        except NotFiniteError as e:
            raise NotFiniteError(f"after position {start + (e.index or 0)} of {len(items)}: {e.message}") from None
        start = end


def _scored(d: Distribution, token: int, n_top: int) -> Scored:
    top = tuple((t.id, float(np.log(max(t.p, 1e-300)))) for t in d.top(n_top)) if n_top else ()
    return Scored(token, d.logp(token), d.argmax == token, top)
