"""What one sequence holds, from prompt to prompt, so that each prompt is evaluated only from where it differs.

A position is used again only if what was fed there equals what is wanted there: an id the same id, a mixture or vector an
equal one. What a soft step read out plays no part, so nothing is ever matched by readouts. Memories that cannot go back
(recurrent and hybrid models) are restored from a state that was kept where the prompts of two turns part.

Knows contexts and generations. Knows no words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine
from softllama.errors import NotFiniteError
from softllama.generation.feed import After, after_prompt, fed_item, shared
from softllama.generation.loop import Loop
from softllama.generation.state import Generation
from softllama.llama.context import Context
from softllama.trace.step import Step
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

Item: TypeAlias = "int | Mixture | Vector"
STATES = 4  # kept states: each may be as large as the memory itself


class PrefixCache:
    """One sequence with room for n_ctx positions; the context is made when it is first needed.

    Attributes:
        items: what was fed, position by position; None where noise or a hidden state went in, which nothing equals.
        distributions: those that the last generation met: before its first "thinking" token, before the first "answer"
            token that is no space or newline, and at its "end".
    """

    def __init__(self, model: Engine, n_ctx: int) -> None:
        self._model = model
        self.n_ctx = n_ctx
        self.items: list[Item | None] = []
        self.distributions: dict[str, Distribution] = {}
        self._context: Context | None = None
        self._gives_hidden = False
        self._states: list[tuple[tuple[Item | None, ...], bytes]] = []
        self._evaluated = 0  # by contexts that are closed

    @property
    def evaluated(self) -> int:
        """Positions that the model evaluated so far."""
        return self._evaluated + (self._context.evaluated if self._context else 0)

    def generate(self, g: Generation, stable: int = 0) -> Iterator[tuple[Generation, Step]]:
        """Drive a generation after its prompt. What was fed stays in the cache.

        Args:
            stable: the length of the prompt's beginning that the next turn's prompt will share.

        Yields:
            Each step before it is fed.
        """
        g.started = time.perf_counter()
        self.distributions = {}
        if g.done:
            return
        hidden = g.policy.needs_hidden
        context = self._open(hidden)
        loop = Loop(self._model, context, limit=self.n_ctx, hidden=hidden)
        try:
            loop.join(g, 0, self._after_prompt(g, context, stable, hidden))
            while len(loop):
                self.distributions["end"] = loop.distribution(0)
                for _, step in loop.advance():
                    if not step.forced and (step.thinking or self._model.spell(step.token).strip()):
                        part = "thinking" if step.thinking else "answer"
                        self.distributions.setdefault(part, self.distributions["end"])
                    yield g, step
                if len(loop):
                    loop.feed()
                    self.items.append(fed_item(g.steps[-1]))
        except NotFiniteError:
            self.items, self._states = [], []  # states that were computed on the way are not finite, either
            raise

    def _after_prompt(self, g: Generation, context: Context, stable: int, hidden: bool) -> After:
        before = context.evaluated
        after = after_prompt(g, context, self._feed(context, g.prompt, stable), hidden=hidden)
        g.evaluated += context.evaluated - before
        g.prompt_seconds = time.perf_counter() - g.started
        return after

    def clear(self) -> None:
        """Forget everything, and free the memory."""
        if self._context is not None:
            self._evaluated += self._context.evaluated
            self._context.close()
        self._context = None
        self.items, self._states = [], []

    def _open(self, hidden: bool) -> Context:
        if self._context is not None and hidden and not self._gives_hidden:
            self.clear()  # whether a context gives hidden states is fixed when it is made
        if self._context is None:
            self._context = self._model.new_context(self.n_ctx, 1, embeddings=hidden)
            self._gives_hidden = hidden
        return self._context

    def _feed(self, context: Context, items: Sequence[Item], stable: int) -> NDArray[np.float32]:
        """Logits (1, n_vocab) after `items`, of which only what is not there already is evaluated (at least the last)."""
        n = self._rewind(context, items)
        if self._model.recurrent and n <= stable < len(items):
            if n < stable:
                self._append(context, items[n:stable])
            self._keep(context)
            n = stable
        return self._append(context, items[n:])

    def _append(self, context: Context, part: Sequence[Item]) -> NDArray[np.float32]:
        logits = self._model.feed(context, 0, part, len(self.items))
        self.items.extend(part)
        return logits

    def _rewind(self, context: Context, items: Sequence[Item]) -> int:
        """Go back to the longest beginning of `items` that can be had, and return its length."""
        n = min(shared(self.items, items), len(items) - 1)
        if not self._model.recurrent and context.cut(0, n):  # also what an interrupted batch left
            del self.items[n:]
            return n
        if n == len(self.items) == context.length(0):
            return n
        fits = [(h, s) for h, s in self._states if len(h) < len(items) and h == tuple(items[: len(h)])]
        context.cut(0, 0)
        self.items = []
        if fits:
            beginning, state = max(fits, key=lambda x: len(x[0]))
            context.restore(0, state)
            self.items = list(beginning)
        return len(self.items)

    def _keep(self, context: Context) -> None:
        items = tuple(self.items)
        if all(h != items for h, _ in self._states):
            self._states = [*self._states, (items, context.state(0))][-STATES:]
