"""POST /v1/chat/completions over HTTP: every field of an answer, streamed and not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import softllama as sl

Ask = Callable[..., dict[str, Any]]
QUESTION = "What does the dog say?"


def events(client: Any, **body: Any) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end in [DONE]."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 40, "seed": 1, "stream": True, **body}
    with client.stream("POST", "/v1/chat/completions", json=body) as r:
        assert r.status_code == 200
        assert r.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in r.iter_lines() if line and not line.startswith(":")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_the_answer_is_that_of_generate(ask: Ask, words: sl.Model) -> None:
    got = ask(softllama={"policy": "soft_thinking:n=5", "answer_policy": "greedy"})
    want = words.generate(QUESTION, chat=True, policy="soft_thinking:n=5", answer="greedy", seed=1, max_tokens=40)
    (choice,) = got["choices"]
    message = choice["message"]
    assert message["content"] == want.answer.lstrip()
    assert message["reasoning_content"] == message["reasoning"] == want.thinking
    assert message["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert choice["logprobs"] is None
    assert got["object"] == "chat.completion"
    assert got["id"].startswith("chatcmpl-")
    assert got["system_fingerprint"].startswith("sl_")
    assert got["model"] == "words"
    usage = got["usage"]
    assert usage["prompt_tokens"] == len(want.prompt)
    assert usage["completion_tokens"] == len(want.steps)
    assert usage["total_tokens"] == len(want.prompt) + len(want.steps)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == sum(s.thinking for s in want.steps)
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 0
    block = choice["softllama"]
    assert block["policy"] == "soft_thinking:n=5"
    assert block["seed"] == 1
    assert block["soft_steps"] == want.n_soft > 0
    assert block["thinking_ended"] == "closing tag"
    assert block["stop_reason"] == "end of generation"


def test_a_stream_is_the_same_in_pieces(client: Any, ask: Ask) -> None:
    whole = ask(softllama={"policy": "gumbel"})["choices"][0]
    chunks = events(client, softllama={"policy": "gumbel"}, stream_options={"include_usage": True})
    *parts, last = chunks
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0
    assert all(c["usage"] is None for c in parts)
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [c["choices"][0]["delta"] for c in parts[1:]]
    assert "".join(d.get("content", "") for d in deltas) == whole["message"]["content"]
    assert "".join(d.get("reasoning", "") for d in deltas) == whole["message"]["reasoning"]
    assert all(d.get("reasoning") == d.get("reasoning_content") for d in deltas)
    order = ["reasoning" if "reasoning" in d else "content" for d in deltas if d]
    assert order == sorted(order, reverse=True)  # all of the thinking comes first
    assert [c["choices"][0]["finish_reason"] for c in parts] == [None] * (len(parts) - 1) + ["stop"]
    assert parts[-1]["softllama"]["stop_reason"] == "end of generation"
    assert len({c["id"] for c in chunks}) == 1
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}


def test_without_include_usage_there_is_no_usage_chunk(client: Any) -> None:
    assert all(c["choices"] and "usage" not in c for c in events(client))


def test_several_choices_have_seeds_in_a_row(client: Any, ask: Ask) -> None:
    got = ask(n=3, seed=5, softllama={"policy": "gumbel:tau=2"})
    assert [c["index"] for c in got["choices"]] == [0, 1, 2]
    for i, choice in enumerate(got["choices"]):
        one = ask(seed=5 + i, softllama={"policy": "gumbel:tau=2"})["choices"][0]
        assert choice["message"] == one["message"]
    assert got["usage"]["completion_tokens"] == sum(
        ask(seed=5 + i, softllama={"policy": "gumbel:tau=2"})["usage"]["completion_tokens"] for i in range(3)
    )
    chunks = events(client, n=3, seed=5, softllama={"policy": "gumbel:tau=2"})
    for i, choice in enumerate(got["choices"]):
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"][0]["index"] == i)
        assert text == choice["message"]["content"]


def test_log_probabilities_cover_the_answer_only(ask: Ask, client: Any, words: sl.Model) -> None:
    body: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "softllama": {"answer_policy": "greedy"}}
    choice = ask(**body)["choices"][0]
    entries = choice["logprobs"]["content"]
    want = words.generate(QUESTION, chat=True, policy="soft_thinking", answer="greedy", seed=1, max_tokens=40)
    answer = [s for s in want.steps if not s.thinking]
    assert [e["token"] for e in entries] == [words.spell(s.token) for s in answer]
    assert [e["logprob"] for e in entries] == pytest.approx([s.logp for s in answer], abs=0.02)
    for e in entries:
        assert bytes(e["bytes"]).decode() == e["token"]
        assert len(e["top_logprobs"]) == 3
        assert e["top_logprobs"][0]["token"] == e["token"]  # greedy
        assert e["top_logprobs"][0]["logprob"] == pytest.approx(e["logprob"], abs=1e-5)
    assert len(choice["softllama"]["thinking_logprobs"]) == sum(s.thinking for s in want.steps)
    chunks = events(client, **body)
    streamed = [e for c in chunks if (lp := c["choices"][0]["logprobs"]) for e in lp["content"]]
    assert [e["token"] for e in streamed] == [e["token"] for e in entries]


def test_a_trace_has_every_step(client: Any, ask: Ask) -> None:
    soft = {"policy": "soft_thinking:n=15", "trace": "steps"}
    chunks = events(client, softllama=soft)
    steps = [s for c in chunks for s in c.get("softllama", {}).get("steps", [])]
    assert [s["index"] for s in steps] == list(range(len(steps)))
    assert [s["position"] for s in steps] == list(range(steps[0]["position"], steps[0]["position"] + len(steps)))
    assert {s["mode"] for s in steps if s["thinking"]} >= {"soft"}
    for s in steps:
        assert sum(f["w"] for f in s["fed"]) + s["rest"]["w"] == pytest.approx(1, abs=1e-4)
        assert [f["w"] for f in s["fed"]] == sorted((f["w"] for f in s["fed"]), reverse=True)
        assert len(s["fed"]) <= 12
        assert s["entropy"] >= 0
        assert s["readout"]["id"] == s["fed"][0]["id"] or s["mode"] == "soft"
    assert ask(softllama=soft)["choices"][0]["softllama"]["steps"] == steps


def test_the_thinking_goes_on_from_a_prefix(ask: Ask, client: Any) -> None:
    soft: dict[str, Any] = {"policy": "soft_thinking:n=4", "answer_policy": "greedy", "trace": "steps"}
    whole = ask(softllama=soft)["choices"][0]["softllama"]["steps"]
    given = [
        {"ids": [f["id"] for f in s["fed"]], "weights": [f["w"] for f in s["fed"]], "readout": s["readout"]["id"]}
        if s["mode"] == "soft"
        else {"id": s["readout"]["id"]}
        for s in whole[:3]
    ]
    rest = ask(softllama={**soft, "prefix": {"items": given}})["choices"][0]["softllama"]["steps"]
    assert [(s["position"], s["readout"]) for s in rest] == [(s["position"], s["readout"]) for s in whole[3:]]
    other = [*given[:2], {"id": whole[5]["readout"]["id"]}]  # another token there
    branch = ask(softllama={**soft, "prefix": {"items": other}})["choices"][0]["softllama"]["steps"]
    assert branch[0]["position"] == whole[3]["position"]
    assert [s["fed"] for s in branch] != [s["fed"] for s in whole[3:]]


def test_mixtures_fill_the_slots_of_the_last_message(ask: Ask, words: sl.Model) -> None:
    soft = {"mixtures": {"animal": "dog:0.5,cat:0.5"}, "policy": "full", "answer_policy": "greedy"}
    got = ask("What does the {animal} say?", softllama=soft)["choices"][0]["message"]
    mix = {"animal": "dog:0.5,cat:0.5"}
    want = words.generate(
        "What does the {animal} say?", mix=mix, chat=True, policy="full", answer="greedy", max_tokens=40
    )
    assert got["content"] == want.answer.lstrip()
    ids = words.mix("dog:0.5,cat:0.5")
    as_ids = {"ids": ids.ids.tolist(), "weights": ids.weights.tolist()}
    again = ask("What does the {animal} say?", softllama={**soft, "mixtures": {"animal": as_ids}})
    assert again["choices"][0]["message"] == got
    by_word = ask("What does the {animal} say?", softllama={**soft, "mixtures": {"animal": {"dog": 0.5, "cat": 0.5}}})
    assert by_word["choices"][0]["message"] == got


def test_thinking_is_switched_off_by_each_name_for_it(ask: Ask) -> None:
    for body in (
        {"softllama": {"think": False}},
        {"softllama": {"think": "off"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"reasoning_effort": "none"},
    ):
        choice = ask(**body)["choices"][0]
        assert "reasoning_content" not in choice["message"]
        assert choice["softllama"]["thinking_steps"] == 0
    assert ask(chat_template_kwargs={"enable_thinking": True}, reasoning_effort="high")["choices"][0]["message"][
        "reasoning"
    ]


def test_a_budget_ends_the_thinking(ask: Ask) -> None:
    for body in ({"softllama": {"think_budget": 2}}, {"thinking_token_budget": 2}):
        block = ask(**body)["choices"][0]["softllama"]
        assert block["thinking_steps"] == 3  # two, and the tag
        assert block["thinking_ended"] == "thinking budget"


def test_stop_strings_and_lengths(ask: Ask) -> None:
    whole = ask(softllama={"answer_policy": "greedy"})["choices"][0]["message"]["content"]
    word = whole.split()[1]
    for stop in (word, [word, "nothing"]):
        choice = ask(stop=stop, softllama={"answer_policy": "greedy"})["choices"][0]
        assert choice["message"]["content"] == whole[: whole.index(word)]
        assert (choice["finish_reason"], choice["softllama"]["stop_string"]) == ("stop", word)
    for name in ("max_tokens", "max_completion_tokens"):
        got = ask(**{"max_tokens": 40, name: 3})
        assert got["choices"][0]["finish_reason"] == "length"
        assert got["usage"]["completion_tokens"] == 3
    got = ask(max_tokens=0)
    assert (got["usage"]["completion_tokens"], got["choices"][0]["finish_reason"]) == (0, "length")


def test_sampling_fields_never_change_a_soft_policy(ask: Ask) -> None:
    block = ask(temperature=1, top_p=0.9, softllama={"policy": "soft_thinking"})["choices"][0]["softllama"]
    assert block["policy"] == "soft_thinking"
    assert block["answer_policy"] == "sample:temperature=1.0,top_k=30,top_p=0.9"
    block = ask(temperature=0, softllama={"policy": "cold_stop:k=9"})["choices"][0]["softllama"]
    assert block["policy"] == "cold_stop:temperature=0.0,k=9"


def test_a_model_name_chooses_the_policy(ask: Ask) -> None:
    assert ask(model="words@gumbel")["choices"][0]["softllama"]["policy"] == "gumbel"
    assert ask(model="words@gumbel:tau=0.2")["choices"][0]["softllama"]["policy"] == "gumbel:tau=0.2"
    assert ask(model="words@gumbel", softllama={"policy": "full"})["choices"][0]["softllama"]["policy"] == "full"


def test_messages_of_all_forms(ask: Ask, client: Any) -> None:
    plain = ask(softllama={"policy": "greedy"})["choices"][0]["message"]
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "What does "}, {"type": "text", "text": "the dog say?"}]}
    ]
    assert ask(messages=parts, softllama={"policy": "greedy"})["choices"][0]["message"] == plain
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    error = ask(messages=image, status=400)["error"]
    assert error["param"] == "messages.0.content"
    talk = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": []},
        {"role": "user", "content": QUESTION, "name": "me"},
    ]
    assert ask(messages=talk, unknown={"a": 1}, tools=[], user="me")["choices"][0]["message"]["content"]


def test_characters_come_whole(client: Any) -> None:
    """A byte-level vocabulary has bytes as tokens; a mixture of nothing but continuation bytes shows no half character."""
    given = [{"id": i} for i in client.post("/tokenize", json={"content": "</think>\n\nz"}).json()["tokens"]]
    for c in events(client, temperature=3, max_tokens=30, softllama={"policy": "sample", "prefix": {"items": given}}):
        text = c["choices"][0]["delta"].get("content", "")
        assert text == text.encode().decode()


def test_a_client_that_goes_away_frees_its_sequence(client: Any) -> None:
    def running() -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("softllama_running ")))

    body = {
        "messages": [{"role": "user", "content": "dog"}],
        "stream": True,
        "softllama": {"policy": "random_mix:where=everywhere"},
    }
    for _ in range(6):  # more than there are streams
        with client.stream("POST", "/v1/chat/completions", json=body) as r:
            next(r.iter_lines())
    for _ in range(200):
        if running() == 0:
            break
    assert running() == 0
