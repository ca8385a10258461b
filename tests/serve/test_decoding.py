"""Which policy a request gets: sampling fields never change a soft one."""

from __future__ import annotations

from typing import Any

import pytest

import softllama as sl
from softllama import policy
from softllama.serve import decoding
from softllama.serve.requests import ChatRequest, CompletionRequest
from softllama.serve.settings import Settings

USER = [{"role": "user", "content": "What does the dog say?"}]
PLAIN = "sample:temperature=0.6,top_k=30,top_p=0.95"


def planned(model: sl.Model, server: str | None = None, suffix: str | None = None, **body: Any) -> tuple[str, str]:
    """The policies that think and answer, as text."""
    request = ChatRequest.model_validate({"messages": USER, **body})
    plan = decoding.plan(model, request, USER, Settings(policy=server), suffix, chat=True)
    (g,) = decoding.generations(model, plan, request.softllama, 1, 1)
    return repr(g.policy), repr(g.policy.answer) if g.policy.answer else ""


@pytest.mark.parametrize(
    ("body", "thinks", "answers"),
    [
        ({}, "soft_thinking", PLAIN),
        ({"temperature": 1}, "soft_thinking", "sample:temperature=1.0,top_k=30,top_p=0.95"),
        ({"temperature": 0, "top_p": 1, "top_k": -1}, "soft_thinking", "sample:temperature=0.0,top_k=0,top_p=1.0"),
        ({"top_p": 0}, "soft_thinking", "sample:temperature=0.6,top_k=30,top_p=1e-06"),
        ({"repetition_penalty": 1.1}, "soft_thinking", PLAIN + ",repetition_penalty=1.1"),
        ({"repeat_penalty": 1.2}, "soft_thinking", PLAIN + ",repetition_penalty=1.2"),
        ({"presence_penalty": 0.5}, "soft_thinking", PLAIN + ",presence_penalty=0.5"),
        ({"presence_penalty": 0, "frequency_penalty": 0}, "soft_thinking", PLAIN),
        ({"frequency_penalty": -1}, "soft_thinking", PLAIN + ",frequency_penalty=-1.0"),
        ({"temperature": 1, "policy": "full"}, "full", "sample:temperature=1.0"),
        ({"temperature": 1, "policy": "full:answer=greedy"}, "full:answer=greedy", "greedy"),
        ({"temperature": 1, "answer_policy": "greedy"}, "soft_thinking", "greedy"),
        ({"temperature": 1, "policy": "full:where=everywhere"}, "full:where=everywhere", "greedy"),
        ({"temperature": 1, "policy": "greedy"}, "greedy", ""),
        ({"temperature": 1, "policy": "sample"}, "sample:temperature=1.0", ""),
        ({"temperature": 1, "policy": "sample:temperature=0.2"}, "sample:temperature=0.2", ""),
        ({"min_p": 0.1, "policy": "cold_stop:k=3"}, "cold_stop:min_p=0.1,k=3", PLAIN + ",min_p=0.1"),
    ],
)
def test_where_sampling_fields_go(words: sl.Model, body: dict[str, Any], thinks: str, answers: str) -> None:
    block = {k: body[k] for k in ("policy", "answer_policy") if k in body}
    fields = {k: v for k, v in body.items() if k not in block}
    assert planned(words, softllama=block, **fields) == (thinks, answers)


def test_who_decides(words: sl.Model) -> None:
    assert planned(words, server="gumbel")[0] == "gumbel"
    assert planned(words, server="gumbel", suffix="full")[0] == "full"
    assert planned(words, server="gumbel", suffix="full", softllama={"policy": "moi"})[0] == "moi"
    assert planned(words, server="sample:temperature=0.2", temperature=0.9)[0] == "sample:temperature=0.9"
    assert planned(words, server="greedy", temperature=0.9)[0] == "sample:temperature=0.9"
    assert planned(words, softllama={"think": False})[0] == PLAIN
    assert planned(words, softllama={"think": False}, temperature=0)[0] == "sample:temperature=0.0,top_k=30,top_p=0.95"


def test_a_policy_by_name_makes_a_model_without_tags_think_in_text(model: sl.Model) -> None:
    request = ChatRequest.model_validate({"messages": USER, "softllama": {"policy": "soft_thinking"}})
    plan = decoding.plan(model, request, USER, Settings(), None, chat=True)
    assert plan.options.think == "prompt"
    assert "plain text" in plan.note
    request.softllama.think = "off"
    plan = decoding.plan(model, request, USER, Settings(), None, chat=True)
    assert plan.options.think == "off"
    assert "never act" in plan.note
    assert planned(model) == (PLAIN, "")


def test_a_raw_prompt_is_greedy_unless_it_is_sampled(words: sl.Model) -> None:
    def of(**body: Any) -> str:
        request = CompletionRequest.model_validate({"prompt": "The dog", **body})
        plan = decoding.plan(words, request, "The dog", Settings(), None, chat=False)
        return repr(decoding.generations(words, plan, request.softllama, None, 1)[0].policy)

    assert of() == "greedy"
    assert of(temperature=0.7) == "sample:temperature=0.7"
    assert of(softllama={"policy": "full"}) == "full"


def test_seeds(words: sl.Model) -> None:
    request = ChatRequest.model_validate({"messages": USER, "n": 3})
    plan = decoding.plan(words, request, USER, Settings(), None, chat=True)
    assert [g.seed for g in decoding.generations(words, plan, request.softllama, 7, 3)] == [7, 8, 9]
    drawn = decoding.generations(words, plan, request.softllama, -1, 2)
    assert drawn[1].seed == drawn[0].seed + 1
    again = decoding.generations(words, plan, request.softllama, None, 1)
    assert again[0].seed != drawn[0].seed


def test_only_policies_that_feed_single_tokens_are_not_soft() -> None:
    assert {n for n in policy.names() if not policy.parse(n).soft} == {"greedy", "sample", "cold_stop"}
    assert policy.as_policy(lambda d, m: policy.greedy()(d, m)).soft
