"""From steps to text: tags are no part of it, and nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.generation import prepare
from softllama.generation.options import GenerationOptions
from softllama.policy import Decision, Moment
from softllama.serve import answers
from softllama.serve.answers import Reader
from softllama.serve.jobs import Stepped
from softllama.vectors.distribution import Distribution


def scripted(model: sl.Model, prompt: str, text: str, **options: object) -> tuple[list[answers.Delta], Reader]:
    """The deltas of a generation that says a text, whatever the model would say."""
    ids = model.tokenizer.tokenize(text, lead=False)

    def say(d: Distribution, m: Moment) -> Decision:
        return policy.greedy()(Distribution(np.eye(model.n_vocab)[ids[m.step]] * 50), m)

    given = {"chat": True, "max_tokens": len(ids), "seed": 0, "policy": policy.as_policy(say), **options}
    g = prepare.prepare(model, prompt, GenerationOptions.of(given))
    g.keep = False
    reader, deltas = Reader(g), []
    flat = Distribution(np.zeros(model.n_vocab))
    while not g.done and (step := g.advance(flat)) is not None:
        deltas.append(reader.read(Stepped(step)))
    deltas.append(reader.end())
    return deltas, reader


def joined(deltas: Sequence[answers.Delta]) -> tuple[str, str]:
    return "".join(d.reasoning for d in deltas), "".join(d.content for d in deltas)


def test_thinking_and_answer_are_apart(words: sl.Model) -> None:
    deltas, reader = scripted(words, "dog", "so it is</think>\n\nwoof, woof")
    assert joined(deltas) == ("so it is", "woof, woof")
    assert (reader.reasoning, reader.content) == ("so it is", "woof, woof")
    assert reader.finish_reason == "length"


def test_a_block_that_the_model_opens_by_itself_is_no_content(words: sl.Model) -> None:
    source = "{% for m in messages %}{{ m.content }}{% endfor %}"
    options = {"template": source, "think": "auto", "think_tags": None}
    for text in ("<think>hm</think>woof", "\n<think>hm</think>\nwoof"):
        tags = prepare.prepare(words, "dog", GenerationOptions.of({"chat": True, "policy": "greedy", **options}))
        if tags.thinking:
            pytest.skip("the template opens the block")
        deltas, _ = scripted(words, "dog", text, **options)
        assert joined(deltas) == ("hm", "woof")
    deltas, _ = scripted(words, "dog", "<thin air", **options)
    assert joined(deltas) == ("", "<thin air")


def test_text_that_is_held_back_comes_at_the_end(words: sl.Model) -> None:
    deltas, _ = scripted(words, "dog", "x</think>wo", stop="woof")
    assert joined(deltas) == ("x", "wo")
    deltas, reader = scripted(words, "dog", "x</think>a woof b", stop="woof")
    assert joined(deltas) == ("x", "a ")
    assert reader.block()["stop_string"] == "woof"
    deltas, _ = scripted(words, "dog", "x</thing</think>woof")
    assert joined(deltas) == ("x</thing", "woof")


def test_half_characters_wait(words: sl.Model) -> None:
    deltas, _ = scripted(words, "dog", "ä</think>日本")
    assert joined(deltas) == ("ä", "日本")
    assert all("�" not in d.reasoning + d.content for d in deltas)


def test_usage_adds_up() -> None:
    a, b = answers.usage(10, 5, 3, 4), answers.usage(10, 7, 2, 9)
    both = answers.together([a, b])
    assert both["prompt_tokens"] == 10
    assert both["completion_tokens"] == 12
    assert both["total_tokens"] == 22
    assert both["completion_tokens_details"] == {"reasoning_tokens": 5}


def test_what_json_cannot_hold() -> None:
    assert answers.finite(-math.inf) == -9999
    assert answers.finite(-0.5) == -0.5


def test_a_record_of_a_step_has_the_heaviest(words: sl.Model) -> None:
    weights = np.arange(1, 31, dtype=float)
    m = sl.Mixture(np.arange(30), weights / weights.sum())
    top = answers.heaviest(m, 12)
    assert [i for i, _ in top] == list(range(29, 17, -1))
    assert [w for _, w in top] == pytest.approx((weights[:17:-1] / weights.sum()).tolist())
