"""Who may ask, and how much: the Host header, the API key, the size of a body. An ASGI middleware without a model.

A web page that a user visits can reach a server on their own machine by a name that it makes point there (DNS rebinding).
Its requests carry that name as the Host, so only names of this machine, addresses, and those that were allowed are answered.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from softllama.serve import errors
from softllama.serve.errors import ApiError
from softllama.serve.settings import LOOPBACK, Settings

OPEN = ("/", "/health", "/v1/health", "/favicon.ico")  # what needs no key: no route of these uses the model


class Guard:
    """Answers requests that are not allowed, and hands on the others."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._limit = app, settings.body_limit
        names = {*LOOPBACK, settings.host, *settings.hosts}
        if not settings.local:
            names.add(socket.gethostname())
        self._names = {n.lower() for n in names}
        self._any = "*" in settings.hosts
        self._key = None if settings.api_key is None else settings.api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        error = self._host(headers) or self._authorization(scope, headers) or self._length(headers)
        if error is not None:
            await error.response()(scope, receive, send)
            return
        await self._limited(scope, receive, send)

    def _host(self, headers: Headers) -> ApiError | None:
        name = host_name(headers.get("host", ""))
        if self._any or name in self._names or _is_address(name):
            return None
        message = f"the host {name!r} is not allowed; softllama serve --allow-host {name} allows it"
        return ApiError(403, message, code="host_not_allowed")

    def _authorization(self, scope: Scope, headers: Headers) -> ApiError | None:
        if self._key is None or scope["method"] == "OPTIONS" or scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), self._key):
            return None
        message = "the API key is missing or wrong" if given else "an API key is needed: Authorization: Bearer KEY"
        return ApiError(
            401,
            message,
            kind=errors.AUTHENTICATION,
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _length(self, headers: Headers) -> ApiError | None:
        length = headers.get("content-length", "0")
        return self._too_large() if length.isdecimal() and int(length[:20]) > self._limit else None

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._limit:,} bytes", code="body_too_large")

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes of a body that does not say how long it is."""
        taken, answered = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise self._too_large()
            return message

        async def checked(message: Message) -> None:  # whoever reads the body may have caught the error
            nonlocal answered
            if taken <= self._limit:
                await send(message)
            elif not answered:
                answered = True
                await self._too_large().response()(scope, receive, send)

        await self._app(scope, counted, checked)


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
