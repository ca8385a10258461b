"""A function of ours in a child process, so that what ends the process inside llama.cpp ends only the child.

The child prints nothing: what it sends comes through a pipe, and what llama.cpp writes to stderr is kept for its last line.
It ends with its parent, leaves Ctrl-C to it, and is what the system ends first when memory runs out. Knows processes and
pipes. Does not know models, nor what the function does.
"""

from __future__ import annotations

import collections
import contextlib
import importlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from softllama import errors
from softllama.base import system
from softllama.base.text import size
from softllama.errors import SoftLlamaError

Send = Callable[[dict[str, Any]], None]
TICK = 0.25  # seconds between two looks at time and memory
KINDS = {
    "SIGABRT": "llama.cpp ended the process ({})",
    "SIGSEGV": "llama.cpp crashed: it read memory that is not its own ({})",
    "SIGBUS": "llama.cpp crashed: what it read is not in the file ({})",
    "SIGFPE": "llama.cpp crashed: it divided by zero ({})",
    "SIGILL": "llama.cpp crashed: it was built for another processor ({})",
    "SIGTRAP": "llama.cpp ended the process ({})",
    "SIGKILL": "the process was killed ({}), as happens when memory runs out",
}
# The folder that a program was started in must not decide which json is imported
_START = """import sys
sys.path = [p for p in sys.path if p]
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import json
request = json.loads(sys.stdin.readline())
sys.path[:] = request["path"]
from softllama.base import child
child.serve(request)
"""


class DiedError(Exception):
    """The child did not come to its end.

    Attributes:
        reason: a clause that says what happened.
        last_line: the line it wrote to stderr that explains the most; "" for none.
        at_work: the function ended it. False: the child could not be started, or the function raised an unknown error.
    """

    def __init__(self, reason: str, last_line: str = "", *, at_work: bool = True) -> None:
        super().__init__(f"{reason}: {last_line}" if last_line else reason)
        self.reason, self.last_line, self.at_work = reason, last_line, at_work


def possible() -> bool:
    """Is there a Python to start? A program that has Python built in, or is frozen, would start itself again."""
    name = Path(sys.executable or "").name.lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


def messages(
    function: str,
    arguments: dict[str, Any],
    *,
    seconds: float,
    memory: int | None = None,
    stop: threading.Event | None = None,
) -> Generator[dict[str, Any]]:
    """What a function sends when it is called as function(send, **arguments) in a child process.

    The child is gone when this ends, however it ends.

    Args:
        function: "module:name".
        arguments: ready for JSON.
        seconds: how long the child may be silent.
        memory: bytes that it may have for itself, without the files that it maps; None for no limit. Only Linux reports it.
        stop: once it is set, the child is ended.

    Yields:
        Each record that the function sent.

    Raises:
        SoftLlamaError: the one that the function raised.
        DiedError: the child did not come to its end.
    """
    process: subprocess.Popen[bytes] | None = None
    readers: list[threading.Thread] = []
    try:
        try:
            with _deferred():  # or an interrupt here would leave a child that nobody knows
                process = subprocess.Popen(
                    [sys.executable, *_flags(), "-c", _START],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    env={**os.environ, "GGML_NO_BACKTRACE": "1"},
                )
        except OSError as e:
            raise DiedError(f"{sys.executable} cannot be started: {e.strerror}", at_work=False) from None
        request = {"path": [str(p) for p in sys.path], "call": function, "with": arguments, "parent": os.getpid()}
        yield from _listen(process, request, seconds, memory, readers, stop)
    finally:
        if process is not None:
            process.kill()
            process.wait()
            for reader in readers:
                reader.join(5)  # or the next file might get the number of the pipe that it reads
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None and not any(r.is_alive() for r in readers):
                    with contextlib.suppress(OSError):
                        pipe.close()


