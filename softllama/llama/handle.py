"""What llama.cpp holds for us: freed once, and never while somebody reads its memory in place.

Knows pointers and the functions that free them. Does not know models and contexts.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from softllama.base import signals


class Borrower(Protocol):
    """What reads llama.cpp's memory in place, until it is told to keep what it needs of it."""

    def _keep(self) -> None: ...


class Handle:
    """A model or context of llama.cpp's, freed once: by `free`, with its owner, or when Python ends.

    Args:
        pointer: llama.cpp's. The attribute is None once it is freed.
        release: llama.cpp's function that frees it.
        lock: held while the pointer is used.
        keeps: what must not be freed before.
        registry: the handles of this kind that are not freed yet; this one adds itself.
    """

    def __init__(
        self,
        pointer: Any,
        release: Callable[[Any], object],
        lock: Any,
        keeps: object = None,
        registry: set[Handle] | None = None,
    ) -> None:
        self.pointer = pointer
        self._release, self._lock, self._keeps = release, lock, keeps
        self._registry = set() if registry is None else registry
        self._registry.add(self)
        self._lent: list[weakref.ref[Borrower]] = []

    def lend(self, borrower: Borrower) -> None:
        """Memory of llama.cpp's is read in place by this, until `recall`."""
        self._lent.append(weakref.ref(borrower))

    def recall(self) -> None:
        """The memory will change: those that still read it, keep a copy."""
        for ref in self._lent:
            if (borrower := ref()) is not None:
                borrower._keep()
        self._lent.clear()

    def free(self) -> None:
        """Free it. Safe to call twice.

        Not done in a forked child, where llama.cpp's threads are gone and may hold locks, nor when Python ends while a thread
        goes on computing: the memory goes with the process then.
        """
        if signals.forked() or not self._lock.acquire(timeout=60):
            return
        try:
            self.recall()
            pointer, self.pointer = self.pointer, None
            if pointer is not None:
                with signals.deferred():  # llama.cpp's log calls Python, where an interrupt would be lost
                    self._release(pointer)
            self._keeps = None
            self._registry.discard(self)
        finally:
            self._lock.release()
