"""Where a thinking block ends, and what a policy that acts everywhere does behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.generation.options import GenerationOptions
from softllama.generation.run import record
from softllama.generation.state import Generation
from softllama.prompts.thinking import Tags, make
from softllama.trace.step import Step

SWIR = "swir:window=0,temperature=0,max_switches={m},answer_tokens=3,math=soft"


@pytest.fixture
def tags(model: sl.Model) -> Tags:
    return make(model.tokenizer, "<|im_start|>", "<|bos|>")  # one token each


def generation(model: sl.Model, rule: str, tags: Tags, **limits: Any) -> Generation:
    options = GenerationOptions(max_tokens=60, **limits)
    return Generation(model, policy.parse(rule), (1,), options, 0, tags, True, False)


def play(g: Generation, tokens: list[tuple[int, float]]) -> list[Step]:
    """Advance with distributions that have p on one token and the rest spread evenly, and with the last one until nothing is
    forced any more."""
    steps = []
    for token, p in tokens:
        probs = np.full(g.model.n_vocab, (1 - p) / (g.model.n_vocab - 1))
        probs[token] = p
        d = sl.Distribution.from_probs(probs)
        while True:
            step = g.advance(d)
            if step is not None:
                steps.append(step)
            if step is None or step.mode != "forced" or g.done:
                break
    return steps


def token(model: sl.Model, text: str) -> int:
    return model.tokenizer.tokenize(text, lead=False)[0]


def test_the_forced_end_of_swir_stands_in_the_answer_behind_a_blank_line(model: sl.Model, tags: Tags) -> None:
    dog = token(model, "dog")
    unsure, sure = (dog, 0.3), (dog, 0.9)
    g = generation(model, SWIR.format(m=1), tags)
    play(g, [unsure, sure, unsure, sure, unsure, sure, unsure, unsure, unsure])
    t = record(model, g)
    assert t.answer.startswith("dog")  # the first switch has closed the block
    assert "<|bos|>\n\nThe final answer isdog" in t.answer
    assert g.stop_reason != "max tokens"


@pytest.mark.parametrize("limits", [{"think_budget": 1}, {}])
def test_swir_is_hard_behind_a_block_that_the_loop_closed(model: sl.Model, tags: Tags, limits: dict[str, int]) -> None:
    dog = token(model, "dog")
    end = next(i for i in range(model.n_vocab) if model.is_eog(i))
    g = generation(model, SWIR.format(m=0), tags, **limits)
    steps = play(g, [(dog, 0.3), *([] if limits else [(end, 0.3)]), (dog, 0.2), (dog, 0.1), (dog, 0.9), (dog, 0.1)])
    assert steps[0].mode == "soft"
    assert [s.mode for s in steps if not s.thinking] == ["hard"] * sum(not s.thinking for s in steps)
    assert sum(not s.thinking for s in steps) >= 3


def test_a_closing_tag_that_swir_forces_does_not_end_its_switching(model: sl.Model, tags: Tags) -> None:
    dog = token(model, "dog")
    g = generation(model, SWIR.format(m=1), tags)
    steps = play(g, [(dog, 0.3), (dog, 0.9), (dog, 0.3)])
    assert [(s.mode, s.thinking) for s in steps] == [("soft", True), ("soft", True), ("forced", True), ("soft", False)]


def test_the_last_token_of_a_tag_in_plain_text_locks_nothing(model: sl.Model) -> None:
    plain = make(model.tokenizer, "", "Answer:")
    assert len(plain.close_ids) > 1
    colon, dog = plain.close_ids[-1], token(model, "dog")
    g = generation(model, SWIR.format(m=0), plain)
    steps = play(g, [(dog, 0.1), (colon, 0.1), (dog, 0.05)])
    assert [s.mode for s in steps] == ["soft"] * 3
    steps = play(g, [*((i, 0.05) for i in plain.close_ids), (dog, 0.9), (dog, 0.05), (dog, 0.9)])
    assert [s.thinking for s in steps] == [True] * len(plain.close_ids) + [False] * 3
    assert [s.mode for s in steps[len(plain.close_ids) - 1 :]] == ["hard"] * 4
    assert steps[len(plain.close_ids) - 1].mixture == sl.Mixture.one_hot(colon)


@pytest.mark.parametrize("name", ["swir", "selar:tau=0"])
def test_digits_are_never_mixed_in_a_real_run(model: sl.Model, tags: Tags, name: str) -> None:
    seven, dog = token(model, "7"), token(model, "dog")
    text = name + (":" if ":" not in name else ",") + "temperature=0.6,top_k=0,top_p=1"
    for math, modes in (("hard", ["soft", "hard"]), ("soft", ["soft", "soft"])):
        g = generation(model, f"{text},math={math}", tags)
        assert [s.mode for s in play(g, [(dog, 0.99), (seven, 0.98)])] == modes
