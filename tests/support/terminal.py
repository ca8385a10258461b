"""A command of softllama at a pseudo-terminal: keys go in, and what appears is waited for."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from typing import Any

LAUNCH = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A command at a pseudo-terminal: send() keys, expect() what is to appear."""

    def __init__(self, *arguments: Any, columns: int = 80, env: dict[str, str] | None = None) -> None:
        self.fd, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        command = [sys.executable, "-m", "softllama", *map(str, arguments)]
        # pytest imports readline, which sets COLUMNS for the processes that pytest-xdist starts
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *command],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**inherited, "TERM": "xterm", "PYTHONUNBUFFERED": "1", **(env or {})},
        )  # fmt: skip
        os.close(slave)
        self.seen = ""
        self._new = 0

    def send(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def expect(self, text: str, seconds: float = 60) -> str:
        """Wait for a text that was not expected before; returns all that came up to its end."""
        end = time.monotonic() + seconds
        while text not in self.seen[self._new :]:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"{text!r} did not appear; there was {self.seen[self._new :]!r}")
        at = self.seen.index(text, self._new) + len(text)
        before, self._new = self.seen[self._new : at], at
        return before

    def prompt(self) -> str:
        """Wait until the next line can be typed. Python's readline misses a Ctrl-C just after it shows the prompt."""
        before = self.expect("> ")
        time.sleep(0.3)
        return before

    def end(self, seconds: float = 60) -> int:
        """Wait for the end; returns the exit code."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        return self.process.wait(max(1, end - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO is how Linux says that the other side is gone
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)

    @property
    def plain(self) -> str:
        """All that appeared, without the sequences for colours and the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen)
