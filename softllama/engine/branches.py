"""Many endings after one beginning: the prefix is computed once and copied, the endings go through in batches.

Knows token ids, mixtures, vectors and contexts. Does not know what the endings are for, nor how one goes on after them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from softllama.engine import nonfinite
from softllama.engine.engine import Engine, Item
from softllama.errors import NotFiniteError, PromptError, UsageError
from softllama.llama.context import Context
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

NO_MASK = "fetch a conversion of it that has the key tokenizer.ggml.mask_token_id"
BRANCHES = 8  # sequences at once, always: a multiple of the 4 rows that llama.cpp's kernels take together
ROWS = 56  # of a batch at most: from 64 on, llama.cpp's attention sums in blocks, by where a sequence lies in memory

Continue: TypeAlias = Callable[[Context, Sequence[Sequence[Item]], Sequence[Distribution]], list[tuple[int, ...]]]
"""What goes on after endings while a context holds them, sequence i ending i: (context, items of each whole sequence,
the distribution after each) -> the ids that follow each."""


@dataclass(frozen=True)
class Branch:
    """What came after one ending: the next distribution, and the ids that follow if it was continued."""

    next: Distribution
    continuation: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """How endings go on: the first `count` of them, with room for `steps` more positions each, by `run`."""

    steps: int = 0
    count: int = 0
    run: Continue | None = None


def run(
    model: Engine,
    prefix: Sequence[int],
    tails: Sequence[Sequence[Item]],
    *,
    n_ctx: int | None = None,
    names: Sequence[str] = (),
    then: Continuation | None = None,
) -> list[Branch]:
    """Feed each tail after the prefix, and look at what follows.

    Equal tails have equal outputs to the bit on the CPU, whatever else is asked: llama.cpp rounds by the shape of a batch
    (logits differ by up to 0.6 between shapes), so every batch here has `BRANCHES` sequences and at most `ROWS` rows, and
    what is left over is filled up. Tails that hold the same, a one-hot mixture being its token, are evaluated once.

    Args:
        tails: of one length, at least one item each.
        n_ctx: positions that one sequence may use; None for the model's own limit.
        names: of the endings, for error messages.
        then: how the first of them go on.

    Raises:
        PromptError: prefix, tail and continuation are longer than the context.
        NotFiniteError: a distribution is not finite; the message names the ending.
    """
    then = then or Continuation()
    firsts: dict[Hashable, Sequence[Item]] = {}  # content of a tail -> the first tail that has it
    keys = [tuple(map(content, t)) for t in tails]
    for key, tail in zip(keys, tails, strict=True):
        firsts.setdefault(key, tail)
    numbers = {key: i for i, key in enumerate(firsts)}
    which = [numbers[key] for key in keys]
    count = len(set(which[: then.count]))
    unique = Continuation(steps=then.steps, count=count, run=then.run)
    try:
        branches = _run(model, prefix, list(firsts.values()), n_ctx, unique)
    except NotFiniteError as e:
        at = which.index(e.index or 0)
        name = names[at] if names else f"ending {at}"
        raise nonfinite.located(model, e, f"after the prompt with {name}", [*prefix, *tails[at]]) from None
    return [branches[j] if i < then.count else Branch(branches[j].next) for i, j in enumerate(which)]


def content(item: Item) -> Hashable:
    """What an item contributes: two of the same content have the same row. An entry of weight 0 contributes nothing."""
    if isinstance(item, Vector):
        return item.values.tobytes(), item.added, None if item.mixture is None else content(item.mixture)
    if not isinstance(item, Mixture):
        return int(item)
    kept = item.weights != 0
    ids, weights = item.ids[kept], item.weights[kept]
    return int(ids[0]) if len(ids) == 1 and weights[0] == 1 else (ids.tobytes(), weights.tobytes())


def _run(
    model: Engine, prefix: Sequence[int], tails: Sequence[Sequence[Item]], n_ctx: int | None, then: Continuation
) -> list[Branch]:
    length = len(tails[0])
    total = len(prefix) + length + then.steps
    limit = n_ctx or model.n_ctx_limit
    if total > limit:
        more = f" and {then.steps} more" if then.steps else ""
        raise PromptError(
            f"the prompt has {len(prefix) + length:,} tokens{more}, and the context has room for {limit:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    if model.diffusion:
        return _run_masked(model, prefix, tails, then.steps)
    at_once = BRANCHES
    cells = len(prefix) + at_once * length + min(at_once, then.count) * then.steps
    context = model.new_context(cells, at_once)
    try:
        results: list[Branch] = []
        for start in range(0, len(tails), at_once):
            part = list(tails[start : start + at_once])
            n = len(part)
            part += part[-1:] * (at_once - n)
            _prepare(model, context, prefix, again=start > 0)
            for seq in range(1, len(part)):
                context.copy(0, seq)
            distributions = _distributions(model, _feed_tails(model, context, len(prefix), part)[:n], start)
            texts: list[tuple[int, ...]] = []
            if then.run is not None and then.steps and start < then.count:
                going_on = [[*prefix, *t] for t in part[: min(n, then.count - start)]]
                texts = then.run(context, going_on, distributions[: len(going_on)])
            texts += [()] * (n - len(texts))
            results += [Branch(d, ids) for d, ids in zip(distributions, texts, strict=True)]
        return results
    finally:
        context.close()


def _prepare(model: Engine, context: Context, prefix: Sequence[int], *, again: bool) -> None:
    """Make sequence 0 hold the prefix, and the others nothing."""
    if again:
        for seq in range(1, context.n_seq):
            context.cut(seq, 0)
        if context.cut(0, len(prefix)):
            return
    context.cut(0, 0)
    if prefix:
        model.feed(context, 0, prefix, 0, want=False)


def _run_masked(model: Engine, prefix: Sequence[int], tails: Sequence[Sequence[Item]], steps: int) -> list[Branch]:
    """What a diffusion model expects in a masked position behind each tail. It keeps nothing, so all is read each time."""
    if steps:
        raise UsageError(f"{model.name} is a diffusion model, which continues nothing", "leave out --continue")
    mask = model.tokenizer.mask
    if mask is None:
        raise PromptError(f"the vocabulary of {model.name}, a diffusion model, names no mask token", NO_MASK)
    rows = [[*prefix, *t, mask] for t in tails]
    n = len(rows[0])
    at = n - 2 if model.metadata.get("diffusion.shift_logits", True) in (True, "true") else n - 1
    at_once = 1 if n >= ROWS // 4 else 4  # of one shape, see `run`
    # logits come for every position
    context = model.new_context(at_once * n, at_once, causal=False, n_batch=at_once * n, n_outputs=at_once * n)
    try:
        results: list[Branch] = []
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            part += part[-1:] * (at_once - len(part))
            seqs, positions = np.repeat(np.arange(at_once), n), np.tile(np.arange(n), at_once)
            logits = context.decode(seqs, positions, positions == at, rows=model.rows([x for row in part for x in row]))
            results += [Branch(d) for d in _distributions(model, logits, start)]
        return results[: len(rows)]
    finally:
        context.close()


def _distributions(model: Engine, logits: NDArray[np.float32], start: int) -> list[Distribution]:
    """The distributions of endings `start` and those that follow; an error has the ending's number."""
    try:
        return model.distributions(logits)
    except NotFiniteError as e:
        e.index = start + (e.index or 0)
        raise


def _feed_tails(model: Engine, context: Context, at: int, tails: Sequence[Sequence[Item]]) -> NDArray[np.float32]:
    """Logits (len(tails), n_vocab) after each tail; sequence i holds tail i."""
    n, length = len(tails), len(tails[0])
    width = min(length, ROWS // n)  # positions of each tail that fit into a batch
    for first in range(0, length, width):
        m = min(width, length - first)
        rows = model.rows([x for t in tails for x in t[first : first + m]])
        seqs = np.repeat(np.arange(n), m)
        positions = np.tile(np.arange(at + first, at + first + m), n)
        want = np.tile(np.arange(first, first + m) == length - 1, n)
        logits = context.decode(seqs, positions, want, rows=rows)
    return logits
