"""Many endings after one beginning: the prefix is computed once and copied, the endings go through in batches.

Knows token ids, mixtures and contexts. Does not know what the endings are for: probes, sweeps and studies use it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from softllama.engine import nonfinite
from softllama.engine.engine import Engine
from softllama.engine.lens import fill
from softllama.errors import ContextError, NotFiniteError, PromptError, UsageError
from softllama.llama.context import N_BATCH, Context
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

Item: TypeAlias = "int | Mixture | NDArray[np.float32]"
NO_MASK = "fetch a conversion of it that has the key tokenizer.ggml.mask_token_id"
BRANCHES = 64  # sequences at once
BRANCHES_RECURRENT = 16


@dataclass(frozen=True)
class Branch:
    """What came after one ending: the next distribution, and the ids that follow greedily if they were asked for."""

    next: Distribution
    continuation: tuple[int, ...] = ()


def run(
    model: Engine,
    prefix: Sequence[int],
    tails: Sequence[Sequence[Item]],
    *,
    steps: int = 0,
    continued: int | None = None,
    n_ctx: int | None = None,
    names: Sequence[str] = (),
) -> list[Branch]:
    """Feed each tail after the prefix. The first `continued` (None: all) go on greedily for up to `steps` tokens.

    All tails have the same length and hold at least one item. Tails that hold the same, a one-hot mixture being its
    token, are evaluated once: where a row lies in a batch and in the memory changes its rounding (by about 1e-6, and
    up to 0.4 where batches are of different sizes), and equal inputs must have equal outputs to the bit. For the same reason
    all batches have the same size. A vector (n_embd,) is fed as it is, in
    the table's scale: controls need inputs that are no mixture. n_ctx: positions that one sequence may use; None for the
    model's own limit. names: of the endings, for errors.

    Raises PromptError where prefix, tail and steps are longer than the context.
    """
    n_continued = len(tails) if continued is None else continued
    firsts: dict[Hashable, Sequence[Item]] = {}  # content of a tail -> the first tail that has it
    keys = [tuple(map(_content, t)) for t in tails]
    for key, tail in zip(keys, tails, strict=True):
        firsts.setdefault(key, tail)
    place = {key: i for i, key in enumerate(firsts)}
    which = [place[key] for key in keys]
    try:
        branches = _run(model, prefix, list(firsts.values()), steps, len(set(which[:n_continued])), n_ctx)
    except NotFiniteError as e:
        at = which.index(e.index or 0)
        name = names[at] if names else f"ending {at}"
        raise nonfinite.explained(model, e, f"after the prompt with {name}", [*prefix, *tails[at]]) from None
    return [branches[j] if i < n_continued else Branch(branches[j].next) for i, j in enumerate(which)]


def _content(item: Item) -> Hashable:
    """What an item contributes: two of the same content have the same row. An entry of weight 0 contributes nothing."""
    if isinstance(item, np.ndarray):
        return item.tobytes()
    if not isinstance(item, Mixture):
        return int(item)
    kept = item.weights != 0
    ids, weights = item.ids[kept], item.weights[kept]
    return int(ids[0]) if len(ids) == 1 and weights[0] == 1 else (ids.tobytes(), weights.tobytes())


def _run(
    model: Engine,
    prefix: Sequence[int],
    tails: Sequence[Sequence[Item]],
    steps: int,
    continued: int,
    n_ctx: int | None,
) -> list[Branch]:
    length = len(tails[0])
    total = len(prefix) + length + steps
    limit = n_ctx or model.n_ctx_limit
    if total > limit:
        more = f" and {steps} more" if steps else ""
        raise PromptError(
            f"the prompt has {len(prefix) + length:,} tokens{more}, and the context has room for {limit:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    if model.diffusion:
        return _run_masked(model, prefix, tails, steps)
    at_once = max(1, min(BRANCHES_RECURRENT if model.recurrent else BRANCHES, N_BATCH // length, len(tails)))
    n_batches = -(-len(tails) // at_once)
    at_once = -(-len(tails) // n_batches)  # batches of one size with the least to fill up
    cells = len(prefix) + at_once * length + min(at_once, continued) * steps
    context = model.context(cells, at_once)
    try:
        results: list[Branch] = []
        for start in range(0, len(tails), at_once):
            part = list(tails[start : start + at_once])
            n = len(part)
            part += part[-1:] * (at_once - n)
            if start:
                for seq in range(1, at_once):
                    context.cut(seq, 0)
            if not start or not context.cut(0, len(prefix)):
                context.cut(0, 0)
                _feed_prefix(context, prefix)
            for seq in range(1, len(part)):
                context.copy(0, seq)
            logits = _feed_tails(model, context, len(prefix), part)[:n]
            n = max(0, min(n, continued - start))
            texts = _continue(model, context, logits, n, len(prefix) + length, steps)
            results += [Branch(d, ids) for d, ids in zip(_each(model, logits, start), texts, strict=True)]
        return results
    finally:
        context.close()


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
    at_once = max(1, min(BRANCHES, N_BATCH // n, len(rows)))
    # logits come for every position
    context = model.context_without_order(at_once * n, at_once, n_batch=at_once * n, n_outputs=at_once * n)
    try:
        results: list[Branch] = []
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            part += part[-1:] * (at_once - len(part))
            fill(model, context, [x for row in part for x in row])
            seqs, positions = np.repeat(np.arange(at_once), n), np.tile(np.arange(n), at_once)
            logits = context.decode(seqs, positions, positions == at)
            results += [Branch(d) for d in _each(model, logits, start)]
        return results[: len(rows)]
    finally:
        context.close()


def _each(model: Engine, logits: NDArray[np.float32], start: int) -> list[Distribution]:
    """The distributions of endings `start` and those that follow; an error has the ending's number."""
    try:
        return model.after_each(logits)
    except NotFiniteError as e:
        e.index = start + (e.index or 0)
        raise


