"""Greedy continuations of endings that a context holds: what `softllama.engine.branches` goes on with.

Knows generations and contexts. Does not know what the endings are for.
"""

from __future__ import annotations

from collections.abc import Sequence

from softllama import policy
from softllama.engine.branches import Continuation
from softllama.engine.engine import Engine, Item
from softllama.errors import ContextError
from softllama.generation.feed import After
from softllama.generation.loop import Loop
from softllama.generation.options import GenerationOptions
from softllama.generation.state import Generation
from softllama.llama.context import Context
from softllama.vectors.distribution import Distribution
from softllama.vectors.vector import Vector


def greedy(model: Engine, steps: int, count: int) -> Continuation:
    """A continuation of the first `count` endings, up to `steps` tokens each, without the token that ends a generation."""
    options = GenerationOptions(max_tokens=steps, seed=0)

    def run(
        context: Context, sequences: Sequence[Sequence[Item]], distributions: Sequence[Distribution]
    ) -> list[tuple[int, ...]]:
        loop = Loop(model, context, limit=context.n_ctx)
        generations = []
        for seq, (items, d) in enumerate(zip(sequences, distributions, strict=True)):
            prompt = tuple(0 if isinstance(i, Vector) else i for i in items)  # for its length
            generations.append(Generation(model, policy.parse("greedy"), prompt, options, 0, label=f"ending {seq}"))
            loop.join(generations[-1], seq, After(d))
        while len(loop):
            for _ in loop.advance():
                pass
            if not len(loop):
                break
            try:
                loop.feed()
            except ContextError:  # the room was computed before, so this is llama.cpp's padding of its cells
                break
        return [tuple(s.token for s in g.steps) for g in generations]

    return Continuation(steps=steps, count=count, run=run)
