"""What the routes share: the model once it is loaded, its scheduler, names of models, and the numbers of /metrics.

Calls that evaluate in contexts of their own (probes, scores, the lens) run in worker threads, one at a time, and only so many
may wait. Knows no routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from softllama import policy
from softllama._version import __version__
from softllama.api import Model
from softllama.engine.engine import Item
from softllama.generation.state import Generation
from softllama.llama import bindings
from softllama.serve import errors
from softllama.serve.errors import ApiError
from softllama.serve.jobs import Ended, Event, Failed, Job
from softllama.serve.scheduler import Scheduler
from softllama.serve.settings import Settings

T = TypeVar("T")


class State:
    """A server's state. `model` and `scheduler` are there once the model is loaded.

    Attributes:
        error: why the model could not be loaded.
        created: when the server started, in seconds since 1970.
    """

    def __init__(self, source: Model | Callable[[], Model], settings: Settings) -> None:
        self.settings = settings
        self.created = int(time.time())
        self.error: BaseException | None = None
        self._source, self._model = source, source if isinstance(source, Model) else None
        self._scheduler: Scheduler | None = None
        self._one = asyncio.Semaphore(1)
        self._calls = 0
        self._stopping = False
        self.loaded = threading.Event()

    def start(self) -> None:
        """Load the model, if that is still to be done, and start the scheduler. Blocks."""
        try:
            if self._model is None:
                assert not isinstance(self._source, Model)
                self._model = self._source()
            self._scheduler = Scheduler(self._model, self.settings)
        except BaseException as e:
            self.error = e
            raise
        finally:
            self.loaded.set()

    def stop(self) -> None:
        """End what runs. Blocks until it has ended."""
        self._stopping = True
        if self._scheduler is not None:
            self._scheduler.stop()

    def drain(self, seconds: float) -> None:
        """Take nothing new, and end what runs after so many seconds."""
        self._stopping = True
        if self._scheduler is not None:
            self._scheduler.drain(seconds)

    @property
    def model(self) -> Model:
        """The model. Raises ApiError while it is being loaded."""
        self._ready()
        assert self._model is not None
        return self._model

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler. Raises ApiError while the model is being loaded."""
        self._ready()
        assert self._scheduler is not None
        return self._scheduler

    def _ready(self) -> None:
        if self.error is not None:
            raise errors.unavailable(f"the model could not be loaded: {self.error}", "model_error")
        if self._scheduler is None:
            raise errors.unavailable("the model is being loaded", "loading")

    # ---- names

    def policy_of(self, name: str | None) -> str | None:
        """The policy that a model's name asks for: NAME@POLICY; None without one.

        Raises:
            ApiError: the name is another model's.
        """
        if not name or name == self.model.name:
            return None
        base, at, text = name.rpartition("@")
        if at and base == self.model.name:
            try:
                policy.parse(text)
                return text
            except Exception as e:
                raise self._unknown(name, getattr(e, "message", str(e))) from None
        raise self._unknown(name)

    def _unknown(self, name: str, why: str = "") -> ApiError:
        message = f"The model '{name[:200]}' does not exist{': ' + why if why else ''}; there is '{self.model.name}'"
        return ApiError(404, message, param="model", code="model_not_found")

    @property
    def names(self) -> list[str]:
        """The model's name, and one for each policy."""
        return [self.model.name, *(f"{self.model.name}@{p}" for p in policy.names())]

    @property
    def fingerprint(self) -> str:
        """What the same seed gives the same answer with: versions, file, adapters, llama.cpp's options, and shape of batches."""
        m, s = self.model, self.settings
        how = sorted(m.runtime.chosen().items())
        adapters = [(Path(path).name, scale) for path, scale in m.lora]
        parts = (__version__, bindings.build(), m.name, str(m.file_bytes), adapters, how, s.streams, s.fixed_batch)
        return "sl_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:10]

    # ---- work

    async def call(self, work: Callable[[], T]) -> T:
        """Run something that evaluates in a context of its own, after those that came before.

        Raises:
            ApiError: too many wait.
        """
        if self._stopping:
            raise errors.unavailable("the server is stopping", "stopping")
        if self._calls > self.settings.queue:
            raise errors.queue_full(self._calls, 1 + self._calls)
        self._calls += 1
        try:
            async with self._one:
                doing = asyncio.ensure_future(run_in_threadpool(work))
                try:
                    return await asyncio.shield(doing)
                finally:  # a thread cannot be stopped, so the next waits for it, though nobody may wait for its result
                    await asyncio.wait({doing})
                    doing.exception()
        finally:
            self._calls -= 1


class Run:
    """A choice that the scheduler runs, and its events as they come to this event loop."""

    def __init__(self, g: Generation, *, items: Sequence[Item] = (), n_top: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Sequence[Event]] = asyncio.Queue()

        def tell(events: Sequence[Event]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits
                loop.call_soon_threadsafe(self._queue.put_nowait, events)

        self.job = Job(g, tell, items=tuple(items), n_top=n_top)

    async def rounds(self) -> AsyncIterator[Sequence[Event]]:
        """The events of each round, up to the last.

        Raises:
            Exception: why the generation failed.
        """
        while True:
            events = list(await self._queue.get())
            while not self._queue.empty():
                events += self._queue.get_nowait()
            last = events[-1]
            if isinstance(last, Failed):
                raise last.error
            yield events
            if isinstance(last, Ended):
                return
