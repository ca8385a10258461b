"""Who may ask: hosts, keys, origins, sizes. And what is refused by the settings themselves."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

import softllama as sl
from softllama.serve.security import host_name
from softllama.serve.settings import Settings, is_loopback
from tests.serve.conftest import running

CHAT = {"messages": [{"role": "user", "content": "dog"}], "max_tokens": 1}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "10.1.2.3", "[fe80::1]"])
def test_names_of_this_machine_and_addresses_are_answered(client: Any, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "", "a:b:c"])
def test_other_names_are_not_answered(client: Any, host: str) -> None:
    r = client.get("/health", headers={"Host": host})
    assert r.status_code in (400, 403)
    if r.status_code == 403:
        assert r.json()["error"]["code"] == "host_not_allowed"


def test_host_names() -> None:
    assert host_name("Example.com:80") == "example.com"
    assert host_name("[::1]:80") == "::1"
    assert host_name("::1") == "::1"
    assert host_name("example.com") == "example.com"


def test_a_key_is_asked_for(words: sl.Model) -> None:
    app = sl.serve.app(words, streams=1, api_key="sécret", host="0.0.0.0", hosts=("my.name",), n_ctx=64)
    with running(app) as url, httpx.Client(base_url=url) as c:
        assert c.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic sécret".encode()}):
            r = c.post("/v1/chat/completions", json=CHAT, headers=headers)
            assert r.status_code == 401
            assert r.json()["error"]["type"] == "authentication_error"
            assert c.get("/docs", headers=headers).status_code == 401
            assert c.get("/metrics", headers=headers).status_code == 401
        right = {"Authorization": "Bearer sécret".encode()}
        assert c.post("/v1/chat/completions", json=CHAT, headers=right).status_code == 200
        assert c.get("/health", headers={"Host": "my.name"}).status_code == 200
        assert c.get("/health", headers={"Host": socket.gethostname()}).status_code == 200
        assert c.get("/health", headers={"Host": "other.name"}).status_code == 403


def test_bodies_are_bounded(words: sl.Model) -> None:
    with running(sl.serve.app(words, streams=1, body_limit=1000, n_ctx=64)) as url, httpx.Client(base_url=url) as c:
        large = b'{"messages": [{"role": "user", "content": "' + b"x" * 2000 + b'"}]}'
        r = c.post("/v1/chat/completions", content=large)
        assert r.status_code == 413
        assert r.json()["error"]["code"] == "body_too_large"
        r = c.post("/v1/chat/completions", content=iter([large[:900], large[900:]]))  # without its length
        assert r.status_code == 413
        assert c.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_other_origins_are_let_in_only_by_name(client: Any, words: sl.Model) -> None:
    preflight = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/v1/chat/completions", headers=preflight).headers
    with running(sl.serve.app(words, streams=1, cors=("https://page.example",), n_ctx=64)) as url:
        r = httpx.options(url + "/v1/chat/completions", headers=preflight)
        assert r.headers["access-control-allow-origin"] == "https://page.example"
        r = httpx.options(url + "/v1/chat/completions", headers={**preflight, "Origin": "https://other.example"})
        assert "access-control-allow-origin" not in r.headers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "no API key"),
        ({"host": "192.168.1.5"}, "no API key"),
        ({"api_key": " "}, "API key is empty"),
        ({"streams": 0}, "streams"),
        ({"queue": -1}, "queue"),
        ({"policy": "nothing"}, "no policy"),
        ({"keep_alive": 0}, "keep_alive"),
    ],
)
def test_settings_that_are_not_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(sl.UsageError, match=message):
        Settings(**settings)


def test_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.3.2.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example")))
