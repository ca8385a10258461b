"""The thread that decodes: jobs come in by a bounded queue, first come first served, and get a sequence of a batch.

Everything that a batch does happens in this thread. Knows batches and jobs. Knows no HTTP and no text.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from softllama.engine.engine import Engine
from softllama.serve import errors
from softllama.serve.batching import ContinuousBatch
from softllama.serve.jobs import Begun, Ended, Failed, Job
from softllama.serve.settings import Settings

log = logging.getLogger("softllama.serve")


class Scheduler:
    """One model's jobs.

    Attributes:
        n_ctx: positions of each sequence.
        finished: jobs that ended, were cancelled or failed.
    """

    def __init__(self, model: Engine, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self.n_ctx = settings.n_ctx or model.n_ctx
        self._batches: dict[bool, ContinuousBatch] = {}  # by whether it gives hidden states
        self._waiting: deque[Job] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._deadline: float | None = None
        self.finished = 0
        if not model.diffusion:  # it can only be probed
            self._batch(False)
        self._thread = threading.Thread(target=self._run, name="softllama-decode", daemon=True)
        self._thread.start()

    # ---- called by any thread

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take in jobs, all or none.

        Raises:
            ApiError: the queue is full, the server stops, or a prompt is too long.
        """
        for t in jobs:
            if len(t.items) > self.n_ctx:
                raise errors.too_long(len(t.items), self.n_ctx)
        jobs, done = [t for t in jobs if not t.generation.done], [t for t in jobs if t.generation.done]
        with self._wake:
            if self._stopping:
                raise errors.unavailable("the server is stopping", "stopping")
            free = max(0, self._settings.streams - self.running)
            if len(self._waiting) + len(jobs) > self._settings.queue + free:
                raise errors.queue_full(len(self._waiting), 1 + len(self._waiting) // self._settings.streams)
            self._waiting.extend(jobs)
            self._wake.notify()
        for t in done:  # nothing is to be generated
            t.add(Begun(0))
            t.add(Ended())
            t.flush()

    def drain(self, seconds: float) -> None:
        """Take no more jobs, and end those that still run after so many seconds."""
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
        """Jobs that wait for a sequence."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs that have a sequence."""
        return sum(len(batch.live) for batch in [*self._batches.values()])

    def counts(self) -> dict[str, int]:
        """What the batches have evaluated: prompted, reused and stepped positions."""
        names = ("prompted", "reused", "stepped")
        return {name: sum(getattr(batch, name) for batch in [*self._batches.values()]) for name in names}

    # ---- the thread

    def _run(self) -> None:
        while self._ready():
            self._admit()
            for batch in self._batches.values():
                before = len(batch.live)
                if before:
                    try:
                        batch.round()
                    except Exception as e:
                        log.error("a round failed", exc_info=e)
                        batch.fail(e)
                    self.finished += before - len(batch.live)
        self._end_all()
        for batch in self._batches.values():
            batch.close()

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
                job = self._waiting[0]
            try:
                batch = self._batch(job.generation.policy.needs_hidden)
                if not batch.has_room:
                    return
            except Exception as e:  # no memory for a second context
                self._refuse(job, e)
            else:
                batch.enter(job)
            with self._wake:
                self._waiting.popleft()

    def _batch(self, hidden: bool) -> ContinuousBatch:
        if hidden not in self._batches:
            streams, fixed = self._settings.streams, self._settings.fixed_batch
            self._batches[hidden] = ContinuousBatch(self._model, streams, self.n_ctx, hidden=hidden, fixed=fixed)
        return self._batches[hidden]

    def _refuse(self, job: Job, error: Exception) -> None:
        job.add(Failed(error))
        job.flush()
        self.finished += 1

    def _end_all(self) -> None:
        stopping = errors.unavailable("the server is stopping", "stopping")
        for batch in self._batches.values():
            self.finished += len(batch.live)
            batch.fail(stopping)
        while self._waiting:
            self._refuse(self._waiting.popleft(), stopping)
