"""Continuous batching: prompts are evaluated piece by piece, and the steps of all sequences in one batch.

A sequence keeps what it holds when its generation ends. A later prompt that begins alike takes it over, or copies that
beginning from a sequence that is still busy. Knows contexts, the loop and jobs. Knows no queue and no threads: one thread
calls everything here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from softllama.engine.engine import Engine, Item
from softllama.errors import NotFiniteError
from softllama.generation.feed import after_prompt, fed_item, shared
from softllama.generation.loop import Loop
from softllama.serve.jobs import Begun, Ended, Failed, Job, Stepped
from softllama.trace.step import Step, StopReason
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

PIECE = 128  # positions of prompts that are evaluated between two steps of others
FIXED_PIECE = 56  # the same with batches of one shape: from 64 rows on llama.cpp's attention sums in another order
KEPT = 1000  # entries of a mixture beyond which it is not kept, to be compared with later prompts


@dataclass(eq=False)
class Slot:
    """A sequence. items: what its memory holds, position by position; None is equal to nothing. used: when it was last."""

    seq: int
    items: list[int | Mixture | None] = field(default_factory=list)
    job: Job | None = None
    prompting: bool = False  # is the prompt not evaluated to its end?
    used: float = 0.0


class ContinuousBatch:
    """A context with `streams` sequences of n_ctx positions each.

    Args:
        hidden: whether the context gives hidden states, which some policies feed.
        fixed: batches of one shape, so that a sequence's numbers do not depend on the others.

    Attributes:
        prompted, reused, stepped: positions of prompts that were evaluated, that were there already, and of steps.
    """

    def __init__(self, model: Engine, streams: int, n_ctx: int, *, hidden: bool = False, fixed: bool = False) -> None:
        self._model, self._n_ctx, self._hidden, self._fixed = model, n_ctx, hidden, fixed
        n_seq = max(streams, 2) if fixed else streams  # a batch of one row takes another way through llama.cpp
        self._context = model.new_context(n_seq * n_ctx, n_seq, embeddings=hidden, apart=fixed)
        self._loop = Loop(model, self._context, limit=n_ctx, hidden=hidden, padding=self._padding if fixed else None)
        self.slots = [Slot(seq) for seq in range(streams)]
        self._extra = [Slot(seq) for seq in range(streams, n_seq)]  # these hold nothing, ever
        self._asking: list[Slot] = []  # whose prompts are not evaluated yet, the first come first
        self.prompted = self.reused = self.stepped = 0

    @property
    def live(self) -> list[Slot]:
        """The slots that are taken."""
        return [s for s in self.slots if s.job is not None]

    @property
    def has_room(self) -> bool:
        return any(s.job is None for s in self.slots)

    def enter(self, job: Job) -> None:
        """Give a job a free slot: one that holds the beginning of its prompt, else the one that was idle longest."""
        free = [s for s in self.slots if s.job is None]
        best = max(free, key=lambda s: shared(s.items, job.items))
        if 2 * shared(best.items, job.items) <= len(best.items):
            best = min(free, key=lambda s: (bool(s.items), s.used))
        best.job, best.prompting, best.used = job, True, time.monotonic()
        job.generation.started = time.perf_counter()
        self._asking.append(best)

    def round(self) -> None:
        """One round: drop what nobody waits for, evaluate pieces of prompts, and take a step with each sequence."""
        for slot in self.live:
            if slot.job is not None and slot.job.cancelled:
                self._leave(slot, StopReason.INTERRUPTED)
        self._prompts()
        if len(self._loop):
            self._step()

    def fail(self, error: Exception) -> None:
        """Tell everybody that it cannot go on, and forget what the sequences hold."""
        for slot in self.live:
            if slot.job is not None:
                slot.job.add(Failed(error))
                slot.job.flush()
            self._leave(slot, StopReason.INTERRUPTED)
        for slot in [*self.slots, *self._extra]:
            self._empty(slot)

    def close(self) -> None:
        """Free the memory."""
        self._context.close()

    # ---- prompts

    def _prompts(self) -> None:
        """Evaluate pieces of prompts, the first come first, so that what runs goes on soon."""
        budget = PIECE if len(self._loop) else self._context.n_batch
        if self._fixed and self._model.recurrent:  # a row that nobody reads cannot be taken back from half a prompt
            budget = len(self.slots) * self._n_ctx
        while self._asking and budget > 0:
            slot = self._asking[0]
            assert slot.job is not None
            try:
                budget -= self._piece(slot, slot.job, budget)
            except NotFiniteError as e:
                slot.job.add(Failed(e))
                slot.job.flush()
                self._leave(slot, StopReason.INTERRUPTED)
                self._empty(slot)

    def _piece(self, slot: Slot, job: Job, budget: int) -> int:
        """Evaluate the next piece of a prompt. Returns how many positions it had."""
        items, g = job.items, job.generation
        if slot.prompting:
            slot.prompting = False
            job.cached = self._rewind(slot, items)
            self.reused += job.cached
        n = len(slot.items)
        end = min(len(items), n + (FIXED_PIECE if self._fixed else budget))
        last = end == len(items)
        logits = self._model.feed(self._context, slot.seq, items[n:end], n, want=last)
        slot.items += [None if isinstance(i, Vector) else i for i in items[n:end]]
        g.evaluated += end - n
        self.prompted += end - n
        if last:
            after = after_prompt(g, self._context, logits, hidden=self._hidden)
            g.prompt_seconds = time.perf_counter() - g.started
            self._asking.remove(slot)
            self._loop.join(g, slot.seq, after)
            job.add(Begun(job.cached))
        return end - n

    def _rewind(self, slot: Slot, items: tuple[Item, ...]) -> int:
        """Make a slot hold the longest beginning of `items` that some slot has, but not all of it. Returns its length."""
        best = max(self.slots, key=lambda s: (self._usable(s, items), s is slot))
        n = self._usable(best, items)
        if best is not slot and n > 0:
            self._context.copy(best.seq, slot.seq)
            slot.items = list(best.items)
        if n and self._context.cut(slot.seq, n):
            del slot.items[n:]
            return n
        if n and n == len(slot.items) == self._context.length(slot.seq):
            return n
        self._empty(slot)
        return 0

    def _usable(self, slot: Slot, items: tuple[Item, ...]) -> int:
        """How many of the positions that a slot holds a prompt can use."""
        n = min(shared(slot.items, items), len(items) - 1)
        if self._model.recurrent and n < len(slot.items):
            return 0  # its state cannot go back
        return n - n % FIXED_PIECE if self._fixed else n

    # ---- steps

    def _step(self) -> None:
        for g, step in self._loop.advance():
            slot = self._of(g)
            assert slot.job is not None
            n = 0 if step.thinking else slot.job.n_top
            top = tuple(self._loop.distribution(slot.seq).top(n)) if n else ()
            slot.job.add(Stepped(step, top))
            self.stepped += 1
        running = self._loop.live
        for slot in self._running():
            assert slot.job is not None
            if slot.seq not in running:
                slot.job.add(Ended())
                slot.job.flush()
                self._leave(slot, StopReason.INTERRUPTED)
            else:
                slot.job.flush()
        if len(self._loop):
            self._feed()

    def _padding(self) -> dict[int, int]:
        """The sequences that take no step, and the position after what they hold."""
        live = self._loop.live
        return {s.seq: len(s.items) for s in [*self.slots, *self._extra] if s.seq not in live}

    def _unpad(self) -> None:
        """Take back the rows that nobody reads."""
        for slot in [*self.slots, *self._extra] if self._fixed else ():
            if slot.seq not in self._loop.live and not self._context.cut(slot.seq, len(slot.items)):
                self._empty(slot)

    def _feed(self) -> None:
        steps = {seq: g.steps[-1] for seq, g in self._loop.live.items()}
        while len(self._loop):
            try:
                self._loop.feed()
                self._unpad()
                break
            except NotFiniteError as e:  # one of them; the others are fed again without it
                self._unpad()
                seq = list(self._loop.live)[e.index or 0]
                self._drop(self.slots[seq], e)
                for other, step in steps.items():
                    if other != seq and other in self._loop.live and not self._context.cut(other, step.position):
                        self._drop(self.slots[other], e)
        for seq in self._loop.live:
            self.slots[seq].items.append(_kept(steps[seq]))

    def _drop(self, slot: Slot, error: Exception) -> None:
        if slot.job is not None:
            slot.job.add(Failed(error))
            slot.job.flush()
        self._leave(slot, StopReason.INTERRUPTED)
        self._empty(slot)

    def _running(self) -> Iterator[Slot]:
        """The slots whose prompts are evaluated."""
        return (s for s in self.live if s not in self._asking)

    def _of(self, g: object) -> Slot:
        return next(s for s in self.slots if s.job is not None and s.job.generation is g)

    def _leave(self, slot: Slot, reason: StopReason) -> None:
        """Free a slot. What its memory holds stays."""
        assert slot.job is not None
        slot.job.generation.finish(reason)
        if slot in self._asking:
            self._asking.remove(slot)
        elif slot.seq in self._loop.live:
            self._loop.leave(slot.seq)
        slot.job, slot.prompting, slot.used = None, False, time.monotonic()
        if self._fixed and len(slot.items) >= self._n_ctx:  # no room for a row that nobody reads
            self._empty(slot)

    def _empty(self, slot: Slot) -> None:
        self._context.cut(slot.seq, 0)
        slot.items = []


def _kept(step: Step) -> int | Mixture | None:
    """What a step fed, to be compared with later prompts. A whole vector is not kept: it is as long as the vocabulary."""
    return None if len(step.mixture) > KEPT else fed_item(step)
