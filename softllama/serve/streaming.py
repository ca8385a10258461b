"""Server-sent events: objects go out as they come, comments while nothing comes, and a client that goes away is noticed.

Knows ASGI and the form of events. Knows nothing of what they hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from softllama.serve import errors

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(data: Any, name: str = "") -> bytes:
    """An object as an event."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"{f'event: {name}' + chr(10) if name else ''}data: {text}\n\n".encode()


async def merged(sources: Sequence[AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """What several streams give, as it comes. Raises what the first of them raises that fails."""
    if len(sources) == 1:
        async for data in sources[0]:
            yield data
        return
    queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()

    async def read(source: AsyncIterator[bytes]) -> None:
        try:
            async for data in source:
                queue.put_nowait(data)
            queue.put_nowait(None)
        except Exception as e:
            queue.put_nowait(e)

    tasks = [asyncio.ensure_future(read(s)) for s in sources]
    try:
        left = len(tasks)
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()


class EventStream(Response):
    """A response of events.

    Args:
        chunks: bytes of events, as they come. It is closed when the client goes away.
        keep_alive: seconds of silence after which a comment is sent.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncIterator[bytes], keep_alive: float) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]  # nobody knows it yet
        self._chunks, self._keep_alive = chunks, keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            if close := getattr(self._chunks, "aclose", None):
                await close()

    async def _send(self, send: Send) -> None:
        async def body(data: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        try:
            coming = asyncio.ensure_future(anext(self._chunks))
            while True:
                done, _ = await asyncio.wait({coming}, timeout=self._keep_alive)
                if not done:
                    await body(KEEP_ALIVE)
                    continue
                try:
                    data = coming.result()
                except StopAsyncIteration:
                    break
                await body(data)
                coming = asyncio.ensure_future(anext(self._chunks))
        except Exception as e:  # the status has been sent, so the error is an event
            await body(event(errors.of(e).body, "error"))
        finally:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await coming
        await body(b"", more=False)


async def unless_gone(request: Request, work: Awaitable[T], cancel: Callable[[], None]) -> T:
    """The result of some work. If the client goes away first, `cancel` is called.

    Raises:
        errors.Gone: it went away.
    """
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise errors.Gone
        return doing.result()
    finally:
        gone.cancel()
        if not doing.done():
            cancel()
            doing.cancel()


async def _gone(receive: Receive) -> None:
    """Wait until the client goes away. The body has been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
