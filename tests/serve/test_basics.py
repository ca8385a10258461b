"""Health, models, tokens, metrics; the same routes without /v1; the description of all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import softllama as sl
from softllama import policy
from softllama.serve.application import create
from softllama.serve.settings import Settings
from softllama.serve.state import State
from tests.serve.conftest import running


def test_models_have_a_name_for_each_policy(client: Any) -> None:
    got = client.get("/v1/models").json()
    assert got["object"] == "list"
    names = [m["id"] for m in got["data"]]
    assert names == ["words", *(f"words@{p}" for p in policy.names())]
    assert client.get("/v1/models/words@gumbel").json()["id"] == "words@gumbel"
    for name in ("other", "words@nothing", "other@gumbel"):
        r = client.get(f"/v1/models/{name}")
        assert r.status_code == 404
        assert r.json()["error"]["code"] == "model_not_found"


def test_the_fingerprint_tells_apart_what_answers_otherwise(write: Callable[..., Path]) -> None:
    file = write("llama", n_embd=256)
    found = []
    for how in ({}, {}, {"cache_type_k": "q8_0"}, {"flash_attn": "on"}):
        with sl.load(file, n_threads=1, **how) as model:
            state = State(model, Settings())
            state.start()
            found.append(state.fingerprint)
            state.stop()
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_tokens_go_there_and_back(client: Any, words: sl.Model) -> None:
    for path in ("/tokenize", "/v1/tokenize"):
        got = client.post(path, json={"content": "The dog says", "add_special": True, "with_pieces": True}).json()
        assert [t["id"] for t in got["tokens"]] == words.tokenize("The dog says", bos=True)
        assert "".join(t["piece"] for t in got["tokens"][1:]) == "The dog says"
    plain = client.post("/tokenize", json={"prompt": "The dog says"}).json()
    assert plain["tokens"] == words.tokenize("The dog says")
    assert plain["count"] == len(plain["tokens"])
    assert client.post("/detokenize", json={"tokens": plain["tokens"]}).json()["content"] == "The dog says"
    assert client.post("/detokenize", json={"tokens": [10**6]}).status_code == 400
    also = client.post("/tokenize", json={"prompt": "The dog says", "add_special_tokens": True}).json()
    assert also["tokens"] == words.tokenize("The dog says", bos=True)
    info = client.get("/tokenizer_info").json()
    assert (info["bos_token"], info["chat_template"]) == ("<|endoftext|>", words.template_source)
    assert client.post("/tokenize", json={}).json()["error"]["param"] == "content"


def test_metrics_count(client: Any) -> None:
    def numbers() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {k: float(v) for k, v in (line.split() for line in lines if not line.startswith("#"))}

    before = numbers()
    body = {"messages": [{"role": "user", "content": "What does the hen say?"}], "max_tokens": 3}
    usage = client.post("/v1/chat/completions", json=body).json()["usage"]
    after = numbers()
    grown = {k: after[k] - before[k] for k in after}
    assert grown["softllama_generated_tokens_total"] == 3
    assert grown["softllama_generations_total"] == 1
    assert grown["softllama_cached_tokens_total"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert grown["softllama_prompt_tokens_total"] + grown["softllama_cached_tokens_total"] == usage["prompt_tokens"]
    assert after["softllama_streams"] == 4


def test_every_route_is_described_and_there_without_v1(client: Any) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {
        f"/v1{p}"
        for p in (
            "/health",
            "/models",
            "/models/{name}",
            "/chat/completions",
            "/completions",
            "/tokenize",
            "/detokenize",
            "/metrics",
            "/softllama/policies",
            "/softllama/probe",
            "/softllama/sweep",
            "/softllama/score",
            "/softllama/lens",
        )
    }
    assert client.get("/docs").status_code == 200
    assert client.get("/health").json() == client.get("/v1/health").json() == {"status": "ok"}
    assert client.get("/models").json() == client.get("/v1/models").json()
    for path, method in [(p, m) for p in paths for m in paths[p]]:
        bare = path.removeprefix("/v1").replace("{name}", "words")
        assert client.request(method, bare, json={}).status_code in (200, 400), path


def test_while_the_model_is_being_loaded_requests_are_told_to_wait(words: sl.Model) -> None:
    go = threading.Event()

    def load() -> sl.Model:
        assert go.wait(30)
        return words

    app = create(load, Settings(streams=1))
    with running(app) as url:
        for path in ("/health", "/v1/models"):
            r = httpx.get(url + path)
            assert r.status_code == 503
            assert r.json()["error"]["code"] == "loading"
            assert r.headers["retry-after"]
        body = {"messages": [{"role": "user", "content": "dog"}], "max_tokens": 1}
        assert httpx.post(url + "/v1/chat/completions", json=body).status_code == 503
        go.set()
        assert app.state.softllama.loaded.wait(30)
        assert httpx.get(url + "/health").status_code == 200
        assert httpx.post(url + "/v1/chat/completions", json=body).status_code == 200


def test_a_model_that_cannot_be_loaded_is_said() -> None:
    def load() -> sl.Model:
        raise sl.ModelError("the file is damaged")

    app = create(load, Settings(streams=1))
    with running(app) as url:
        assert app.state.softllama.loaded.wait(30)
        r = httpx.get(url + "/v1/models")
        assert r.status_code == 503
        assert "the file is damaged" in r.json()["error"]["message"]
    assert isinstance(app.state.softllama.error, sl.ModelError)


def test_the_extra_is_named_where_it_is_missing(words: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(sl.SoftLlamaError, match="needs uvicorn") as e:
        sl.serve.app(words)
    assert "softllama[serve]" in e.value.hint
