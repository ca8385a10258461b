"""Sequences in llama.cpp's memory: rows or ids in, logits out. Knows nothing of words, mixtures or scales.

The only object that changes besides a chat's state. Everything that could make llama.cpp abort is checked here.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments, signals
from softllama.errors import ContextError, UsageError
from softllama.llama import devices, library, memory
from softllama.llama.library import Handle, api, lib
from softllama.llama.overlay import FUNCTIONS, Overlay
from softllama.llama.weights import FORKED, HOW_TO_FORK, Weights

N_BATCH = 512  # positions that go to llama.cpp at once
MOST = 2**32 - 256  # positions of a context, which llama.cpp counts in 32 bits, rounded up to 256; more would be few


def _as(array: NDArray[Any], ctype: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctype))


# with a prototype of its own, which gives the address as a number
_logits = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(("llama_get_logits_ith", lib))


def _in_order(seqs: Sequence[int] | NDArray[np.integer[Any]]) -> bool:
    """Does each sequence lie in one piece, in the order of their numbers, and are all of one length?"""
    if len(seqs) == 1:
        return True
    steps = np.diff(seqs)
    starts = np.flatnonzero(steps)
    lengths = np.diff([-1, *starts, len(seqs) - 1])
    return bool((steps >= 0).all() and (lengths == lengths[0]).all())


def _taken(weights: Weights, params: Any, n_ctx: int) -> tuple[int, int] | None:
    """Bytes that llama.cpp says it sets aside for a context of n_ctx positions, and those by which the process grows, as
    some architectures' graphs take more; None if it cannot."""
    with weights.lock, signals.deferred(), library.capture_log() as log_lines:
        weights.check()
        asked, params.n_ctx, before = params.n_ctx, n_ctx, memory.address_space()
        pointer = api.llama_init_from_model(weights.model.handle.pointer, params)
        grown, params.n_ctx = memory.address_space() - before, asked
        if pointer:
            api.llama_free(pointer)
    return (library.buffer_bytes(log_lines), grown) if pointer else None


