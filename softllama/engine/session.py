"""One sequence of a model: tokens and mixtures go in, a distribution comes out. Knows nothing of words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from types import TracebackType
from typing import TypeAlias

import numpy as np

from softllama.base import arguments, signals
from softllama.engine import nonfinite
from softllama.engine.engine import Engine, Item
from softllama.engine.items import one_each
from softllama.errors import ContextError, MixtureError, NotFiniteError
from softllama.llama.context import Context
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

Feedable: TypeAlias = "Item | np.integer"
FORKS = 16  # sequences in a session's context; forks beyond them get a context of their own
FORKS_RECURRENT = 4  # each one has a whole state set aside


class Session:
    """A sequence and its KV cache; `Model.session()` makes one. A context manager; close() frees the memory.

    Threads may use sessions at the same time, and even the same one: a session and its forks take turns, call by call.
    """

    def __init__(self, model: Engine, context: Context, seq: int, history: list[Item] | None = None) -> None:
        self._model = model
        self._context = context
        self._seq: int | None = seq
        self._history = history or []  # what was fed, for memories that cannot go back

    @classmethod
    def start(cls, model: Engine, n_ctx: int | None = None) -> Session:
        """A new, empty sequence with room for n_ctx positions (None: as the model was loaded)."""
        n_ctx = model.n_ctx if n_ctx is None else arguments.integer("n_ctx", n_ctx)
        context = model.new_context(n_ctx, FORKS_RECURRENT if model.recurrent else FORKS, branches=True)
        seq = context.take()
        assert seq is not None
        return cls(model, context, seq)

    @property
    def position(self) -> int:
        """How many positions have been fed."""
        return len(self._history)

    @property
    def n_ctx(self) -> int:
        """How many positions there is room for, all forks together."""
        return self._context.n_ctx

    @property
    def evaluated(self) -> int:
        """Positions that the context has evaluated so far, forks included."""
        return self._context.evaluated

    def feed(self, items: Iterable[Feedable] | Feedable) -> Distribution:
        """Append token ids, mixtures and vectors, and return the distribution after the last.

        As soon as one item is a mixture, the ids go as one-hot rows beside it: to llama.cpp it is one batch of the same
        shape, so a one-hot mixture gives the token's logits to the bit on the CPU.

        A vector is fed as it is, in place of a row; one of k positions takes k.

        Raises MixtureError for an unknown id or a vector that does not fit, ContextError where the context is full; nothing is
        then fed.
        """
        if isinstance(items, str | bytes):
            raise MixtureError(
                f"feed takes token ids, mixtures and vectors, not {type(items).__name__}", "model.tokenize(text)"
            )
        row = list(items) if isinstance(items, Iterable) else [items]
        if not row:
            raise MixtureError("feed needs at least one token or mixture")
        checked = one_each(self._check(i) for i in row)
        self._open()
        with self._context.locked():
            seq = self._open()  # another thread may have closed it
            if self.position + len(checked) > self.n_ctx:
                raise ContextError(
                    f"{self.position + len(checked)} positions do not fit into a context of {self.n_ctx}",
                    "--n-ctx (n_ctx=...) gives it more room",
                )
            try:
                after = self._model.distributions(self._model.feed(self._context, seq, checked, self.position))[0]
            except NotFiniteError as e:
                before = list(self._history)
                self._rewind(len(before))
                where = f"after what was fed at position {len(before) + len(checked) - 1}"
                raise nonfinite.located(self._model, e, where, [*before, *checked]) from None
            except BaseException:  # an interrupted or failed batch must not leave half of the items in the memory
                if not self._context.closed:
                    self._rewind(self.position)
                raise
            self._history.extend(checked)
            return after

    def fork(self) -> Session:
        """A second session that goes on from here; the prefix is shared, not computed again."""
        self._open()
        with self._context.locked():
            seq = self._open()
            context, target = self._context, self._context.take()
            if target is None:  # no free sequence: a context of its own, with the state copied
                state = context.state(seq)
                context = self._model.new_context(self.n_ctx, context.n_seq, branches=True)
                target = context.take()
                assert target is not None
                context.restore(target, state)
            else:
                context.copy(seq, target)
            return Session(self._model, context, target, list(self._history))

    def truncate(self, n: int) -> None:
        """Keep the first n positions. Recurrent and hybrid models, which cannot go back, read them again."""
        self._open()
        n = arguments.integer("n", n)
        with self._context.locked():
            if not 0 <= n <= self.position:
                raise ContextError(f"cannot keep {n} of {self.position} positions")
            self._rewind(n)

    def close(self) -> None:
        """Forget the sequence. Safe to call twice."""
        with self._context.lock if not signals.forked() else contextlib.nullcontext():
            if self._seq is not None:
                self._context.release(self._seq)
                self._seq = None

    def _check(self, item: Feedable) -> Item:
        if isinstance(item, Mixture):
            self._model.table.check(item)
            return item
        if isinstance(item, Vector):
            self._model.check_vector(item)
            return item
        if isinstance(item, bool) or not isinstance(item, int | np.integer):
            raise MixtureError(
                f"feed takes token ids, mixtures and vectors, not {type(item).__name__}", "tokenize text first"
            )
        if not 0 <= item < self._model.n_vocab:
            raise MixtureError(f"token id {item} is outside the vocabulary of {self._model.n_vocab}")
        return int(item)

    def _open(self) -> int:
        if self._seq is None:
            raise ContextError("this session is closed", "make a new one with model.session()")
        return self._seq

    def _rewind(self, n: int) -> None:
        seq = self._open()
        kept = self._history[:n]
        if not self._context.cut(seq, n):
            self._context.cut(seq, 0)
            if kept:
                self._history = []
                self._model.feed(self._context, seq, kept, 0)
        self._history = kept

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._seq is None else f"{self.position} of {self.n_ctx} positions"
        return f"Session({state})"
