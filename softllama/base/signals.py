"""Signals and forks: what may interrupt a run, and when. Knows the process. Does not know models.

Python raises KeyboardInterrupt between two of its own instructions. That is wrong in two places: in a function that C
calls back, where it is printed and lost, and in a call of C that takes long, where it waits. The command line therefore
asks for more than the library does: `flag_interrupts` lets llama.cpp end a batch early, and `say_on_bus_error` turns
what happens when a mapped file is cut short into an error message.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from softllama._shim import ffi, lib

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_flagged = False  # was `flag_interrupts` called?
_terminated = False
_busy = False  # has this process computed with llama.cpp?
_forked = False  # was it forked from one that had?


# ---- forks


def _after_fork() -> None:
    global _forked
    _forked = True


def computing() -> None:
    """From now on a fork of this process has a llama.cpp whose threads are gone."""
    global _busy
    if not _busy and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
    _busy = True


def forked() -> bool:
    """Was this process forked from one that had used llama.cpp? Its next computation would wait for ever."""
    return _forked


# ---- interrupts


class _Call:
    """A call of C in which no interrupt is raised, but after it. Used after `flag_interrupts`."""

    def __init__(self) -> None:
        self.depth = 0  # of the main thread, which alone gets signals
        self.came: list[int] = []

    def __enter__(self) -> None:
        self.depth += threading.current_thread() is threading.main_thread()

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            self.depth -= 1
            if self.came and not self.depth:
                self.raised(self.came[0])

    def raised(self, number: int) -> NoReturn:
        global _terminated
        self.came.clear()
        _terminated = _terminated or number == signal.SIGTERM
        raise KeyboardInterrupt

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Python's handler of the signal."""
        if self.depth:
            self.came.append(number)
        else:
            self.raised(number)


call = _Call()


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Ctrl-C in the block is raised at its end, for calls of C that call Python. Gives a function: has one arrived?"""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals are the main thread's
        return
    if _flagged:
        with call:
            yield lambda: bool(call.came)
        return
    came: list[tuple[int, FrameType | None]] = []
    old: dict[int, Any] = {s: h for s in SIGNALS if callable(h := signal.getsignal(s))}
    for s in old:
        signal.signal(s, lambda number, frame: came.append((number, frame)))
    try:
        yield lambda: bool(came)
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
        if came:
            old[came[0][0]](*came[0])


def flag_interrupts() -> None:
    """Let Ctrl-C end llama.cpp's computation within a batch: for a process that will end then, as a command does."""
    global _flagged
    if threading.current_thread() is threading.main_thread():
        _flagged = True
        _take(signal.SIGINT)


def take_sigterm() -> None:
    """SIGTERM is like Ctrl-C, but for the exit code: for commands that have something to save."""
    if threading.current_thread() is threading.main_thread():
        _take(signal.SIGTERM)


def _take(number: int) -> None:
    signal.signal(number, call.handle)
    lib.faults_flag_on(number)


def flag_address() -> int:
    """The address of llama.cpp's abort callback, which returns whether the flag is up; 0 without `flag_interrupts`."""
    return int(ffi.cast("intptr_t", ffi.addressof(lib, "faults_flag"))) if _flagged else 0


def clear_flag() -> None:
    """Lower the flag, before a computation."""
    lib.faults_clear()


def exit_code() -> int:
    """Of a command that was interrupted: 143 by SIGTERM, 130 otherwise."""
    return 128 + (signal.SIGTERM if _terminated else signal.SIGINT)


def say_on_bus_error(message: str) -> None:
    """End with this on stderr and exit code 1 when a mapped file turns out to be shorter than it was."""
    data = message.encode()
    lib.faults_say_on_bus_error(data, len(data))
