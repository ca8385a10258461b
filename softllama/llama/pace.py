"""With how many threads llama.cpp computes while other programs keep the machine busy.

llama.cpp's threads wait for each other by spinning. Where another program takes the processor of one, the others spin until it
comes back, and two threads may be ten times slower than one. A quota that is known beforehand is not the matter here
(base.control_groups). So the calls are watched: where threads get much less of the processors than they ask for, and are
interrupted, fewer are tried for a few calls, and kept if they are faster. Later the first number is tried again.

Knows measured times. Calls nothing of llama.cpp, and does not know what is computed.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from softllama.base import system

CALLS, SECONDS = 4, 0.5  # of one shape that are looked at together, at least; or
SLOW_CALLS, SLOW_SECONDS = 2, 2.0
SHARE = 0.7  # of the threads' time that they should get; on a machine of one's own it is 0.9 and more
TRIED = 3  # calls with another number of threads, before the two are compared
FASTER = 0.8  # of the time before: what a number of threads that is kept takes, at most
DOWN, UP, LONGEST = (
    5.0,
    30.0,
    600.0,
)  # seconds of computing after a trial until the next; twice as long each time it fails

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Calls:
    """Calls of one shape, with one number of threads: how long they took together.

    Attributes:
        shape: positions that each evaluates.
        wall, cpu: seconds on the clock, and of all processors for this process.
        switches: how often a thread was interrupted while it could have gone on.
    """

    shape: int
    n_threads: int
    n: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    switches: int = 0

    @property
    def mean(self) -> float:
        """Seconds a call."""
        return self.wall / self.n

    @property
    def crowded(self) -> bool:
        """Do other programs take the processors that the threads would use?"""
        return self.cpu < SHARE * self.wall * self.n_threads and self.switches >= self.n


class Pace:
    """The number of threads for the next call of a model. Contexts share it, from any thread.

    Attributes:
        most: the number that the model begins with.
        n_threads: that of the next call.
        used: all numbers that calls were made with.
    """

    def __init__(self, most: int) -> None:
        self.most = self.n_threads = most
        self.used: set[int] = set()
        self._lock = threading.Lock()
        self._calls: Calls | None = None  # those that are looked at now
        self._before: Calls | None = None  # those with another number of threads, while one is tried
        self._since = 0.0  # seconds of computing after the last trial
        self._pause = {"down": 0.0, "up": UP}
        self._told = False

    def start(self) -> tuple[int, float, float, int]:
        """Marks the beginning of a call, for `stop`. The first number is that of its threads."""
        return self.n_threads, time.perf_counter(), *system.work()

    def stop(self, shape: int, mark: tuple[int, float, float, int]) -> None:
        """A call is done. shape: the positions that it evaluated."""
        n_threads, wall, cpu, switches = mark
        cpu_now, switches_now = system.work()
        self.after(shape, n_threads, time.perf_counter() - wall, cpu_now - cpu, switches_now - switches)

    def after(self, shape: int, n_threads: int, wall: float, cpu: float, switches: int) -> None:
        """Take in a call that is done, and decide the number of threads for the next.

        Args:
            shape: positions that it evaluated.
            n_threads: those that it was made with.
            wall, cpu, switches: see `Calls`.
        """
        with self._lock:
            self.used.add(n_threads)
            self._since += wall
            if n_threads != self.n_threads:  # of another context, from before
                return
            c = self._calls
            if c is None or c.shape != shape:
                if self._before is not None and self._before.shape != shape:
                    self._end(kept=False)  # they cannot be compared
                    return
                c = self._calls = Calls(shape, n_threads)
            c.n, c.wall, c.cpu, c.switches = c.n + 1, c.wall + wall, c.cpu + cpu, c.switches + switches
            if self._before is None:
                self._watch(c)
            else:
                self._compare(c, self._before)

    def _watch(self, c: Calls) -> None:
        if not ((c.n >= CALLS and c.wall >= SECONDS) or (c.n >= SLOW_CALLS and c.wall >= SLOW_SECONDS)):
            return
        if c.n_threads < self.most and self._since >= self._pause["up"]:
            self._before, self.n_threads = c, self.most
        elif c.n_threads > 1 and c.crowded and self._since >= self._pause["down"]:
            self._before, self.n_threads = c, max(1, c.n_threads // 2)
        self._calls = None

    def _compare(self, c: Calls, before: Calls) -> None:
        if c.wall > 2 * TRIED * before.mean:  # it is not worth the other calls
            self._end(kept=False)
        elif c.n >= TRIED:
            kept = c.mean < FASTER * before.mean
            if kept and c.n_threads < before.n_threads and not self._told:
                self._told = True
                logger.warning(
                    "the machine is busy: %d threads take %.0f ms where %d take%s %.0f, so it goes on with %d; later digits of the "
                    "numbers may differ (--n-threads N keeps to N threads)",
                    before.n_threads, 1e3 * before.mean, c.n_threads, "s"[: c.n_threads == 1], 1e3 * c.mean, c.n_threads,
                )  # fmt: skip
            self._end(kept=kept)

    def _end(self, *, kept: bool) -> None:
        """The trial is over. kept: does the number of threads that was tried stay?"""
        assert self._before is not None
        way = "up" if self.n_threads > self._before.n_threads else "down"
        if kept:
            self._pause = {"down": 0.0, "up": UP}
        else:
            self.n_threads = self._before.n_threads
            self._pause[way] = min(LONGEST, max(DOWN, 2 * self._pause[way]))
        self._before = self._calls = None
        self._since = 0.0
