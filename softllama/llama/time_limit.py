"""A time limit for Python code that came from somewhere else. Knows threads. Does not know what runs in them."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator


class TimeLimit(Exception):
    """The block took too long. It may be raised between any two instructions of the block."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in this block when its time is over. Works in every thread; a single call of C is not cut short."""
    thread, lock, over, raised = threading.get_ident(), threading.Lock(), False, False

    def end() -> None:
        nonlocal raised
        with lock:
            if not over:
                raised = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeLimit))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    arrived = False
    try:
        yield
    except TimeLimit:
        arrived = True
        raise
    finally:
        with lock:
            over = True
        timer.cancel()
        if raised and not arrived:  # it is on its way. Taking it back would make Python 3.11 hang under a profiler
            with contextlib.suppress(TimeLimit):
                for _ in range(1000):
                    time.sleep(0)
