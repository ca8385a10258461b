"""What tests/base/test_child.py and others call in child processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

Send = Callable[[dict[str, Any]], None]


def count(send: Send, to: int) -> None:
    for i in range(to):
        send({"i": i, "text": "犬\n" * i})


def noise(send: Send) -> None:
    """Prints on both streams, more than a pipe holds."""
    for _ in range(3000):
        print("x" * 100, flush=True)
        os.write(2, b"y" * 100 + b"\n")
    send({"pid": os.getpid()})


def die(send: Send, number: int, text: str) -> None:
    send({"before": True})
    os.write(2, text.encode())
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(os.getpid(), number)


def sleep(send: Send) -> None:
    send({"pid": os.getpid()})
    time.sleep(600)


def leave(send: Send, code: int) -> None:
    os._exit(code)


def grow(send: Send, n_bytes: int) -> None:
    kept = bytearray(os.urandom(1)) * n_bytes
    time.sleep(600)
    send({"kept": len(kept)})


def refuse(send: Send) -> None:
    from softllama.errors import ContextError

    raise ContextError("no room", "make some")


def fail(send: Send) -> None:
    raise ValueError("as planned")