class Background:
    """`messages` while the caller does something else. Iterating waits for them, and raises what `messages` would.

    A context manager; leaving it ends the child.
    """

    def __init__(self, function: str, arguments: dict[str, Any], *, seconds: float, memory: int | None = None) -> None:
        self._stop = threading.Event()
        self._queue: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
        self._records = messages(function, arguments, seconds=seconds, memory=memory, stop=self._stop)
        self._thread = threading.Thread(target=self._listen, name="softllama child", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            with contextlib.closing(self._records) as records:
                for record in records:
                    self._queue.put(record)
            self._queue.put(None)
        except BaseException as e:  # the one that iterates raises it
            self._queue.put(e)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (record := self._queue.get()) is not None:
            if isinstance(record, BaseException):
                raise record
            yield record

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self._stop.set()
        self._thread.join()


def _deferred() -> contextlib.AbstractContextManager[object]:
    """signals.deferred, if the C module can be loaded; a child reports it if it cannot."""
    try:
        from softllama.base import signals
    except ImportError:
        return contextlib.nullcontext()
    return signals.deferred()


def _flags() -> list[str]:
    """The options of this interpreter that decide what it can import."""
    f = sys.flags
    flags = {"-I": f.isolated, "-E": f.ignore_environment, "-s": f.no_user_site, "-S": f.no_site}
    return [name for name, on in flags.items() if on]


def _listen(
    process: subprocess.Popen[bytes],
    request: dict[str, Any],
    seconds: float,
    memory: int | None,
    readers: list[threading.Thread],
    stop: threading.Event | None,
) -> Iterator[dict[str, Any]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
    stderr_lines: collections.deque[str] = collections.deque(maxlen=50)
    texts = {"out": b"", "err": b""}
    started, until = False, time.monotonic() + seconds
    arrived: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    for pipe, name in ((process.stdout, "out"), (process.stderr, "err")):  # threads: Windows cannot wait for two
        readers.append(threading.Thread(target=_read, args=(pipe.fileno(), name, arrived), daemon=True))
        readers[-1].start()
    n_open = len(readers)
    while n_open:
        try:
            name, data = arrived.get(timeout=TICK)
            n_open -= not data
        except queue.Empty:
            name, data = "out", b""
        *lines, texts[name] = (texts[name] + data).split(b"\n")
        if name == "err":
            stderr_lines.extend(text for line in lines if (text := line.decode("utf-8", "replace").strip()))
            lines = []
        for line in lines:
            record = json.loads(line)
            until = time.monotonic() + seconds
            state = record.get("child")
            if state is None:
                yield record
                until = time.monotonic() + seconds
            elif state == "started":
                started = True
            elif state == "error":
                raise getattr(errors, record["type"], SoftLlamaError)(record["message"], record["hint"])
            elif state == "failed":
                raise DiedError(record["text"], at_work=False)
            else:
                return
        if stop is not None and stop.is_set():
            return
        if time.monotonic() > until:
            raise DiedError(f"llama.cpp did not come to an end in {seconds:,.0f} s", _last(stderr_lines))
        if memory is not None and (used := own_memory(process.pid)) > memory:
            raise DiedError(f"llama.cpp took {size(used)} of memory, more than the file can need", _last(stderr_lines))
    code = process.wait()
    if tail := texts["err"].decode("utf-8", "replace").strip():
        stderr_lines.append(tail)
    signal, how = system.end_of(code)
    if not started:
        raise DiedError(f"the child process could not begin ({how})", _last(stderr_lines), at_work=False)
    raise DiedError(KINDS.get(signal, "llama.cpp ended the process ({})").format(how), _last(stderr_lines))


def _read(fd: int, name: str, arrived: queue.SimpleQueue[tuple[str, bytes]]) -> None:
    """Hand over what comes through a pipe, and b"" at its end."""
    data = b" "
    while data:
        try:
            data = os.read(fd, 1 << 16)
        except OSError:
            data = b""
        arrived.put((name, data))


def _last(lines: collections.deque[str]) -> str:
    """The line that explains the most: an assertion if there is one, else the last. Without the folder of its build."""
    line = next((s for s in reversed(lines) if "GGML_ASSERT" in s or "GGML_ABORT" in s), lines[-1] if lines else "")
    return re.sub(r"^/\S*/([^/\s:]+:\d+: )", r"\1", line)[:300]


def own_memory(pid: int | str = "self") -> int:
    """Bytes in memory that are a process's own and no file's; 0 if the system does not report it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


# ---- in the child ----------------------------------------------------------------------------------------------------


def serve(request: dict[str, Any]) -> None:
    """Call the function of a request and end the process. Only _START calls this."""
    out = os.dup(1)
    os.dup2(2, 1)  # nothing that is printed gets between the messages
    threading.Thread(target=_end_with_parent, args=(request["parent"],), daemon=True).start()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    system.no_core_file()  # a crash is an answer here

    def send(record: dict[str, Any]) -> None:
        data = json.dumps(record).encode() + b"\n"
        while data:
            data = data[os.write(out, data) :]

    try:
        send({"child": "started"})
        module, _, name = request["call"].partition(":")
        getattr(importlib.import_module(module), name)(send, **request["with"])
        send({"child": "done"})
    except SoftLlamaError as e:
        send({"child": "error", "type": type(e).__name__, "message": e.message, "hint": e.hint})
    except BaseException as e:
        send({"child": "failed", "text": f"{type(e).__name__}: {e}"})
    os._exit(0)


def _end_with_parent(parent: int) -> None:
    system.wait_for(parent)
    os._exit(1)