class Context:
    """Room for n_seq sequences that share n_ctx positions; a prefix copied to several sequences is stored once.

    n_ctx: rounded up by llama.cpp, see `.n_ctx`. threads: None for the physical cores. n_outputs: logits that one batch
    may return, n_seq if None; llama.cpp sets memory for n_outputs * n_vocab floats aside. embeddings: `hidden` will be
    asked for. watch: llama.cpp's evaluation callback (softllama.engine.lens). nodes: where rows cannot go through
    llama.cpp's embedding batch, the graph's nodes that they are written over, and their widths; the embedding comes first.
    all_outputs: llama.cpp gives the right logits only where it is asked for those of every position. branches: the
    sequences are ends of one, so where less is suggested, n_ctx is not divided among them.

    Threads may share it: each call takes `lock`, which is also to be held from the writing of `rows` to the `decode` that
    reads them. Raises ContextError where the memory is not there, or llama.cpp cannot make it, with the size it needs;
    ModelError where the model is closed or its file has changed.
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
    ) -> None:
        n_ctx, n_seq = arguments.integer("n_ctx", n_ctx), arguments.integer("n_seq", n_seq)
        if n_ctx < 1:
            raise UsageError(f"a context needs room for at least one position, not n_ctx = {n_ctx}")
        if n_threads is not None and not 1 <= n_threads <= 1024:
            raise UsageError(f"n_threads must be between 1 and 1024, not {n_threads}")
        n_seq_limit = api.llama_max_parallel_sequences()
        if not 1 <= n_seq <= n_seq_limit:
            raise UsageError(f"a context holds 1 to {n_seq_limit} sequences, not {n_seq}")
        weights.check()
        weights.check_files()
        signals.computing()
        if embeddings and weights.no_hidden:
            raise ContextError(
                f"{weights.header.arch} gives no hidden states to feed: {weights.no_hidden}", "use another policy"
            )
        self.weights = weights
        self.lock = threading.RLock()
        self._own: Handle | None = None
        self.n_threads = n_threads or devices.physical_cores()
        self.n_batch = max(n_batch, n_seq)
        # llama.cpp keeps an output for every position when it is to give hidden states
        self._all_outputs = all_outputs
        self.n_outputs = self.n_batch if embeddings or all_outputs else min(n_outputs or n_seq, self.n_batch)
        params = api.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = self.n_batch
        params.n_seq_max = n_seq
        if hasattr(params, "n_outputs_max"):  # newer versions; older ones allow n_batch
            params.n_outputs_max = self.n_outputs
        params.n_threads = params.n_threads_batch = self.n_threads
        params.kv_unified = True
        params.embeddings = embeddings
        params.offload_kqv = params.op_offload = weights.on_gpu
        params.no_perf = True
        if (flag := signals.flag_address()) and not weights.on_gpu:
            params.abort_callback = ctypes.cast(flag, type(params.abort_callback))
        self._stops = bool(flag)
        if weights.no_flash:
            params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        widths = [width for _, width in nodes] or [weights.n_embd_inp]
        # what `decode` feeds, filled by the caller: (n_batch, n_embd) in a buffer that llama.cpp or the overlay reads
        self.rows, *beside = (np.zeros((self.n_batch, width), dtype=np.float32) for width in widths)
        self.beside: tuple[NDArray[np.float32], ...] = tuple(beside)  # rows of the other nodes
        self.carriers = np.zeros(self.n_batch, dtype=np.int32)  # with nodes: the ids that stand in for the rows
        self._overlay: Overlay | None = None
        self._watch = watch  # llama.cpp keeps a pointer to it
        if nodes:
            functions = {name: library.address(name) for name in FUNCTIONS.values()}
            other = (ctypes.cast(watch, ctypes.c_void_p).value or 0) if watch is not None else 0
            rows = [(name, r) for (name, _), r in zip(nodes, (self.rows, *beside), strict=True)]
            self._overlay = Overlay(functions, rows, (other, 0))
            params.cb_eval = api.ggml_backend_sched_eval_callback(self._overlay.callback)
            params.cb_eval_user_data = self._overlay.data
        elif watch is not None:
            params.cb_eval = watch
        fits = partial(memory.fitting, weights.header, partial(_taken, weights, params), n_ctx, self.n_batch)
        n_ends = 1 if branches else n_seq
        if not weights.on_gpu:  # a GPU's driver says by itself what does not fit
            memory.check(weights.header, n_ctx, n_ends, self.n_batch, self.n_outputs, fits)
        if n_ctx > MOST:
            raise ContextError(
                f"a context has at most {MOST:,} positions, not {n_ctx:,} for {n_seq} sequences",
                memory.hint(MOST, n_ends),
            )
        library.clear_log()
        with weights.lock, signals.deferred():  # llama.cpp's log calls Python
            weights.check()
            pointer = api.llama_init_from_model(weights.model.handle.pointer, params)
            if pointer:
                self._own = Handle(pointer, api.llama_free, self.lock, weights.model, weights.contexts)
                self._finalizer = weakref.finalize(self, self._own.free)
        if not pointer:
            message = f"llama.cpp cannot make a context of {n_ctx:,} positions: {library.last_error()}"
            smaller = f"try a smaller one, such as --n-ctx {max(256, n_ctx // 4)}"  # a GPU's memory is not looked at
            raise ContextError(message, smaller if weights.on_gpu else memory.hint(fits(), n_ends))
        self.memory = api.llama_get_memory(pointer)
        self.n_ctx: int = min(api.llama_n_ctx(pointer), weights.n_positions or sys.maxsize)
        # llama.cpp takes no more at once than the n_ctx it was asked for, though it rounds the context up
        self.n_batch = min(self.n_batch, api.llama_n_batch(pointer))
        self.n_outputs = min(self.n_outputs, self.n_batch)
        self.n_seq = n_seq
        self._free = list(range(n_seq))[::-1]
        self._parts: list[NDArray[np.float32]] | None = None  # hidden states of a batch that went through in parts
        self._embeddings = embeddings
        self.evaluated = 0  # positions evaluated so far
        self.calls = 0  # of llama_decode that evaluated them
        self._moved: NDArray[np.intp] | None = None  # where the last batch's rows went, if they were put in order
        if weights.lora:
            n = len(weights.lora)
            adapters = (api.llama_adapter_lora_p_ctypes * n)(*[a.pointer for a in weights.lora])
            if api.llama_set_adapters_lora(
                pointer, adapters, n, (ctypes.c_float * n)(*[a.scale for a in weights.lora])
            ):
                raise ContextError("llama.cpp cannot apply the LoRA adapter")

        b, k = self.n_batch, weights.positions_per_row
        self._tokens = np.zeros(b, dtype=np.int32)
        self._rows_pointer, self._tokens_pointer = _as(self.rows, ctypes.c_float), _as(self._tokens, ctypes.c_int32)
        self._carriers_pointer = _as(self.carriers, ctypes.c_int32)
        self._batch_of = ""  # what the batch points to
        self._pos = np.zeros(k * b, dtype=np.int32)
        self._n_seq_id = np.ones(b, dtype=np.int32)
        self._seq_id = np.zeros(b, dtype=np.int32)
        at = self._seq_id.ctypes.data + 4 * np.arange(b + 1, dtype=np.uintp)  # row i's list of sequences: one, its own
        self._seq_ptr = (ctypes.POINTER(ctypes.c_int32) * (b + 1)).from_buffer_copy(at.tobytes())
        self._want = np.zeros(b, dtype=np.int8)
        self._batch = api.llama_batch(
            0, None, None, _as(self._pos, ctypes.c_int32), _as(self._n_seq_id, ctypes.c_int32),
            self._seq_ptr, _as(self._want, ctypes.c_int8),
        )  # fmt: skip

    @property
    def overlaid(self) -> bool:
        """Are rows written over nodes of the graph, with carrier tokens in the batch?"""
        return self._overlay is not None

    # ---- sequences

    def take(self) -> int | None:
        """A free sequence, or None."""
        with self._usable():
            self._check()
            return self._free.pop() if self._free else None

    def release(self, seq: int) -> None:
        """Forget a sequence and make it free. Safe after the context is closed."""
        if signals.forked():
            return
        with self.lock:
            if not self.closed:
                api.llama_memory_seq_rm(self.memory, seq, -1, -1)
            self._free.append(seq)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The lock. Raises ContextError where nothing can be done with this context any more."""
        with self._usable():
            self._check()
            yield

    def _usable(self) -> Any:
        """The lock, to be taken by somebody who then calls _check again."""
        self._check()  # before: in a forked child the lock may be held for ever
        return self.lock

    def _check(self) -> None:
        if signals.forked():
            raise ContextError(FORKED, HOW_TO_FORK)
        if self.closed:
            if self.weights.closed:
                raise ContextError(f"the model {self.weights.header.path.name} is closed", "load it again")
            raise ContextError("this context is closed", "make a new one")

    def copy(self, source: int, target: int) -> None:
        """Make `target` hold what `source` holds; the cells are shared until they differ."""
        with self._usable():
            self._check()
            api.llama_memory_seq_rm(self.memory, target, -1, -1)
            api.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def cut(self, seq: int, n: int) -> bool:
        """Keep the first n positions. False where the memory cannot (recurrent models), which leaves it as it was."""
        with self._usable():
            self._check()
            return bool(api.llama_memory_seq_rm(self.memory, seq, n, -1))

    def length(self, seq: int) -> int:
        """Positions that the memory holds of a sequence, half of an interrupted batch included."""
        with self._usable():
            self._check()
            return int(api.llama_memory_seq_pos_max(self.memory, seq)) + 1

    def state(self, seq: int) -> bytes:
        """A sequence's whole state, for `restore` in a context of the same model."""
        with self._usable():
            self._check()
            size = api.llama_state_seq_get_size(self.pointer, seq)
            buffer = (ctypes.c_uint8 * size)()
            n = api.llama_state_seq_get_data(self.pointer, buffer, size, seq)
            return bytes(buffer[:n]) if n < size else bytes(buffer)

    def restore(self, seq: int, state: bytes) -> None:
        """Put a state into a sequence. Raises ContextError where it does not fit."""
        with self._usable():
            self._check()
            buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
            if not api.llama_state_seq_set_data(self.pointer, buffer, len(state), seq):
                raise ContextError(f"a state of {len(state):,} bytes does not fit into this context")

    # ---- evaluation

    def decode(
        self,
        seqs: Sequence[int] | NDArray[np.integer[Any]],
        positions: Sequence[int] | NDArray[np.integer[Any]],
        want: Sequence[bool] | NDArray[np.bool_],
        tokens: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    ) -> NDArray[np.float32]:
        """Evaluate n <= n_batch positions: the given tokens (n,), or without them the first n of `.rows` (and of `.beside`
        and `.carriers`, where rows are written over nodes).

        seqs, positions: (n,) the sequence and the place in it of each. want: (n,) whose logits to return.
        Returns logits (sum(want), n_vocab) float32, a copy; of a single row, a read-only one. Raises ContextError where
        there is no room (nothing is then evaluated) or llama.cpp fails.
        """
        n = len(seqs)
        if not 1 <= n <= self.n_batch:
            raise ContextError(f"a batch holds 1 to {self.n_batch} positions, not {n}")
        with self._usable():
            self._check()
            if self.weights.alone and len(set(seqs)) > 1:
                return self._apart(seqs, positions, want, tokens)
            self._parts = None
            if tokens is None and self._overlay is not None and not _in_order(seqs):
                return self._decode_sorted(np.asarray(seqs), np.asarray(positions), np.asarray(want, dtype=np.bool_))
            batch = self._batch
            batch.n_tokens = n
            if tokens is not None:
                self._tokens[:n] = tokens
            kind = "ids" if tokens is not None else "rows" if self._overlay is None else "carriers"
            if kind != self._batch_of:
                batch.token = {"ids": self._tokens_pointer, "carriers": self._carriers_pointer}.get(kind)
                batch.embd = self._rows_pointer if kind == "rows" else None
                self._batch_of = kind
            p, want_ = self._pos, self._want
            if n == 1:  # a step of a generation: no array is made of its numbers
                low = high = seqs[0]
                last = positions[0]
                self._seq_id[0], p[0], want_[0] = low, last, want[0]
                wanted = [0] if want[0] else []
            else:
                low, high, last = min(seqs), max(seqs), max(positions)
                self._seq_id[:n], p[:n], want_[:n] = seqs, positions, want
                wanted = np.flatnonzero(want_[:n]).tolist()
            if not 0 <= low <= high < self.n_seq:
                raise ContextError(f"sequences are numbered 0 to {self.n_seq - 1}")
            if len(wanted) > self.n_outputs:
                raise ContextError(f"a batch returns at most {self.n_outputs} logits, not {len(wanted)}")
            if self.weights.n_positions and last >= self.weights.n_positions:
                raise ContextError(f"this model knows {self.weights.n_positions} positions, and no more can be made")
            if self._all_outputs:
                want_[:n] = 1
            if self.weights.positions_per_row == 4:  # section-major: time, height, width as for text, then 0
                p[n : 2 * n] = p[2 * n : 3 * n] = p[:n]
                p[3 * n : 4 * n] = 0
            library.clear_log()
            if self._overlay is not None:
                self._overlay.arm(n if tokens is None else 0)
            if self._stops:
                signals.clear_flag()
                with signals.call:
                    rc = api.llama_decode(self.pointer, batch)
            elif self._watch is None:
                rc = api.llama_decode(self.pointer, batch)
            else:
                with signals.deferred():  # it calls Python
                    rc = api.llama_decode(self.pointer, batch)
            if rc == 2:  # in a thread that gets no signals itself
                raise ContextError("the computation was stopped by a signal", "run it again")
            if rc == 1:
                raise ContextError(
                    f"the context of {self.n_ctx} positions is full", "--n-ctx (n_ctx=...) gives it more room"
                )
            if rc:
                raise ContextError(f"llama.cpp could not evaluate a batch of {n}: {library.last_error()} (code {rc})")
            if self._overlay is not None and (why := self._overlay.unwritten()):
                raise ContextError(f"llama.cpp did not take the rows of a batch of {n}: {why}")
            self.evaluated += n
            self.calls += 1
            self._moved = None
            n_bytes = 4 * self.weights.n_vocab  # of one row; llama.cpp writes over its own copy in the next call
            if len(wanted) == 1:
                row = ctypes.string_at(_logits(self.pointer, wanted[0]), n_bytes)
                return np.frombuffer(row, dtype=np.float32).reshape(1, -1)
            out = np.empty((len(wanted), self.weights.n_vocab), dtype=np.float32)
            for target, j in enumerate(wanted):
                ctypes.memmove(out.ctypes.data + n_bytes * target, _logits(self.pointer, j), n_bytes)
            return out

    def _decode_sorted(self, seqs: NDArray[Any], positions: NDArray[Any], want: NDArray[Any]) -> NDArray[np.float32]:
        """The batch in an order that llama.cpp keeps, in several calls where the sequences are of different lengths.

        Its memories for recurrent and sliding-window models take as many positions of each sequence as the shortest has,
        and so read the rows in another order than they lie in.
        """
        ids, lengths = np.unique(seqs, return_counts=True)
        out = np.empty((int(want.sum()), self.weights.n_vocab), dtype=np.float32)
        place = np.cumsum(want) - 1  # of each row's logits
        buffers = (self.rows, *self.beside, self.carriers)
        given = [b[: len(seqs)].copy() for b in buffers]
        groups = np.unique(lengths)
        for length in groups:
            chosen = np.flatnonzero(np.isin(seqs, ids[lengths == length]))
            order = chosen[np.argsort(seqs[chosen], kind="stable")]
            for b, g in zip(buffers, given, strict=True):
                b[: len(order)] = g[order]
            logits = self.decode(seqs[order], positions[order], want[order])
            out[place[order[want[order]]]] = logits
        self._moved = np.argsort(order) if len(groups) == 1 else np.array([], dtype=np.intp)
        return out

    def _apart(self, seqs: Any, positions: Any, want: Any, tokens: Any) -> NDArray[np.float32]:
        """`decode`, one sequence after the other. Nothing is taken back if one of them fails."""
        which = np.asarray(seqs)
        place, positions = np.asarray(want, dtype=np.bool_), np.asarray(positions)
        buffers, n_vocab = (self.rows, *self.beside, self.carriers), self.weights.n_vocab
        given = [b[: len(which)].copy() for b in buffers]
        out = np.empty((len(which), n_vocab), dtype=np.float32)
        hidden: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(which)
        for seq in dict.fromkeys(which.tolist()):
            at = np.flatnonzero(which == seq)
            for b, g in zip(buffers, given, strict=True):
                b[: len(at)] = g[at]
            ids = None if tokens is None else np.asarray(tokens)[at]
            out[at[place[at]]] = self.decode(which[at], positions[at], place[at], ids)
            if self._embeddings:
                for i, j in enumerate(at):
                    hidden[j] = self.hidden(i)
        self._parts = hidden if self._embeddings else None
        return out[place]

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

    @property
    def pointer(self) -> Any:
        """llama.cpp's context, None once it is closed."""
        return self._own.pointer if self._own is not None else None

    @property
    def closed(self) -> bool:
        return self._own is None or self._own.pointer is None
