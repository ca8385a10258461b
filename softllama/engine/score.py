"""How likely a model finds continuations: ln p of each of their tokens, for one pair or many, and for texts longer than a context.

Knows ids and mixtures. Knows no words, and not what the continuations are for. score_packs.py evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from softllama.engine.branches import content
from softllama.engine.engine import Engine, Item
from softllama.engine.score_packs import Request, Scored, Scorer, packs
from softllama.errors import ContextError, MixtureError, PromptError
from softllama.llama.context import N_BATCH, Context
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

__all__ = ["Pair", "Scored", "pairs_of_windows", "score", "score_context", "score_pairs", "windows"]

CELLS = 512  # positions of a pack, if no request alone is longer: attention looks at all of them for each position
OUTPUT_BYTES = 64 << 20  # of the logits of one batch

Pair: TypeAlias = "tuple[Sequence[Item], Sequence[int | Mixture]]"


def score(
    model: Engine,
    prompt: Sequence[Item],
    continuation: Sequence[int | Mixture],
    *,
    n_top: int = 0,
    context: Context | None = None,
) -> list[Scored]:
    """ln p(item | prompt and all items before it) of each item of a continuation.

    Args:
        prompt: ids, mixtures and vectors, at least one.
        continuation: ids and mixtures.
        n_top: how many of the likeliest tokens are returned beside each.
        context: one that `score_context` has made, whose sequence 0 is used; None for one that is made here.

    Raises:
        PromptError: the prompt is empty.
        ContextError: prompt and continuation are longer than the context.
        NotFiniteError: logits are not finite.
    """
    return score_pairs(model, [(prompt, continuation)], n_top=n_top, context=context)[0]


def score_context(model: Engine, n_ctx: int, n_seq: int = 1, *, exact: bool = True) -> Context:
    """A context for `score` with room for n_ctx positions of n_seq sequences together. exact: see `score_pairs`."""
    n_outputs = max(16, min(N_BATCH, OUTPUT_BYTES // (4 * model.n_vocab)))
    return model.new_context(n_ctx, n_seq, n_outputs=n_outputs, branches=True, precise=exact)


def score_pairs(
    model: Engine,
    pairs: Sequence[Pair],
    *,
    n_top: int = 0,
    context: Context | None = None,
    exact: bool = True,
    tick: Callable[[int], None] | None = None,
) -> list[list[Scored]]:
    """`score` of many pairs at once. What several of them begin with is evaluated once.

    Args:
        pairs: (prompt, continuation) each.
        context: one that `score_context` has made; None for one that is made here.
        exact: keys and values are 32-bit numbers, so that a result depends on nothing beside the pair. False: 16-bit ones and
            flash attention, as generations have them: some percent faster, and up to 3e-3 nats away.
        tick: is called with the number of pairs that are done, each time some are.

    Returns:
        The items of each pair's continuation, in the order of the pairs.

    Raises:
        PromptError, ContextError, NotFiniteError: as `score`; the message says which pair.
    """
    codes: dict[Hashable, int] = {}
    limit = model.n_ctx_limit if context is None else context.n_ctx
    requests = [_request(i, p, c, codes, limit, len(pairs) > 1) for i, (p, c) in enumerate(pairs) if len(c)]
    requests.sort(key=lambda r: r.codes.tolist())
    results: list[list[Scored]] = [[] for _ in pairs]
    if not requests:
        return results
    parts = [*packs(requests, max(CELLS, max(len(r.items) for r in requests)), context)]
    own = None
    if context is None:
        own = score_context(model, max(p.n_cells for p in parts), max(p.hi - p.lo for p in parts), exact=exact)
    try:
        scorer = Scorer(model, own or context, requests, n_top)  # type: ignore[arg-type]
        n_done = len(pairs) - len(requests)
        for pack in parts:
            scorer.run(pack)
            n_done += pack.hi - pack.lo
            if tick is not None:
                tick(n_done)
    finally:
        if own is not None:
            own.close()
    for r in requests:
        results[r.index] = [x for x in r.scored if x is not None]
    return results


def windows(n: int, first: int, n_ctx: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """How items 0 to n, of which those from `first` on are scored, are dealt out to contexts of n_ctx positions.

    Args:
        stride: how many items each window after the first scores. They see n_ctx - stride items or more before them.

    Yields:
        (start, a, b): the items a to b are scored after those from start on; b - 1 - start <= n_ctx.
    """
    a = first
    while a < n:
        b = min(n, max(a + stride, n_ctx + 1) if a == first else a + stride)
        yield max(0, b - 1 - n_ctx), a, b
        a = b


def pairs_of_windows(items: Sequence[Item], first: int, n_ctx: int, stride: int, *, keep: int = 0) -> list[Pair]:
    """The windows of a text as pairs for `score_pairs`. keep: how many items, such as a BOS, every window begins with."""
    pairs: list[Pair] = []
    for start, a, b in windows(len(items), first, n_ctx, stride):
        prompt = [*items[:keep], *items[start + keep : a]] if start else items[:a]
        pairs.append((prompt, items[a:b]))  # type: ignore[arg-type]
    return pairs


def _request(
    index: int,
    prompt: Sequence[Item],
    continuation: Sequence[int | Mixture],
    codes: dict[Hashable, int],
    limit: int,
    several: bool,
) -> Request:
    name = f"pair {index + 1}: " * several
    if not len(prompt):
        raise PromptError(f"{name}an empty prompt gives the model nothing to go on", "write a prompt")
    if any(isinstance(x, Vector) for x in continuation):
        raise MixtureError(f"{name}a continuation holds ids and mixtures, no vectors")
    items = [*prompt, *continuation[:-1]]
    if len(items) > limit:
        raise ContextError(
            f"{name}the prompt and its continuation have {len(items):,} tokens, and the context has room for {limit:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    numbers = [
        key if type(key := x if type(x) is int else content(x)) is int else codes.setdefault(key, -1 - len(codes))
        for x in items
    ]
    scored: list[Scored | None] = [None] * len(continuation)
    return Request(index, items, np.array(numbers, dtype=np.int64), len(prompt) - 1, continuation, scored)
