"""Clients that go away before their answer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

import httpx
import pytest

from softllama.serve import own

MIX = {"prompt": "The {animal} says", "mixtures": {"animal": "dog:0.5,cat:0.5"}}


def leave(url: str, path: str, body: dict[str, Any], seconds: float) -> None:
    """Ask, and go away after some time."""
    with contextlib.suppress(httpx.ReadTimeout):
        httpx.post(url + path, json=body, timeout=httpx.Timeout(10, read=seconds))


def test_what_waits_for_a_client_that_has_gone_is_not_begun(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slider that moves asks anew: of five requests only the first, which had begun, and the last are computed."""
    computed: list[str] = []
    left = threading.Event()

    def slow(state: Any, body: Any) -> dict[str, Any]:
        computed.append(body.mixtures["animal"])
        assert left.wait(20)
        return {}

    monkeypatch.setattr(own, "probe", slow)
    for i in range(1, 5):
        leave(url, "/v1/softllama/probe", {**MIX, "mixtures": {"animal": f"dog:0.{i},cat:0.{10 - i}"}}, 0.1)
    threading.Timer(0.5, left.set).start()  # by then the server has noticed that they left
    assert httpx.post(url + "/v1/softllama/probe", json=MIX, timeout=30).status_code == 200
    assert computed == ["dog:0.1,cat:0.9", "dog:0.5,cat:0.5"]


def test_a_client_that_has_gone_is_no_error(url: str, caplog: pytest.LogCaptureFixture) -> None:
    loud = {"messages": [{"role": "user", "content": "What does the dog say?"}], "n": 64, "max_tokens": 200}
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            leave(url, "/v1/chat/completions", {**loud, "softllama": {"policy": "sample"}}, 0.02)
        end = time.monotonic() + 20
        while "softllama_running 0.0" not in httpx.get(url + "/metrics").text and time.monotonic() < end:
            time.sleep(0.05)
    assert [r.getMessage() for r in caplog.records if r.name.startswith(("softllama", "uvicorn"))] == []
