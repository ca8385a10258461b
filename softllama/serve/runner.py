"""Runs the application with uvicorn until a signal ends it: what `softllama serve` does.

The model is loaded in a thread while the server listens already, so that a client is told to wait. SIGTERM and Ctrl-C stop
taking requests; those that run have some seconds to end. Knows uvicorn and signals.
"""

from __future__ import annotations

import signal
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from softllama.api import Model
from softllama.errors import SoftLlamaError, UsageError
from softllama.serve.application import create
from softllama.serve.settings import Settings
from softllama.serve.state import State

PATIENCE = 2.0  # seconds after the grace in which answers are written out


class Server(uvicorn.Server):
    """uvicorn's server, whose generations end in time when it stops."""

    def __init__(self, config: uvicorn.Config, state: State, grace: float) -> None:
        super().__init__(config)
        self._state, self._grace = state, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.drain(self._grace)
        await super().shutdown(sockets)


def run(load: Callable[[], Model], settings: Settings, port: int, *, ready: Callable[[str], None]) -> None:
    """Serve until a signal.

    Args:
        load: loads the model; is called in a thread.
        port: 0 for a free one.
        ready: is called in a thread with the server's address, once requests are answered.

    Raises:
        UsageError: the address cannot be used.
        SoftLlamaError: the model cannot be loaded.
    """
    listener = _listen(settings.host, port)
    app = create(load, settings)
    state: State = app.state.softllama
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace + PATIENCE) + 1,
    )
    server = Server(config, state, settings.grace)

    def wait() -> None:
        state.loaded.wait()
        if state.error is not None:
            server.should_exit = True
        else:
            ready(address(listener))

    threading.Thread(target=wait, name="softllama-ready", daemon=True).start()
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGINT, signal.SIGTERM)}  # uvicorn raises it again
    try:
        server.run(sockets=[listener])
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
        listener.close()
    if state.error is not None:
        raise state.error


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as e:
        raise UsageError(
            f"cannot listen on {host}:{port}: {e.strerror or e}", "--port N takes another port, --port 0 a free one"
        ) from None


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def browse(url: str) -> None:
    """Open the page in a browser. Raises SoftLlamaError where there is none."""
    try:
        webbrowser.open(url)
    except webbrowser.Error as e:
        raise SoftLlamaError(f"no browser can be opened: {e}", f"open {url}") from None
