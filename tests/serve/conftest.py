"""A server on loopback with the bundled model, and what tests ask it with."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import softllama as sl

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
httpx = pytest.importorskip("httpx", reason="needs httpx")

Serve = Callable[..., contextlib.AbstractContextManager[str]]


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """An application on a free port, until the block ends. Yields its URL."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def words() -> sl.Model:
    """The bundled model with a thinking block."""
    return sl.load(n_threads=1)


@pytest.fixture(scope="session")
def url(words: sl.Model) -> Iterator[str]:
    """A server of it with four streams."""
    with running(sl.serve.app(words, streams=4)) as address:
        yield address


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[Any]:
    with httpx.Client(base_url=url, timeout=60) as c:
        yield c


@pytest.fixture
def ask(client: Any) -> Callable[..., dict[str, Any]]:
    """ask("What does the dog say?", seed=1, ...) -> the answer of a chat completion."""

    def post(text: str = "What does the dog say?", status: int = 200, **body: Any) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 40, "seed": 1, **body}
        r = client.post("/v1/chat/completions", json=body)
        assert r.status_code == status, r.text
        data: dict[str, Any] = r.json()
        return data

    return post
