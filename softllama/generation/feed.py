"""What a generation feeds: its prompt, and each step as an item. Turns what went wrong into an error that names the step.

Knows contexts and what a Step holds. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softllama.engine import alignment, nonfinite
from softllama.engine.engine import Engine, Item
from softllama.errors import ContextError, NotFiniteError
from softllama.generation.state import Generation
from softllama.llama.context import Context
from softllama.trace.step import SOFT, Step
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

PIECE = 1024  # positions that are compared at once


class After(NamedTuple):
    """What the model gives after the last position that was fed. hidden: its last hidden state (n_embd,), if asked for."""

    distribution: Distribution
    hidden: NDArray[np.float32] | None = None


def item_of(g: Generation, step: Step, hidden: NDArray[np.float32] | None) -> Item:
    """What a step feeds. A hard step feeds its token as a one-hot mixture, so that llama.cpp's graph is used again.

    Args:
        hidden: the last hidden state before the step, (n_embd,), for steps that feed it.

    Raises:
        NotFiniteError: the hidden state has no direction.
    """
    if not (step.hidden or step.noise):
        return step.mixture
    table = g.model.table
    values = np.zeros(g.model.n_embd, dtype=np.float32)  # in the table's scale
    if fed_hidden := step.hidden and hidden is not None:
        if step.align == "ridge":
            # not `@`: the threads of BLAS would wait actively, and take the processor from llama.cpp
            hidden = np.einsum("i,ij->j", hidden, alignment.matrix(g.model))
        length = np.linalg.norm(hidden)
        if not 0 < length < np.inf:
            message = "the last hidden state is no direction: its norm is 0 or no number"
            raise not_finite(g, NotFiniteError(message))
        values[:] = np.float32(table.mean_norm) * hidden / length
    if step.noise:
        values += np.float32(step.noise * table.rms) * embedding_noise(g, step)
    return Vector(values, scale="table", mixture=step.mixture, added=not fed_hidden)


def embedding_noise(g: Generation, step: Step) -> NDArray[np.float32]:
    """The noise of a step, in units of sigma: (n_embd,) float32. From the seed and the index, so replays find it."""
    rng = np.random.default_rng((g.seed, 0x50F7, step.index))
    noise: NDArray[np.float32] = rng.standard_normal(g.model.n_embd).astype(np.float32)
    return noise


def not_finite(g: Generation, error: NotFiniteError) -> NotFiniteError:
    """The error for a generation whose last step led to logits that are not finite."""
    left = [None] * (g.n_steps - len(g.steps))  # steps that were not kept
    fed = [None if s.noise or s.hidden else _fed(s) for s in g.steps]
    what = f"step {g.steps[-1].index} of the generation" if g.steps else "the prompt"
    name = "" if g.label is None else f" of {g.label}" if isinstance(g.label, str) else f" of sample {g.label}"
    where = f"after {what}{name} (seed {g.seed}, position {g.position - 1})"
    return nonfinite.located(g.model, error, where, [*g.prompt, *left, *fed], exact=not any(s.rest for s in g.steps))


def _fed(s: Step) -> Mixture:
    """What a step fed, as far as its record holds it."""
    return Mixture(s.mixture.ids, s.mixture.weights / s.mixture.weights.sum(dtype=float)) if s.rest else s.mixture


def fed_item(step: Step) -> int | Mixture | None:
    """What a step put into the memory, to be compared with other prompts; None for noise and hidden states, which nothing
    equals. A soft step is its mixture even where that is one token."""
    if step.noise or step.hidden:
        return None
    m = step.mixture
    if step.mode != SOFT and len(m) == 1 and m.ids[0] == step.token and m.weights[0] == 1:
        return step.token
    return m


def shared(a: Sequence[Item | None], b: Sequence[Item | None]) -> int:
    """Length of the beginning that two sequences share. None equals nothing."""
    n, most = 0, min(len(a), len(b))
    while n < most:  # pieces that are equal are passed at once
        x, y = tuple(a[n : n + PIECE]), tuple(b[n : n + PIECE])
        if x == y and None not in x:
            n += len(x)
            continue
        for p, q in zip(x, y, strict=False):
            if p is None or q is None or p != q:
                return n
            n += 1
    return n


def after_prompt(g: Generation, context: Context, logits: NDArray[np.float32], *, hidden: bool) -> After:
    """What the model gives after a prompt that the context has just evaluated. logits: (1, n_vocab)."""
    try:
        (distribution,) = g.model.distributions(logits)
    except NotFiniteError as e:
        raise not_finite(g, e) from None
    return After(distribution, context.hidden(-1) if hidden else None)


def positions(model: Engine, generations: Collection[Generation], n_ctx: int | None) -> int:
    """How many positions each of them may use. Raises ContextError where a prompt is longer than that."""
    longest = max(len(g.prompt) for g in generations)
    limit = n_ctx or model.n_ctx_limit
    wanted = max(limit if g.options.max_tokens is None else len(g.prompt) + g.options.max_tokens for g in generations)
    cells = min(wanted, limit, max(model.n_ctx, longest + 1) if n_ctx is None else n_ctx)
    if longest > cells:
        raise ContextError(
            f"the prompt has {longest:,} tokens, and the context has room for {cells:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    return cells


class PromptFeeder:
    """Puts prompts into sequences of a context.

    A prompt that the next generation has too stays in the sequence `home`, to be copied.
    """

    def __init__(self, model: Engine, context: Context, home: int, *, hidden: bool) -> None:
        self._model, self._context, self._home, self._hidden = model, context, home, hidden
        self._kept: tuple[Item, ...] = ()
        self._after: After | None = None

    def enter(self, g: Generation, seq: int, *, again: bool) -> After:
        """Make `seq` hold g's prompt. again: does the next generation have the same prompt?"""
        if self._after is None or self._kept != g.prompt:
            if self._after is not None:
                self._context.cut(self._home, 0)
            logits = self._model.feed(self._context, self._home if again else seq, g.prompt, 0)
            after = after_prompt(g, self._context, logits, hidden=self._hidden)
            g.evaluated += len(g.prompt)
            self._kept, self._after = g.prompt, after if again else None
            if not again:
                return after
        assert self._after is not None
        self._context.copy(self._home, seq)
        return self._after
