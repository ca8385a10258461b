"""What goes wrong is said in OpenAI's form, with the right status and the name of the field."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest

import softllama as sl
from softllama.serve import errors
from softllama.serve.streaming import KEEP_ALIVE
from tests.serve.conftest import running

USER = [{"role": "user", "content": "What does the dog say?"}]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"content": "x"}]}, 400, "messages.0.role"),
        ({"messages": USER, "max_tokens": -1}, 400, "max_tokens"),
        ({"messages": USER, "max_tokens": "many"}, 400, "max_tokens"),
        ({"messages": USER, "temperature": -1}, 400, "temperature"),
        ({"messages": USER, "temperature": 1e999}, 400, "temperature"),
        ({"messages": USER, "top_p": 2}, 400, "top_p"),
        ({"messages": USER, "seed": 2**63}, 400, "seed"),
        ({"messages": USER, "n": 0}, 400, "n"),
        ({"messages": USER, "n": 100}, 429, None),
        ({"messages": USER, "top_logprobs": 21}, 400, "top_logprobs"),
        ({"messages": USER, "stop": ["x"] * 65}, 400, "stop"),
        ({"messages": USER, "model": "other"}, 404, "model"),
        ({"messages": USER, "model": "words@nothing"}, 404, "model"),
        ({"messages": USER, "response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"messages": USER, "softllama": {"policy": "nothing"}}, 400, "softllama.policy"),
        ({"messages": USER, "softllama": {"policy": "gumbel:tau=-1"}}, 400, "softllama.policy"),
        ({"messages": USER, "softllama": {"answer_policy": ""}}, 400, "softllama.answer_policy"),
        ({"messages": USER, "softllama": {"mixtures": {"a": "dog,cat"}}}, 400, None),
        ({"messages": USER, "softllama": {"think_tags": "x"}}, 400, None),
        ({"messages": USER, "softllama": {"prefix": {"items": [{"id": 923}]}}}, 400, "softllama.prefix"),
        ({"messages": USER, "softllama": {"prefix": {"items": [{}]}}}, 400, "softllama.prefix"),
        ({"messages": [{"role": "user", "content": "dog " * 900}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, None),
    ],
)
def test_what_is_wrong_is_named(client: Any, body: dict[str, Any], status: int, param: str | None) -> None:
    content = json.dumps(body).encode()
    r = client.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    assert r.status_code == status, r.text
    error = r.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["param"] == param or param is None
    if status == 429:
        assert error["type"] == "rate_limit_error"
        assert int(r.headers["retry-after"]) >= 1


def test_no_json_and_no_route(client: Any) -> None:
    for content in (b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b'"x"'):
        r = client.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
        assert r.status_code == 400
        assert r.json()["error"]["type"] == "invalid_request_error"
    r = client.get("/v1/nothing")
    assert (r.status_code, r.json()["error"]["code"]) == (404, "not_found")
    r = client.get("/v1/chat/completions")
    assert (r.status_code, r.headers["allow"]) == (405, "POST")
    assert r.json()["error"]["message"]


def test_a_prompt_that_is_too_long_has_its_code(client: Any) -> None:
    body = {"messages": [{"role": "user", "content": "dog " * 900}]}
    assert client.post("/v1/chat/completions", json=body).json()["error"]["code"] == "context_length_exceeded"


def test_what_is_not_ours_is_logged_and_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    e = errors.of(RuntimeError("secret"))
    assert (e.status, e.kind) == (503, "server_error")
    assert "secret" not in e.message
    assert "secret" in caplog.text
    assert errors.of(MemoryError()).status == 503
    assert errors.of(sl.ContextError("llama.cpp could not evaluate a batch")).status == 503
    assert errors.of(sl.NotFiniteError("NaN")).code == "not_finite"
    assert errors.of(sl.UsageError("wrong", "do this")).message == "wrong (do this)"


def test_a_fault_in_mid_stream_is_an_error_event(words: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    app = sl.serve.app(words, streams=1, n_ctx=256)
    with running(app) as url:
        body = {"messages": USER, "stream": True, "softllama": {"policy": "random_mix:where=everywhere"}}
        with httpx.stream("POST", url + "/v1/chat/completions", json=body) as r:
            lines = r.iter_lines()
            next(lines)

            def fail(*_: object) -> None:
                raise sl.ContextError("llama.cpp could not evaluate a batch of 1")

            monkeypatch.setattr("softllama.generation.loop.Loop.feed", fail)
            rest = list(lines)
        monkeypatch.undo()
        at = rest.index("event: error")
        error = json.loads(rest[at + 1].removeprefix("data: "))["error"]
        assert error["type"] == "server_error"
        assert "data: [DONE]" not in rest
        r = httpx.post(url + "/v1/chat/completions", json={"messages": USER, "max_tokens": 2})
        assert r.status_code == 200  # the next one is answered


def test_a_stream_that_waits_gets_comments(words: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    prompts = __import__("softllama.serve.batching", fromlist=["ContinuousBatch"]).ContinuousBatch._prompts
    monkeypatch.setattr(
        "softllama.serve.batching.ContinuousBatch._prompts", lambda batch: (go.wait(10), prompts(batch))[1]
    )
    with running(sl.serve.app(words, streams=1, n_ctx=256, keep_alive=0.05)) as url:
        body = {"messages": USER, "stream": True, "max_tokens": 3}
        with httpx.stream("POST", url + "/v1/chat/completions", json=body) as r:
            lines = r.iter_lines()
            assert [next(lines), next(lines)] == [KEEP_ALIVE.decode().strip(), ""]
            go.set()
            assert list(lines)[-2] == "data: [DONE]"
