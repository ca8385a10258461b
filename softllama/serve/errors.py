"""Errors as OpenAI's clients know them: a status, and {"error": {"message", "type", "param", "code"}}.

Knows statuses and softllama's errors. Knows no routes.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from softllama.errors import ContextError, NotFiniteError, SoftLlamaError

log = logging.getLogger("softllama.serve")
INVALID, AUTHENTICATION, RATE, SERVER = (
    "invalid_request_error",
    "authentication_error",
    "rate_limit_error",
    "server_error",
)
CONTEXT = "context_length_exceeded"


class Gone(Exception):
    """The client has closed the connection, so nobody is told anything."""


class ApiError(Exception):
    """What a client is told in place of an answer.

    Attributes:
        status: of HTTP. param: the field of the request that is wrong. code: a word for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.param, self.code = status, message, kind, param, code
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The error as an answer."""
        return JSONResponse(self.body, self.status, headers=self.headers)


def too_long(n: int, room: int) -> ApiError:
    """A prompt that does not fit."""
    message = f"This model's maximum context length is {room} tokens. However, your prompt has {n} tokens."
    return ApiError(400, message, param="messages", code=CONTEXT)


def queue_full(waiting: int, seconds: int) -> ApiError:
    """No place in the queue."""
    message = f"{waiting} requests are waiting already. Try again in {seconds} s."
    return ApiError(429, message, kind=RATE, code="queue_full", headers={"Retry-After": str(seconds)})


def unavailable(message: str, code: str) -> ApiError:
    """The server is loading its model, or stops."""
    return ApiError(503, message, kind=SERVER, code=code, headers={"Retry-After": "2"})


def of(error: Exception, param: str | None = None) -> ApiError:
    """The answer for any error. What a request can cause is its own fault; the rest is logged, and unavailable."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, SoftLlamaError):
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        if isinstance(error, ContextError):
            long = "room for" in error.message
            return ApiError(400, message, param=param, code=CONTEXT) if long else unavailable(message, "context_error")
        code = "not_finite" if isinstance(error, NotFiniteError) else None
        return ApiError(400, message, param=param, code=code)
    if isinstance(error, MemoryError):
        return unavailable("out of memory", "out_of_memory")
    log.error("a request failed", exc_info=error)
    return unavailable(f"the request failed: {type(error).__name__}", "internal_error")


def install(app: FastAPI) -> None:
    """Answer every error of an application in this form."""

    async def validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = [str(x) for x in first["loc"] if x not in ("body", "query", "path")]
        param = ".".join(where) or None
        message = f"{param}: {first['msg']}" if param else str(first["msg"])
        return ApiError(400, message, param=param).response()

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = "not_found" if error.status_code == 404 else None
        headers = dict(error.headers or {})
        return ApiError(error.status_code, str(error.detail), code=code, headers=headers).response()

    async def other(_: Request, error: Exception) -> JSONResponse:
        return of(error).response()

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(Gone, gone)
    app.add_exception_handler(HTTPException, http)
    for kind in (ApiError, SoftLlamaError, MemoryError, Exception):
        app.add_exception_handler(kind, other)
