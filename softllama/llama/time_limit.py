"""A time limit for Python code that came from somewhere else. Knows threads. Does not know what runs in them."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator


class TimeLimit(Exception):
    """The block took too long. It may be raised between any two instructions of the block."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in this block when its time is over. Works in every thread; a single call of C is not cut short."""
    thread, lock, over = threading.get_ident(), threading.Lock(), False

    def end() -> None:
        with lock:
            if not over:
                _raise_in(thread, ctypes.py_object(TimeLimit))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over = True
            _raise_in(thread, None)  # where it was raised, but has not arrived
        timer.cancel()


def _raise_in(thread: int, what: ctypes.py_object[type[TimeLimit]] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
