"""The loop: step -> stream -> collect. One generator makes steps; everything else consumes them.

`Generation` is one sequence's state machine: a distribution comes in, what to feed next and a Step come out. It knows no
context, so that many of them can share one batch. `run` drives any number of them through one context. Thinking blocks
open, close and run out here; which vector a step feeds is the policy's business.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Generator, Sequence
from itertools import pairwise

import numpy as np

from softllama.engine import nonfinite
from softllama.engine.engine import Engine
from softllama.errors import ContextError, NotFiniteError
from softllama.generation.cost import Cost
from softllama.generation.state import Generation, Vector
from softllama.llama.context import Context
from softllama.trace.step import Step
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

# ---- driving contexts --------------------------------------------------------------------------------------------------


def run(
    model: Engine,
    generations: Sequence[Generation],
    *,
    at_once: int = 1,
    n_ctx: int | None = None,
    cost: Cost | None = None,
) -> Generator[tuple[Generation, Step], None, None]:
    """Drive generations through one context, `at_once` side by side; a finished one makes room for the next.

    Yields each step as it is decided, in the order of the batch. n_ctx: positions each sequence may use; where it runs
    out, the generation ends with the reason "context full" and keeps its text. With at_once = 1 a generation depends on
    nothing but itself; side by side, logits may differ in their last bits, as those of any batch do.

    Generations in a row that have the same prompt share it: it is evaluated for the first, whose `evaluated` counts it,
    and its memory is copied to the others. cost: what all of it took is added here at the end.
    """
    began = time.perf_counter()
    waiting = deque(g for g in generations if not g.done)
    if not waiting:
        return
    at_once = max(1, min(at_once, len(waiting)))
    cells = positions(model, waiting, n_ctx)
    hidden = any(g.policy.needs_hidden for g in waiting)
    alike = [len(a.prompt) if a.prompt == b.prompt else 0 for a, b in pairwise(waiting)]
    longest = max(alike, default=0)  # of the prompts that are copied; cells that all sequences share are needed once
    room = at_once * (cells - (longest if all(alike) else 0)) + longest
    context = model.context(room, at_once + (longest > 0), embeddings=hidden)
    prompts = _Prompts(model, context, at_once, hidden)
    active: dict[int, Generation] = {}
    pending: dict[int, Distribution] = {}
    fed: dict[int, Step] = {}
    vectors: dict[int, Vector | None] = {}
    try:
        while waiting or active:
            while waiting and len(active) < at_once:
                seq = next(i for i in range(at_once) if i not in active)
                g = waiting.popleft()
                g.started = time.perf_counter()
                pending[seq], vectors[seq] = prompts.enter(g, seq, bool(waiting) and waiting[0].prompt == g.prompt)
                g.prompt_seconds = time.perf_counter() - g.started
                active[seq] = g
            fed.clear()
            for seq, g in list(active.items()):
                step = g.advance(pending.pop(seq))
                if step is not None:
                    fed[seq] = step
                    if not g.done and g.position >= cells:
                        g.finish("context full")
                    yield g, step
                if g.done:
                    context.cut(seq, 0)
                    del active[seq]
                    fed.pop(seq, None)
            if fed:
                seqs = list(fed)
                fill(model, context, [(active[s], fed[s], vectors.get(s)) for s in seqs])
                logits = context.decode(seqs, [fed[s].position for s in seqs], [True] * len(seqs))
                try:
                    nexts = model.after_each(logits)
                except NotFiniteError as e:
                    raise no_numbers(model, active[seqs[e.index or 0]], e) from None
                for i, (s, after) in enumerate(zip(seqs, nexts, strict=True)):
                    active[s].evaluated += 1
                    pending[s] = after
                    if hidden:
                        vectors[s] = context.hidden(i)
    finally:
        for g in active.values():
            g.finish("interrupted")
        if cost is not None:
            cost.tokens += sum(g.n_steps for g in generations)
            cost.evaluated += context.evaluated
            cost.calls += context.calls
            cost.seconds += time.perf_counter() - began
        context.close()


def positions(model: Engine, generations: Collection[Generation], n_ctx: int | None) -> int:
    """How many positions each of them may use. Raises ContextError where a prompt is longer than that."""
    longest = max(len(g.prompt) for g in generations)
    need = max(len(g.prompt) + g.limits.max_tokens for g in generations)
    cells = min(need, n_ctx or model.n_ctx_limit, max(model.n_ctx, longest + 1) if n_ctx is None else n_ctx)
    if longest > cells:
        raise ContextError(
            f"the prompt has {longest:,} tokens, and the context has room for {cells:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    return cells


class _Prompts:
    """Puts prompts into sequences. One that the next generation has too stays in the sequence `home`, to be copied."""

    def __init__(self, model: Engine, context: Context, home: int, hidden: bool) -> None:
        self._model, self._context, self._home, self._hidden = model, context, home, hidden
        self._kept: tuple[int | Mixture, ...] = ()
        self._after: tuple[Distribution, Vector | None] | None = None

    def enter(self, g: Generation, seq: int, again: bool) -> tuple[Distribution, Vector | None]:
        """The distribution, and the hidden state if asked for, after g's prompt in `seq`. again: does the next have it?"""
        if self._after is None or self._kept != g.prompt:
            if self._after is not None:
                self._context.cut(self._home, 0)
            logits = prompt_logits(self._model, self._context, self._home if again else seq, g.prompt)
            try:
                d = self._model.distribution(logits)
            except NotFiniteError as e:
                raise no_numbers(self._model, g, e) from None
            after = d, self._context.hidden(-1) if self._hidden else None
            g.evaluated += len(g.prompt)
            self._kept, self._after = g.prompt, after if again else None
            if not again:
                return after
        assert self._after is not None
        self._context.copy(self._home, seq)
        return self._after