def _feed_prefix(context: Context, prefix: Sequence[int]) -> None:
    for start in range(0, len(prefix), context.n_batch):
        part = list(prefix[start : start + context.n_batch])
        context.decode([0] * len(part), range(start, start + len(part)), [False] * len(part), part)


def _feed_tails(model: Engine, context: Context, at: int, tails: Sequence[Sequence[Item]]) -> NDArray[np.float32]:
    """Logits (len(tails), n_vocab) after each tail; sequence i holds tail i."""
    n, length = len(tails), len(tails[0])
    width = min(length, context.n_batch // n)  # positions of each tail that fit into a batch
    for first in range(0, length, width):
        m = min(width, length - first)
        fill(model, context, [x for t in tails for x in t[first : first + m]])
        seqs = np.repeat(np.arange(n), m)
        positions = np.tile(np.arange(at + first, at + first + m), n)
        want = np.tile(np.arange(first, first + m) == length - 1, n)
        logits = context.decode(seqs, positions, want)
    return logits


def _continue(
    model: Engine, context: Context, logits: NDArray[np.float32], n: int, at: int, steps: int
) -> list[tuple[int, ...]]:
    """Greedy ids after the first n sequences, up to `steps` each, ending with an end-of-generation token."""
    texts: list[list[int]] = [[] for _ in logits]
    nexts = logits.argmax(axis=1).tolist() if n * steps else []
    alive = list(range(n if steps else 0))
    for step in range(steps):
        for seq in alive:
            texts[seq].append(nexts[seq])
        alive = [seq for seq in alive if not model.is_eog(nexts[seq])]
        if not alive or step == steps - 1:
            break
        try:
            rows = context.decode(alive, [at + step] * len(alive), [True] * len(alive), [nexts[s] for s in alive])
        except ContextError:  # the room was computed above, so this is llama.cpp's padding of its cells
            break
        for seq, row in zip(alive, rows, strict=True):
            nexts[seq] = int(row.argmax())
    return [tuple(t) for t in texts]
