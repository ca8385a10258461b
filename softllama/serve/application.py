"""The ASGI application: routes, errors and middleware put together, and the life of the scheduler."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from softllama._version import __version__
from softllama.api import Model
from softllama.serve import basics, chat, completions, errors, own, page
from softllama.serve.security import Guard
from softllama.serve.settings import Settings
from softllama.serve.state import State


def create(source: Model | Callable[[], Model], settings: Settings) -> FastAPI:
    """The application. Its `state.softllama` is the State.

    Args:
        source: the model; or a function that loads it, which runs in a thread while requests get status 503.
    """
    state = State(source, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if isinstance(source, Model):
            await run_in_threadpool(state.start)
        else:
            threading.Thread(target=_load, args=(state,), name="softllama-load", daemon=True).start()
        yield
        await run_in_threadpool(state.stop)

    app = FastAPI(
        title="softllama",
        version=__version__,
        lifespan=life,
        description="Soft thinking behind the API that every client speaks.",
        openapi_url="/openapi.json",
    )
    app.state.softllama = state
    errors.install(app)
    for routes in (basics.router(state), chat.router(state), completions.router(state), own.router(state)):
        app.include_router(routes, prefix="/v1")
        app.include_router(routes, include_in_schema=False)
    app.include_router(page.router())
    if settings.cors:
        app.add_middleware(CORSMiddleware, allow_origins=list(settings.cors), allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(Guard, settings=settings)
    return app


def _load(state: State) -> None:
    """Load in a thread. What goes wrong is kept in `state.error`, for whoever asks."""
    try:
        state.start()
    except BaseException:
        errors.log.debug("the model could not be loaded", exc_info=True)
