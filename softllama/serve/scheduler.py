"""The thread that decodes: tickets come in by a bounded queue, first come first served, and get a sequence of a lane.

Everything that a lane does happens in this thread. Knows lanes and tickets. Knows no HTTP and no text.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from softllama.engine.engine import Engine
from softllama.serve import errors
from softllama.serve.lane import Lane
from softllama.serve.settings import Settings
from softllama.serve.tickets import Begun, Ended, Failed, Ticket

log = logging.getLogger("softllama.serve")


class Scheduler:
    """One model's tickets.

    Attributes:
        n_ctx: positions of each sequence.
        finished: tickets that ended, were cancelled or failed.
    """

    def __init__(self, model: Engine, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self.n_ctx = settings.n_ctx or model.n_ctx
        self._lanes: dict[bool, Lane] = {}  # by whether it gives hidden states
        self._waiting: deque[Ticket] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._deadline: float | None = None
        self.finished = 0
        if not model.diffusion:  # it can only be probed
            self._lane(False)
        self._thread = threading.Thread(target=self._run, name="softllama-decode", daemon=True)
        self._thread.start()

    # ---- called by any thread

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Take in tickets, all or none.

        Raises:
            ApiError: the queue is full, the server stops, or a prompt is too long.
        """
        for t in tickets:
            if len(t.items) > self.n_ctx:
                raise errors.too_long(len(t.items), self.n_ctx)
        tickets, done = [t for t in tickets if not t.generation.done], [t for t in tickets if t.generation.done]
        with self._wake:
            if self._stopping:
                raise errors.unavailable("the server is stopping", "stopping")
            free = max(0, self._settings.streams - self.running)
            if len(self._waiting) + len(tickets) > self._settings.queue + free:
                raise errors.queue_full(len(self._waiting), 1 + len(self._waiting) // self._settings.streams)
            self._waiting.extend(tickets)
            self._wake.notify()
        for t in done:  # nothing is to be generated
            t.add(Begun(0))
            t.add(Ended())
            t.flush()

    def drain(self, seconds: float) -> None:
        """Take no more tickets, and end those that still run after so many seconds."""
        with self._wake:
            self._stopping = True
            self._deadline = time.monotonic() + seconds
            self._wake.notify()

    def stop(self) -> None:
        """End everything, and wait for the thread."""
        self.drain(0)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Tickets that wait for a sequence."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Tickets that have a sequence."""
        return sum(len(lane.live) for lane in [*self._lanes.values()])

    def counts(self) -> dict[str, int]:
        """What the lanes have evaluated: prompted, reused and stepped positions."""
        names = ("prompted", "reused", "stepped")
        return {name: sum(getattr(lane, name) for lane in [*self._lanes.values()]) for name in names}

    # ---- the thread

    def _run(self) -> None:
        while self._ready():
            self._admit()
            for lane in self._lanes.values():
                before = len(lane.live)
                if before:
                    try:
                        lane.round()
                    except Exception as e:
                        log.error("a round failed", exc_info=e)
                        lane.fail(e)
                    self.finished += before - len(lane.live)
        self._end_all()
        for lane in self._lanes.values():
            lane.close()

    def _ready(self) -> bool:
        """Wait for something to do. False where everything is to end."""
        with self._wake:
            while not self._waiting and not self.running and not self._stopping:
                self._wake.wait()
            if not self._stopping:
                return True
            late = self._deadline is not None and time.monotonic() >= self._deadline
            return not late and bool(self._waiting or self.running)

    def _admit(self) -> None:
        """Give sequences to those who wait, in their order."""
        while True:
            with self._wake:
                while self._waiting and self._waiting[0].cancelled:
                    self._waiting.popleft()
                    self.finished += 1
                if not self._waiting:
                    return
                ticket = self._waiting[0]
            try:
                lane = self._lane(ticket.generation.policy.needs_hidden)
                if not lane.has_room:
                    return
            except Exception as e:  # no memory for a second context
                self._refuse(ticket, e)
            else:
                lane.enter(ticket)
            with self._wake:
                self._waiting.popleft()

    def _lane(self, hidden: bool) -> Lane:
        if hidden not in self._lanes:
            streams, fixed = self._settings.streams, self._settings.fixed_batch
            self._lanes[hidden] = Lane(self._model, streams, self.n_ctx, hidden=hidden, fixed=fixed)
        return self._lanes[hidden]

    def _refuse(self, ticket: Ticket, error: Exception) -> None:
        ticket.add(Failed(error))
        ticket.flush()
        self.finished += 1

    def _end_all(self) -> None:
        stopping = errors.unavailable("the server is stopping", "stopping")
        for lane in self._lanes.values():
            self.finished += len(lane.live)
            lane.fail(stopping)
        while self._waiting:
            self._refuse(self._waiting.popleft(), stopping)
