"""Sequences in llama.cpp's memory: rows or ids in, logits out.

Checks everything that could make llama.cpp abort. Knows nothing of words, mixtures or scales.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base import meter, signals
from softllama.errors import ContextError
from softllama.llama import bindings, devices
from softllama.llama import context_setup as setup
from softllama.llama.batch import F32, Batch, Booleans, Integers, Rows, in_order
from softllama.llama.bindings import api
from softllama.llama.handle import Borrower, Handle
from softllama.llama.pace import Pace
from softllama.llama.sequences import Sequences
from softllama.llama.weights import Weights
from softllama.vectors import native

N_BATCH = 512  # positions that go to llama.cpp at once


class Context(Sequences):
    """Room for n_seq sequences that share n_ctx positions; a prefix copied to several sequences is stored once.

    Threads may share it: each call takes the context's lock.

    Args:
        n_ctx: positions; llama.cpp rounds them up, see `.n_ctx`.
        n_threads: None for the physical cores.
        n_batch: positions that one batch may hold.
        n_outputs: logits that one batch may return, n_seq if None; llama.cpp sets n_outputs * n_vocab floats aside.
        embeddings: whether `hidden` will be asked for.
        watch: llama.cpp's evaluation callback (softllama.engine.lens).
        nodes: where rows cannot go through llama.cpp's embedding batch, the graph's nodes that they are written over,
            and their widths; the embedding comes first.
        all_outputs: whether llama.cpp gives the right logits only where it is asked for those of every position.
        control: vectors that llama.cpp adds to the states of layers.
        pace: decides how many threads go on where the machine is busy; None for n_threads always.
        precise: keep keys and values as 32-bit numbers, without flash attention: what rounds by 1e-3 then rounds by 1e-7.
        branches: whether the sequences are ends of one: where less is suggested, n_ctx is then not divided among them.
        apart: whether each sequence has a memory of its own, n_ctx / n_seq positions. It then lies in the order of its
            positions, whatever others do, and attention sums in that order.

    Raises:
        ContextError: the memory is not there, or llama.cpp cannot make it; the message has the size that it needs.
        ModelError: the model is closed, or its file has changed.
    """

    def __init__(
        self,
        weights: Weights,
        n_ctx: int,
        n_seq: int = 1,
        *,
        n_threads: int | None = None,
        n_batch: int = N_BATCH,
        n_outputs: int | None = None,
        embeddings: bool = False,
        watch: Any = None,
        nodes: Sequence[tuple[str, int]] = (),
        all_outputs: bool = False,
        branches: bool = False,
        precise: bool = False,
        control: setup.Control | None = None,
        apart: bool = False,
        pace: Pace | None = None,
    ) -> None:
        n_ctx, n_seq = setup.checked(n_ctx, n_seq, n_threads)
        weights.check()
        weights.check_files()
        signals.computing()
        if embeddings and weights.no_hidden:
            raise ContextError(
                f"{weights.header.arch} gives no hidden states to feed: {weights.no_hidden}", "use another policy"
            )
        self.weights, self.n_seq, self.apart = weights, n_seq, apart
        self.lock = threading.RLock()
        self._own: Handle | None = None
        self.n_threads = n_threads or devices.default_threads()
        self._pace = pace
        self.n_batch = max(n_batch, n_seq)
        # llama.cpp keeps an output for every position when it is to give hidden states
        self.n_outputs = self.n_batch if embeddings or all_outputs else min(n_outputs or n_seq, self.n_batch)
        self._all_outputs, self.embeddings = all_outputs, embeddings
        self.precise = precise
        self._stops = bool(signals.flag_address())
        self._watch = watch  # llama.cpp keeps a pointer to it
        widths = [width for _, width in nodes] or [weights.n_embd_inp]
        self._batch = Batch(self.n_batch, widths, carriers=bool(nodes), positions_per_row=weights.positions_per_row)
        self._overlay = setup.overlay(nodes, self._batch.rows, watch) if nodes else None
        params = setup.params(self, n_ctx, self._overlay, watch)
        with self.lock:  # a model that another thread closes meanwhile waits for it before it frees the context
            self._own, self._finalizer = setup.allocated(self, n_ctx, params, 1 if branches else n_seq)
            self._begin(self._own.pointer, control)

    def _begin(self, pointer: Any, control: setup.Control | None) -> None:
        """What is known once llama.cpp has made the context."""
        weights = self.weights
        # by cffi, as what follows is: the code that calls C is then in the caches
        self._c_pointer = native.ffi.cast("void *", ctypes.cast(pointer, ctypes.c_void_p).value)
        self._logits = native.ffi.cast(
            f"float (*(*)(void *, int32_t))[{weights.n_vocab}]", bindings.address("llama_get_logits_ith")
        )
        self.memory = api.llama_get_memory(pointer)
        self.n_ctx: int = min(api.llama_n_ctx(pointer), weights.n_positions or sys.maxsize)
        # llama.cpp takes no more at once than the n_ctx it was asked for, though it rounds the context up
        self.n_batch = min(self.n_batch, api.llama_n_batch(pointer))
        self.n_outputs = min(self.n_outputs, self.n_batch)
        self._free = list(range(self.n_seq))[::-1]
        self._parts: list[F32] | None = None  # hidden states of a batch that went through in parts
        self._moved: NDArray[np.intp] | None = None  # where the last batch's rows went, if they were put in order
        self.evaluated = 0  # positions evaluated so far
        self.calls = 0  # of llama_decode that evaluated them
        setup.apply_adapters(weights, pointer)
        setup.apply_control(control, pointer)

    # ---- evaluation

    def decode(
        self,
        seqs: Integers,
        positions: Integers,
        want: Booleans,
        *,
        tokens: Integers | None = None,
        rows: Rows | None = None,
    ) -> F32:
        """Evaluate n <= n_batch positions, and copy their logits: (sum(want), n_vocab) float32.

        Arguments and errors are those of `evaluate`.
        """
        with self._usable():
            rows_of = self.evaluate(seqs, positions, want, tokens=tokens, rows=rows)
            out = np.empty((len(rows_of), self.weights.n_vocab), dtype=np.float32)
            for target, z in zip(out, rows_of, strict=True):
                target[:] = native.view(z)
            return out

    def evaluate(
        self,
        seqs: Integers,
        positions: Integers,
        want: Booleans,
        *,
        tokens: Integers | None = None,
        rows: Rows | None = None,
    ) -> list[Any]:
        """Evaluate n <= n_batch positions, and leave their logits where llama.cpp has them.

        Args:
            seqs: (n,) the sequence of each position.
            positions: (n,) its place in the sequence.
            want: (n,) whether its logits are returned.
            tokens: (n,) the ids to feed; or
            rows: what to feed in their place, n rows.

        Returns:
            sum(want) C arrays of float (n_vocab,). The next call writes over them, and `close` frees them: what reads them
            in place for longer is named to `lend`.

        Raises:
            ContextError: there is no room (nothing is then evaluated), or llama.cpp fails.
        """
        n = len(seqs)
        if not 1 <= n <= self.n_batch:
            raise ContextError(f"a batch holds 1 to {self.n_batch} positions, not {n}")
        if (tokens is None) == (rows is None):
            raise ContextError("a batch holds either tokens or rows")
        with self._usable():
            self._check()
            if self.weights.alone and len(set(seqs)) > 1:
                return self._decode_apart(np.asarray(seqs), np.asarray(positions), np.asarray(want, bool), tokens, rows)
            self._parts = None
            if rows is not None and self._overlay is not None and not in_order(seqs):
                return self._decode_sorted(np.asarray(seqs), np.asarray(positions), np.asarray(want, bool), rows)
            low, high, last = (min(seqs), max(seqs), max(positions)) if n > 1 else (seqs[0], seqs[0], positions[0])
            if not 0 <= low <= high < self.n_seq:
                raise ContextError(f"sequences are numbered 0 to {self.n_seq - 1}")
            if self.weights.n_positions and last >= self.weights.n_positions:
                raise ContextError(f"this model knows {self.weights.n_positions} positions, and no more can be made")
            wanted = self._batch.fill(seqs, positions, want, tokens, rows)
            if len(wanted) > self.n_outputs:
                raise ContextError(f"a batch returns at most {self.n_outputs} logits, not {len(wanted)}")
            if self._all_outputs:
                self._batch.want_all(n)
            self._evaluate(n, with_rows=rows is not None)
            return [self._logits(self._c_pointer, i)[0] for i in wanted]

    def lend(self, borrower: Borrower) -> None:
        """This reads logits of the last batch in place. Before they change, it is told to keep a copy, if it is still there."""
        assert self._own is not None
        self._own.lend(borrower)

    def _evaluate(self, n: int, *, with_rows: bool) -> None:
        bindings.clear_log()
        assert self._own is not None
        self._own.recall()
        if self._overlay is not None:
            self._overlay.arm(n if with_rows else 0)
        mark = None if self._pace is None else self._pace.start()
        if mark is not None and mark[0] != self.n_threads:
            self.n_threads = mark[0]
            api.llama_set_n_threads(self.pointer, self.n_threads, self.n_threads)
        if self._stops:
            signals.clear_flag()
            with signals.call:
                code = api.llama_decode(self.pointer, self._batch.native)
        elif self._watch is None:
            code = api.llama_decode(self.pointer, self._batch.native)
        else:
            with signals.deferred():  # it calls Python
                code = api.llama_decode(self.pointer, self._batch.native)
        if code == 2:  # in a thread that gets no signals itself
            raise ContextError("the computation was stopped by a signal", "run it again")
        if code == 1:
            raise ContextError(
                f"the context of {self.n_ctx} positions is full", "--n-ctx (n_ctx=...) gives it more room"
            )
        if code:
            raise ContextError(f"llama.cpp could not evaluate a batch of {n}: {bindings.last_error()} (code {code})")
        if self._overlay is not None and (why := self._overlay.unwritten()):
            raise ContextError(f"llama.cpp did not take the rows of a batch of {n}: {why}")
        if self._pace is not None and mark is not None:
            self._pace.stop(n, mark)
        self.evaluated += n
        meter.evaluated.add(n)
        self.calls += 1
        self._moved = None

    def _decode_sorted(
        self, seqs: NDArray[Any], positions: NDArray[Any], want: NDArray[np.bool_], rows: Rows
    ) -> list[Any]:
        """The batch in an order that llama.cpp keeps, in several calls where the sequences are of different lengths.

        Its memories for recurrent and sliding-window models take as many positions of each sequence as the shortest has,
        and so read the rows in another order than they lie in.
        """
        ids, lengths = np.unique(seqs, return_counts=True)
        out = np.empty((int(want.sum()), self.weights.n_vocab), dtype=np.float32)
        place = np.cumsum(want) - 1  # of each row's logits
        groups = np.unique(lengths)
        for length in groups:
            chosen = np.flatnonzero(np.isin(seqs, ids[lengths == length]))
            order = chosen[np.argsort(seqs[chosen], kind="stable")]
            logits = self.decode(seqs[order], positions[order], want[order], rows=rows.take(order))
            out[place[order[want[order]]]] = logits
        self._moved = np.argsort(order) if len(groups) == 1 else np.array([], dtype=np.intp)
        return [native.floats(row) for row in out]

    def _decode_apart(
        self, seqs: NDArray[Any], positions: NDArray[Any], want: NDArray[np.bool_], tokens: Any, rows: Rows | None
    ) -> list[Any]:
        """`evaluate`, one sequence after the other. Nothing is taken back if one of them fails."""
        out = np.empty((len(seqs), self.weights.n_vocab), dtype=np.float32)
        hidden: list[F32] = [np.empty(0, dtype=np.float32)] * len(seqs)
        for seq in dict.fromkeys(seqs.tolist()):
            at = np.flatnonzero(seqs == seq)
            ids = None if tokens is None else np.asarray(tokens)[at]
            part = None if rows is None else rows.take(at)
            out[at[want[at]]] = self.decode(seqs[at], positions[at], want[at], tokens=ids, rows=part)
            if self.embeddings:
                for i, j in enumerate(at):
                    hidden[j] = self.hidden(i)
        self._parts = hidden if self.embeddings else None
        return [native.floats(row) for row in out[want]]

    def hidden(self, i: int) -> NDArray[np.float32]:
        """The last hidden state, after the final norm, of position i of the last batch (-1: its last): (n_embd,), a copy."""
        with self._usable():
            self._check()
            if self._moved is not None:
                if not len(self._moved):
                    raise ContextError("no hidden states are kept of sequences that were fed different numbers of rows")
                i = int(self._moved[i])
            if self._parts is not None:
                return self._parts[i]
            pointer = api.llama_get_embeddings_ith(self.pointer, i)
            if not pointer:
                raise ContextError("llama.cpp gives no hidden states for this model")
            return np.array(np.ctypeslib.as_array(pointer, shape=(self.weights.n_embd,)))

    def close(self) -> None:
        """Free the memory, once a computation in another thread is done. Safe to call twice."""
        if self._own is not None:
            self._own.free()
            if self.closed:
                self._finalizer.detach()  # a callback less in which an interrupt could be lost
