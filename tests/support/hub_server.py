"""A small server on loopback that speaks as much of the Hugging Face hub's protocol as a pull needs, and can misbehave.

A file is asked for at /USER/REPO/resolve/COMMIT/NAME, which redirects to /cdn/..., as the hub does, under another host
name ("localhost"), so that a token sent there would be seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" * 6 + "abcd"
TOKEN = "hf_secret_of_the_tests"


@dataclass
class Hub:
    """What the server has, and how it misbehaves.

    cut: how many bytes of a file are sent before the connection is closed, one number for each answer, then no more cuts.
    """

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)  # files whose bytes are not those that were announced
    cut: list[int] = field(default_factory=list)
    ignore_range: bool = False
    slow: float = 0.0  # seconds between a million bytes and the next
    status: int = 0  # answer everything with it
    requests: list[tuple[str, str, str, str]] = field(default_factory=list)  # method, path, Range, Authorization

    def ranges(self) -> list[str]:
        """The Range headers of what was sent as files."""
        return [r for _, path, r, _ in self.requests if path.startswith("/cdn/")]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path, token = self.path.partition("?")[0], self.headers.get("Authorization", "")
            hub.requests.append((self.command, path, self.headers.get("Range", ""), token))
            if hub.status:
                return self.answer(hub.status)
            if token not in ("", f"Bearer {TOKEN}"):
                return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
            if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/.+)?", path):
                return self.repository(m[1])
            if m := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self.resolve(m[1], m[3], token)
            if m := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
                return self.send(hub.repos[m[1]][m[2]], m[2])
            return self.answer(404)

        def repository(self, repo: str) -> None:  # noqa: RET503
            if repo not in hub.repos:  # what the hub says to those without a token, too
                return self.answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            siblings = [
                {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest(),
                 "lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130}}
                for name, data in hub.repos[repo].items()
            ]  # fmt: skip
            body = {"id": repo, "modelId": repo, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            self.answer(200, json.dumps(body).encode(), Content_Type="application/json")

        def resolve(self, repo: str, name: str, token: str) -> None:  # noqa: RET503
            if repo in hub.gated and not token:
                return self.answer(401, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
            if name not in hub.repos.get(repo, {}):
                return self.answer(404, X_Error_Code="EntryNotFound")
            data = hub.repos[repo][name]
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            where = f"{hub.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/{name}"
            self.answer(302, Location=where, X_Repo_Commit=COMMIT, X_Linked_Etag=etag, X_Linked_Size=str(len(data)))

        def send(self, data: bytes, name: str) -> None:  # noqa: RET503
            if name in hub.wrong:
                data = bytes(len(data))
            start, m = 0, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if m and not hub.ignore_range:
                start = int(m[1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            rest = data[start:]
            if hub.cut:
                self.wfile.write(rest[: hub.cut.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                return self.connection.shutdown(2)
            step = len(rest) if not hub.slow else 1_000_000
            for at in range(0, len(rest), max(1, step)):
                self.wfile.write(rest[at : at + step])
                time.sleep(hub.slow)

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, as in an interrupted pull, is no news."""


@contextmanager
def serve() -> Iterator[Hub]:
    """A server for as long as the block lasts."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
