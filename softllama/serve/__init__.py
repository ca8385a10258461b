"""An HTTP server that speaks OpenAI's API, in which each request chooses how its thinking is decoded.

    import softllama as sl
    app = sl.serve.app(sl.load("model.gguf"), streams=8)    # an ASGI application: uvicorn module:app

    settings     how a server is set up              chat, completions   OpenAI's routes
    scheduler    the thread that decodes             own                 policies, probe, sweep, score, lens
    batching     one context, continuous batching    basics              health, models, tokens, metrics
    decoding     fields of a request -> policies     security, errors    who may ask; what is said where it fails

Needs the extra `serve`. Nothing else in softllama knows HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from softllama.errors import SoftLlamaError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from softllama.api import Model

__all__ = ["ServeKeywords", "app"]


class ServeKeywords(TypedDict, total=False):
    """The fields of softllama.serve.settings.Settings, as keywords."""

    streams: int
    queue: int
    n_ctx: int | None
    policy: str | None
    api_key: str | None
    cors: tuple[str, ...]
    host: str
    hosts: tuple[str, ...]
    fixed_batch: bool
    body_limit: int
    keep_alive: float
    grace: float


def app(model: Model, **settings: Unpack[ServeKeywords]) -> FastAPI:
    """The server as an ASGI application; it is started and stopped by the lifespan protocol.

    Args:
        model: a loaded model. It stays open when the application stops.
        settings: the fields of softllama.serve.settings.Settings.

    Raises:
        UsageError: a setting is not allowed.
        SoftLlamaError: the extra `serve` is not installed.
    """
    check_installed()
    from softllama.serve.application import create
    from softllama.serve.settings import Settings

    return create(model, Settings(**settings))


def check_installed() -> None:
    """Raise SoftLlamaError where the libraries of the extra are missing."""
    try:
        import fastapi
        import prometheus_client
        import uvicorn
    except ImportError as e:
        raise SoftLlamaError(f"the server needs {e.name}", 'pip install "softllama[serve]"') from None
    del fastapi, prometheus_client, uvicorn
