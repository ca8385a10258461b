"""The generation loop: sequences that share one context join it, take steps, and leave it while others go on.

Everything that decodes consumes it: runs, chats, searches, continuations, evaluations, studies, benchmarks. Knows contexts and
generations. What a step decides is the generation's business; what a prompt holds is the caller's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine, Item
from softllama.engine.layers import LayerWatch
from softllama.errors import NotFiniteError
from softllama.generation.cost import Cost
from softllama.generation.feed import After, PromptFeeder, item_of, not_finite, positions
from softllama.generation.layers import LayerRecorder, recorder
from softllama.generation.state import Generation
from softllama.llama.context import Context
from softllama.trace.step import Step, StopReason
from softllama.vectors.distribution import Distribution


@dataclass(slots=True)
class _Sequence:
    """A generation in the loop: what the model gave after all that was fed, and the step that is decided, but not yet fed.

    distribution: None while that step is fed, as it may lie in the context's memory.
    """

    generation: Generation
    distribution: Distribution | None
    hidden: NDArray[np.float32] | None
    step: Step | None = None


class Loop:
    """Generations that share one context, a sequence each.

    `advance` decides one position for each of them, `feed` evaluates what was decided in one batch. Between the two, and
    before each step, generations may join and leave. Nothing in the context is cut here: whoever took a sequence frees it.

    Args:
        limit: positions that one sequence may use; where it runs out, a generation ends with StopReason.CONTEXT_FULL.
        hidden: whether the context gives hidden states (some policies feed them).
        lap: is called after each part of `feed` with its name, "mixing", "llama.cpp" and "logits". For benchmarks.
        padding: is asked before each batch: sequences that get a row that nobody reads, with its position. The rows then go in
            the order of their sequences. llama.cpp rounds by the shape of a batch, which can so be always the same.
    """

    def __init__(
        self,
        model: Engine,
        context: Context,
        *,
        limit: int,
        hidden: bool = False,
        lap: Callable[[str], None] | None = None,
        padding: Callable[[], Mapping[int, int]] | None = None,
    ) -> None:
        self._padding = padding
        self._model, self._context, self._limit, self._hidden, self._lap = model, context, limit, hidden, lap
        self._live: dict[int, _Sequence] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def live(self) -> dict[int, Generation]:
        """The generations that go on, by their sequences."""
        return {seq: s.generation for seq, s in self._live.items()}

    def distribution(self, seq: int) -> Distribution:
        """The distribution after all that was fed to a sequence."""
        d = self._live[seq].distribution
        assert d is not None, "a step is being fed"
        return d

    def join(self, g: Generation, seq: int, after: After) -> None:
        """Take in a generation whose prompt is in `seq`. after: what the model gave after the prompt."""
        g.capacity = self._limit
        self._live[seq] = _Sequence(g, after.distribution, after.hidden)

    def leave(self, seq: int) -> Generation:
        """Let a generation go; its memory stays as it is."""
        return self._live.pop(seq).generation

    def replace(self, steps: Mapping[int, tuple[Generation, Step]]) -> None:
        """Put these generations in place of all that there are. Each one's step is decided, and fed next."""
        self._live = {seq: _Sequence(g, None, None, step) for seq, (g, step) in steps.items()}

    def advance(self) -> Iterator[tuple[Generation, Step]]:
        """Decide one position for each generation; yields each step as it is decided. Those that ended have left."""
        for seq, s in [*self._live.items()]:
            g = s.generation
            with self._context.lock:  # whoever closes the model waits until its logits are read
                s.step = step = g.advance(self.distribution(seq))
            if step is not None:
                if step.position + 1 >= self._limit and not g.stop_reason:
                    g.finish(StopReason.CONTEXT_FULL)
                yield g, step
            if g.stop_reason:
                self._live.pop(seq, None)

    def feed(self) -> None:
        """Evaluate all steps that were decided, in one batch.

        Raises:
            NotFiniteError: a sequence's logits or hidden state are not finite; the message names it, `.index` is its number
                in `live`.
            ContextError: llama.cpp fails.
        """
        seqs, lap, context = [*self._live], self._lap, self._context
        sequences = [*self._live.values()]
        items: list[Item] = []
        positions: list[int] = []
        for s in sequences:
            step, s.distribution = s.step, None
            assert step is not None, "a sequence joined between advance and feed"
            items.append(item_of(s.generation, step, s.hidden))
            positions.append(step.position)
        place: Sequence[int] = range(len(seqs))  # of each live sequence in the batch
        if self._padding is not None:
            more = self._padding()
            seqs, positions, items = [*seqs, *more], [*positions, *more.values()], [*items, *[0] * len(more)]
            order = sorted(range(len(seqs)), key=seqs.__getitem__)
            seqs, positions = [seqs[i] for i in order], [positions[i] for i in order]
            items = [items[i] for i in order]
            place = [order.index(i) for i in place]
        rows = self._model.rows(items)
        if lap is not None:
            lap("mixing")
        with context.lock:  # until those that read the logits in place are known to the context
            logits = context.evaluate(seqs, positions, [True] * len(seqs), rows=rows)
            if lap is not None:
                lap("llama.cpp")
            try:
                distributions = self._model.distributions([logits[i] for i in place], context)
            except NotFiniteError as e:
                raise not_finite(sequences[e.index or 0].generation, e) from None
        if lap is not None:
            lap("logits")
        for s, i, d in zip(sequences, place, distributions, strict=True):
            s.generation.evaluated += 1
            s.distribution, s.hidden, s.step = d, context.hidden(i) if self._hidden else None, None


