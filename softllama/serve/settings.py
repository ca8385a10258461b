"""How a server is set up, as data that is checked once. Knows no model and no HTTP."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from softllama import policy
from softllama.base import arguments
from softllama.errors import UsageError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_STREAMS = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server is set up.

    Args:
        streams: sequences that are decoded side by side.
        queue: requests that may wait for one of them; a further one gets status 429.
        n_ctx: positions of each sequence; None for what the model was loaded with.
        policy: of requests that name none; None for the model's own.
        api_key: what "Authorization: Bearer ..." must hold; None for no check.
        cors: origins of web pages that may use the server; "*" for all.
        host: the address that the server listens on.
        hosts: further names under which it may be called.
        fixed_batch: decode batches of one shape, so that a request does not depend on what runs beside it.
        body_limit: bytes of a request's body.
        keep_alive: seconds of silence after which a stream gets a comment.
        grace: seconds that running requests have when the server stops.

    Raises:
        UsageError: a value is not allowed, or a host beyond this machine has no API key.
    """

    streams: int = 8
    queue: int = 64
    n_ctx: int | None = None
    policy: str | None = None
    api_key: str | None = None
    cors: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    fixed_batch: bool = False
    body_limit: int = 16 << 20
    keep_alive: float = 5.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        arguments.integer("streams", self.streams, 1, MOST_STREAMS)
        arguments.integer("queue", self.queue, 0)
        arguments.integer_or_none("n_ctx", self.n_ctx, 1)
        arguments.integer("body_limit", self.body_limit, 1)
        arguments.number("keep_alive", self.keep_alive, 0.01)
        arguments.number("grace", self.grace, 0)
        if self.policy is not None:
            policy.parse(self.policy)
        if self.api_key is not None and not self.api_key.strip():
            raise UsageError("the API key is empty", "--api-key KEY")
        if not self.local and self.api_key is None:
            raise UsageError(
                f"--host {self.host} lets other machines in, and there is no API key",
                "--api-key KEY, or the variable SOFTLLAMA_SERVE_API_KEY, sets one",
            )

    @property
    def local(self) -> bool:
        """Can only this machine reach the server?"""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Is this the name or an address of this machine for itself?"""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