def no_numbers(model: Engine, g: Generation, e: NotFiniteError) -> NotFiniteError:
    """The error for a generation whose last step led to logits that are no numbers."""
    left = [None] * (g.n_steps - len(g.steps))  # steps that were not kept
    fed = [None if s.noise or s.hidden else s.mixture for s in g.steps]
    what = f"step {g.steps[-1].index} of the generation" if g.steps else "the prompt"
    name = "" if g.label is None else f" of {g.label}" if isinstance(g.label, str) else f" of sample {g.label}"
    where = f"after {what}{name} (seed {g.seed}, position {g.position - 1})"
    return nonfinite.explained(model, e, where, [*g.prompt, *left, *fed])


def prompt_logits(model: Engine, context: Context, seq: int, prompt: Sequence[int | Mixture], at: int = 0) -> Vector:
    """Logits (n_vocab,) after the prompt, whose first position is `at`. Ids go as rows beside mixtures, as in a session."""
    n = context.n_batch
    soft = any(isinstance(i, Mixture) for i in prompt)
    for start in range(0, len(prompt), n):
        part = prompt[start : start + n]
        want = np.zeros(len(part), dtype=np.bool_)
        want[-1] = start + n >= len(prompt)
        ids = None if soft else [i for i in part if not isinstance(i, Mixture)]
        if soft:
            model.fill_rows(context, [i if isinstance(i, Mixture) else Mixture.one_hot(i) for i in part])
        logits = context.decode([seq] * len(part), range(at + start, at + start + len(part)), want, ids)
    row: Vector = logits[0]
    return row


def fill(
    model: Engine,
    context: Context,
    fed: Sequence[tuple[Generation, Step, Vector | None]],
) -> None:
    """Write what the steps feed into the batch: hard steps as one-hot rows, so that the graph is reused."""
    model.fill_rows(context, [s.mixture for _, s, _ in fed])
    scale = np.float32(model.calibration.multiplier)
    for row, (g, s, h) in enumerate(fed):
        if not (s.hidden or s.noise):
            continue
        target = context.rows[row, : model.n_embd]
        if s.hidden and h is not None:
            if not 0 < np.linalg.norm(h) < np.inf:
                raise no_numbers(
                    model, g, NotFiniteError("the last hidden state is no direction: its norm is 0 or no number")
                )
            target[:] = scale * np.float32(model.table.mean_norm) * h / np.linalg.norm(h)
        if s.noise:
            target += scale * np.float32(s.noise * model.table.rms) * g.embedding_noise(s)