def run(
    model: Engine,
    generations: Sequence[Generation],
    *,
    at_once: int = 1,
    n_ctx: int | None = None,
    cost: Cost | None = None,
    lap: Callable[[str], None] | None = None,
) -> Generator[tuple[Generation, Step], None, None]:
    """Drive generations through one context, `at_once` side by side; one that ends makes room for the next.

    Generations in a row that have the same prompt share it: it is evaluated once, and its memory is copied. With
    at_once = 1 a generation depends on nothing but itself; side by side, logits may differ in their last bits.

    Args:
        n_ctx: positions that each sequence may use; where it runs out, the generation ends and keeps its text.
        cost: what all of it took is added here at the end.
        lap: see Loop.

    Yields:
        Each step as it is decided, in the order of the batch.

    Raises:
        ContextError: a prompt is longer than the context, or llama.cpp fails.
        NotFiniteError: logits are not finite.
    """
    began = time.perf_counter()
    waiting = deque(g for g in generations if not g.done)
    if not waiting:
        return
    at_once = max(1, min(at_once, len(waiting)))
    cells, hidden = positions(model, waiting, n_ctx), any(g.policy.needs_hidden for g in waiting)
    lens = recorder(model, waiting)
    context, home = _context_for(model, waiting, at_once, cells, hidden, lens.watch if lens else None)
    prompts = PromptFeeder(model, context, home, hidden=hidden)
    loop = Loop(model, context, limit=cells, hidden=hidden, lap=lap)
    taken: set[int] = set()  # sequences that hold something
    try:
        while waiting or len(loop):
            while waiting and len(loop) < at_once:
                seq = next(i for i in range(at_once) if i not in taken)
                g = waiting.popleft()
                g.started = time.perf_counter()
                after = prompts.enter(g, seq, again=bool(waiting) and waiting[0].prompt == g.prompt)
                g.prompt_seconds = time.perf_counter() - g.started
                loop.join(g, seq, after)
                taken.add(seq)
            yield from loop.advance()
            if len(loop) < len(taken):
                for seq in taken - loop.live.keys():
                    context.cut(seq, 0)
                taken = set(loop.live)
            if len(loop):
                _feed(loop, lens)
    finally:
        if cost is not None:
            tokens = sum(g.n_steps for g in generations)
            cost.add(tokens, context.evaluated, context.calls, time.perf_counter() - began)
        _end(loop, context, lens)


def _end(loop: Loop, context: Context, lens: LayerRecorder | None) -> None:
    """Free the memory; generations that have not ended were interrupted."""
    for g in loop.live.values():
        g.finish(StopReason.INTERRUPTED)
    context.close()
    if lens is not None:
        lens.close()


def _feed(loop: Loop, lens: LayerRecorder | None) -> None:
    """Evaluate what was decided; with a lens, of the one generation that there is."""
    if lens is None:
        loop.feed()
    else:
        lens.along(next(iter(loop.live.values())), loop.feed)


def _context_for(
    model: Engine,
    waiting: Sequence[Generation],
    at_once: int,
    cells: int,
    hidden: bool,
    watch: LayerWatch | None,
) -> tuple[Context, int]:
    """A context for so many sequences, and the sequence where a prompt stays that several of them have."""
    alike = [len(a.prompt) if a.prompt == b.prompt else 0 for a, b in pairwise(waiting)]
    longest = max(alike, default=0)  # of the prompts that are copied; cells that all sequences share are needed once
    room = at_once * (cells - (longest if all(alike) else 0)) + longest
    return model.new_context(room, at_once + (longest > 0), embeddings=hidden, watch=watch), at_once
