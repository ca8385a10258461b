"""POST /v1/completions: texts and ids, echo with log-probabilities as harnesses read them, streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

import softllama as sl

PROMPT = "The dog says"


def complete(client: Any, status: int = 200, **body: Any) -> dict[str, Any]:
    r = client.post("/v1/completions", json={"prompt": PROMPT, "max_tokens": 6, "temperature": 0, **body})
    assert r.status_code == status, r.text
    data: dict[str, Any] = r.json()
    return data


def test_texts_and_ids_give_the_same(client: Any, words: sl.Model) -> None:
    want = words.generate(PROMPT, chat=False, policy="greedy", max_tokens=6)
    ids = words.tokenize(PROMPT, bos=True)
    for prompt in (PROMPT, [PROMPT], ids, [ids]):
        got = complete(client, prompt=prompt)
        (choice,) = got["choices"]
        assert choice["text"] == want.answer
        assert got["usage"]["prompt_tokens"] == len(ids)
    many = complete(client, prompt=[PROMPT, "The cat says"], n=2)["choices"]
    assert [c["index"] for c in many] == [0, 1, 2, 3]
    assert many[0]["text"] == many[1]["text"] == want.answer


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_has_the_log_probability_of_each_token(client: Any, words: sl.Model, max_tokens: int) -> None:
    text = "The dog says woof. The cat says meow."
    got = complete(client, prompt=text, echo=True, logprobs=1, max_tokens=max_tokens)["choices"][0]
    ids = words.tokenize(text, bos=True)
    lp = got["logprobs"]
    assert lp["tokens"][: len(ids)] == [words.spell(i) for i in ids]
    assert len(lp["token_logprobs"]) == len(ids) + max_tokens
    assert lp["token_logprobs"][0] is None
    assert lp["top_logprobs"][0] is None
    assert got["text"].startswith(text)
    assert lp["text_offset"][: len(ids)] == [0, *(len(words.detokenize(ids[1:i])) for i in range(1, len(ids)))]
    for i in (1, 3, len(ids) - 1):
        with words.session() as s:
            d = s.feed(ids[:i])
        assert lp["token_logprobs"][i] == pytest.approx(d.logp(ids[i]), abs=0.05)
        best = max(lp["top_logprobs"][i], key=lambda t: lp["top_logprobs"][i][t])
        assert best == words.spell(d.argmax)


def test_log_probabilities_of_what_is_generated(client: Any, words: sl.Model) -> None:
    want = words.generate(PROMPT, chat=False, policy="greedy", max_tokens=6)
    lp = complete(client, logprobs=2)["choices"][0]["logprobs"]
    n = len(want.steps)
    assert lp["tokens"][:n] == [words.spell(s.token) for s in want.steps]
    assert lp["tokens"][n:] == ["<|endoftext|>"]  # what ended it
    assert lp["token_logprobs"][:n] == pytest.approx([s.logp for s in want.steps], abs=0.05)
    assert [len(t) for t in lp["top_logprobs"]] == [2] * n + [1]
    assert "logprobs" in complete(client)["choices"][0]
    assert complete(client)["choices"][0]["logprobs"] is None


def test_a_stream_is_the_same_in_pieces(client: Any) -> None:
    answer = complete(client, echo=True, logprobs=1)
    whole = answer["choices"][0]
    body = {"prompt": PROMPT, "max_tokens": 6, "temperature": 0, "echo": True, "logprobs": 1, "stream": True}
    with client.stream("POST", "/v1/completions", json={**body, "stream_options": {"include_usage": True}}) as r:
        lines = [line.removeprefix("data: ") for line in r.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    *chunks, usage = map(json.loads, lines[:-1])
    assert "".join(c["choices"][0]["text"] for c in chunks) == whole["text"]
    tokens = [t for c in chunks if c["choices"][0]["logprobs"] for t in c["choices"][0]["logprobs"]["tokens"]]
    assert tokens == whole["logprobs"]["tokens"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]
    assert usage["usage"]["completion_tokens"] == answer["usage"]["completion_tokens"]


def test_mixtures_fill_slots_of_a_raw_prompt(client: Any, words: sl.Model) -> None:
    got = complete(client, prompt="The {} says", softllama={"mixtures": {"": "dog,cat"}, "policy": "full"})
    want = words.generate("The {} says", chat=False, mix="dog,cat", policy="full", max_tokens=6)
    assert got["choices"][0]["text"] == want.answer
    error = complete(client, 400, prompt="The {} says", echo=True, softllama={"mixtures": {"": "dog,cat"}})["error"]
    assert error["param"] == "echo"


def test_a_thinking_prompt_has_its_tags_in_the_text(client: Any, words: sl.Model) -> None:
    prompt = "<|im_start|>user\nWhat does the dog say?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    got = complete(client, prompt=prompt, max_tokens=40)["choices"][0]
    want = words.generate(prompt, chat=False, policy="soft_thinking", answer="sample:temperature=0", max_tokens=40)
    assert got["text"] == want.thinking + "</think>" + want.answer
    assert got["softllama"]["soft_steps"] > 0


def test_what_cannot_be_done_is_said(client: Any) -> None:
    assert complete(client, 400, suffix="x")["error"]["param"] == "suffix"
    assert complete(client, 400, prompt=[])["error"]["type"] == "invalid_request_error"
    assert complete(client, 400, prompt=[10**6])["error"]["type"] == "invalid_request_error"
    assert complete(client, 400, prompt="dog " * 600)["error"]["code"] == "context_length_exceeded"
    assert (
        complete(client, 400, prompt="dog " * 600, echo=True, logprobs=1)["error"]["code"] == "context_length_exceeded"
    )
