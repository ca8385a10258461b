"""The sequences in a context's memory: taking, copying, cutting, keeping them. Evaluates nothing.

Everything that could make llama.cpp abort is checked here or in context.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from typing import Any

from softllama.base import signals
from softllama.errors import ContextError
from softllama.llama.bindings import api
from softllama.llama.handle import Handle
from softllama.llama.weights import FORKED, HOW_TO_FORK, Weights


class Sequences:
    """What a context can do with the sequences that it holds. Each call takes the context's lock."""

    weights: Weights
    lock: threading.RLock
    memory: Any  # llama.cpp's
    _own: Handle | None
    _free: list[int]

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
    def locked(self) -> Iterator[None]:
        """The lock, for several calls that belong together.

        Raises:
            ContextError: nothing can be done with this context any more.
        """
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

    @property
    def pointer(self) -> Any:
        """llama.cpp's context, None once it is closed."""
        return self._own.pointer if self._own is not None else None

    @property
    def closed(self) -> bool:
        return self._own is None or self._own.pointer is None
