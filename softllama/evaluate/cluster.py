"""Workers of a Dask cluster, as an executor. The only module that imports distributed.

Knows how to reach a scheduler, and who is there. Does not know what the workers do.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator

from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate.workers import Workers

PATIENCE = 60.0  # seconds without any worker, after which the work ends
CONNECT = 10.0  # seconds to reach the scheduler


@contextlib.contextmanager
def workers(address: str, say: Callable[[str], None]) -> Iterator[Workers]:
    """The workers of the scheduler at an address such as "tcp://host:8786".

    Args:
        say: Is told who is there, and who went.

    Raises:
        SoftLlamaError: Dask is not installed, or there is no scheduler.
    """
    if not re.fullmatch(r"(tcp|tls|ws|wss|ucx)://\S+:\d+", address):
        raise UsageError(f"{address!r} is no address of a scheduler", "--workers tcp://host:8786")
    try:
        from distributed import Client
    except ImportError:
        raise SoftLlamaError("--workers needs Dask", 'pip install "softllama[dask]"') from None
    try:
        client = Client(address, timeout=CONNECT, set_as_default=False)
    except OSError as e:
        raise SoftLlamaError(
            f"no scheduler answers at {address}: {e}", "dask scheduler, and dask worker tcp://host:8786 --nthreads 1"
        ) from None
    with client:
        watch = _Watch(lambda: set(client.scheduler_info(n_workers=-1)["workers"]), say)
        watch()
        yield Workers(client.get_executor(), watch)


class _Watch:
    """Says who came and who went. Raises SoftLlamaError once nobody has been there for a while."""

    def __init__(self, there: Callable[[], set[str]], say: Callable[[str], None]) -> None:
        self._there, self._say = there, say
        self._known: set[str] = set()
        self._empty_since: float | None = None

    def __call__(self) -> None:
        now = self._there()
        for name in sorted(self._known - now):
            self._say(f"worker {name} is gone: {len(now)} left; what it was doing is done again")
        if new := now - self._known:
            self._say(
                f"{len(now)} worker{'s'[: len(now) != 1]}: {', '.join(sorted(new))}" + " joined" * bool(self._known)
            )
        self._known = now
        if now:
            self._empty_since = None
            return
        self._empty_since = self._empty_since or time.monotonic()
        if time.monotonic() - self._empty_since > PATIENCE:
            raise SoftLlamaError(
                f"no worker has been there for {PATIENCE:.0f} seconds; the results before are kept",
                "dask worker tcp://host:8786 --nthreads 1, then start again: it goes on there",
            )
