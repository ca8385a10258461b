"""The lines of a trace file in answers: they are what the library records, and what a branch goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.trace import load
from softllama.trace.reader import parse
from softllama.trace.record import Trace
from tests.serve.conftest import running

TEXT = "What does the dog say?"
BODY = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 60, "seed": 1}


def record(lines: list[Any]) -> Trace:
    return parse([json.dumps(line).encode() for line in lines], Path("answer"))


def streamed(client: Any, path: str, body: dict[str, Any]) -> list[Any]:
    """The lines of a stream, in the order in which they came."""
    lines: list[Any] = []
    with client.stream("POST", path, json={**body, "stream": True}) as r:
        for line in r.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                choice = chunk["choices"][0] if chunk["choices"] else {}
                block = chunk.get("softllama") or choice.get("softllama") or {}
                lines += block.get("record", [])
    return lines


def same(a: Trace, b: Trace) -> bool:
    """Are they records of one generation? What the server held already rounds otherwise than what is evaluated anew."""

    def words(t: Trace) -> list[Any]:
        return [(s.token, s.text, s.mode, s.thinking) for s in t.steps] + [t.answer, t.thinking, t.stop_text, t.prompt]

    def numbers(t: Trace) -> list[float]:
        return [
            x for s in t.steps for x in (s.entropy, s.logp, s.effective_tokens, s.top[0][1], s.mixture.weights.max())
        ]

    return words(a) == words(b) and numbers(a) == pytest.approx(numbers(b), rel=0.05, abs=0.05)


@pytest.mark.parametrize("policy", ["soft_thinking", "full", "greedy"])
def test_the_lines_are_the_record_of_the_library(client: Any, words: sl.Model, policy: str) -> None:
    body = {**BODY, "softllama": {"policy": policy, "trace": "record"}}
    lines = streamed(client, "/v1/chat/completions", body)
    assert [line["kind"] for line in lines] == ["trace", *["step"] * (len(lines) - 2), "end"]
    expected = words.generate(TEXT, chat=True, policy=policy, seed=1, max_tokens=60)
    assert same(record(lines), expected)
    whole = client.post("/v1/chat/completions", json=body).json()["choices"][0]["softllama"]["record"]
    assert same(record(whole), expected)


def test_a_text_completion_has_them_too(client: Any, words: sl.Model) -> None:
    body = {"prompt": "The dog", "max_tokens": 8, "seed": 1, "softllama": {"policy": "full", "trace": "record"}}
    expected = words.generate("The dog", chat=False, policy="full", seed=1, max_tokens=8)
    assert same(record(streamed(client, "/v1/completions", body)), expected)


def test_the_steps_of_a_text_completion_come_one_by_one(client: Any) -> None:
    body = {"prompt": "The dog", "max_tokens": 8, "stream": True, "softllama": {"policy": "full", "trace": "steps"}}
    counts = []
    with client.stream("POST", "/v1/completions", json=body) as r:
        for line in r.iter_lines():
            if line.startswith("data: {"):
                counts.append(len((json.loads(line[6:]).get("softllama") or {}).get("steps", [])))
    assert max(counts) == 1
    assert sum(counts) >= 2


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_run_goes_on_from_its_own_record_as_it_did(words: sl.Model, path: str) -> None:
    """From each third of its steps, with what was fed before as the prefix; with batches of one shape, so to the bit."""
    import httpx

    with running(sl.serve.app(words, streams=2, fixed_batch=True)) as url, httpx.Client(base_url=url) as client:
        goes_on(client, path)


def goes_on(client: Any, path: str) -> None:
    prompt = {"prompt": "The dog"} if path == "/v1/completions" else {"messages": BODY["messages"]}
    block = {"policy": "soft_thinking:n=4", "answer_policy": "greedy", "trace": "record"}
    body = {**prompt, "max_tokens": 20, "seed": 1, "softllama": block}
    steps = record(streamed(client, path, body)).steps
    items = [
        {"ids": s.mixture.ids.tolist(), "weights": s.mixture.weights.tolist(), "readout": s.token}
        if s.mode == "soft"
        else {"id": s.token}
        for s in steps
    ]
    for n in range(1, len(steps) - 1, 3):
        rest = {**body, "max_tokens": 20 - n, "softllama": {**block, "prefix": {"items": items[:n]}}}
        again = record(renumbered(streamed(client, path, rest))).steps
        assert [(s.token, s.mode, s.mixture) for s in again] == [(s.token, s.mode, s.mixture) for s in steps[n:]]


def renumbered(lines: list[Any]) -> list[Any]:
    """Steps that follow a prefix are counted with it; a file of their own begins at 0."""
    for i, line in enumerate(lines[1:-1]):
        line["index"] = i
    return lines


def test_a_file_of_the_lines_is_a_trace(client: Any, tmp_path: Path) -> None:
    lines = streamed(client, "/v1/chat/completions", {**BODY, "softllama": {"trace": "record"}})
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert load(tmp_path / "t.jsonl").manifest["model"]["path"].endswith("words.gguf")


def test_only_this_machine_learns_where_the_model_is(words: sl.Model) -> None:
    import httpx

    with (
        running(sl.serve.app(words, host="0.0.0.0", api_key="key", hosts=("*",))) as url,
        httpx.Client(base_url=url, headers={"Authorization": "Bearer key"}, timeout=60) as client,
    ):
        lines = streamed(client, "/v1/chat/completions", {**BODY, "softllama": {"trace": "record"}})
        assert lines[0]["manifest"]["model"]["path"] is None
        assert client.get("/v1/softllama/policies").json()["model"]["path"] is None


def test_the_page_needs_no_key_and_has_its_policy(words: sl.Model) -> None:
    import httpx

    with running(sl.serve.app(words, api_key="key")) as url, httpx.Client(base_url=url) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert client.head("/").status_code == 200
        assert client.get("/v1/softllama/policies").status_code == 401
