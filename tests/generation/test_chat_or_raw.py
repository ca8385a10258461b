"""One rule: a text is a message where there is a chat template, unless chat=False leaves it raw."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

import softllama as sl
from softllama.errors import UsageError
from softllama.generation import samples
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from tests.conftest import Cli
from tests.support import tiny

ONE = {"max_tokens": 1, "seed": 0}


def test_a_text_is_a_message_where_the_model_has_a_template(model: sl.Model, load: Callable[..., sl.Model]) -> None:
    plain = load("llama")
    message = model.generate("The dog", chat=True, **ONE).prompt  # type: ignore[arg-type]
    raw = model.generate("The dog", chat=False, **ONE).prompt  # type: ignore[arg-type]
    assert list(raw) == model.tokenize("The dog", bos=True)
    assert message != raw
    assert model.generate("The dog", **ONE).prompt == message  # type: ignore[arg-type]
    assert samples.sample(model, "The dog", 1, max_tokens=1, seed=0).traces[0].prompt == message
    assert plain.generate("The dog", **ONE).prompt == raw  # type: ignore[arg-type]
    assert plain.generate("The dog", template=tiny.CHAT_TEMPLATE, **ONE).prompt == message  # type: ignore[arg-type]


def test_ids_and_messages_say_what_they_are(model: sl.Model) -> None:
    ids = model.tokenize("The dog", bos=True)
    assert list(model.generate(ids, max_tokens=1, seed=0).prompt) == ids
    said = model.generate([{"role": "user", "content": "The dog"}], chat=False, max_tokens=1, seed=0)
    assert said.prompt == model.generate("The dog", max_tokens=1, seed=0).prompt


def test_the_command_line_has_the_same_rule(model: sl.Model, cli: Cli) -> None:
    for options, chat in (([], None), (["--raw"], False), (["--chat"], True)):
        code, out, _ = cli("run", "-q", "-m", model.path, "The dog", *options, "--max-tokens", 8, "--policy", "greedy")
        assert code in (0, 3)
        assert out.strip() == model.generate("The dog", chat=chat, max_tokens=8, policy="greedy").answer.strip()


def test_a_system_message_needs_a_template(model: sl.Model, load: Callable[..., sl.Model]) -> None:
    assert prepare(model, "The dog", GenerationOptions(system="Be kind."))
    for m, chat in ((model, False), (load("llama"), None)):
        with pytest.raises(UsageError, match="needs a chat template"):
            prepare(m, "The dog", GenerationOptions(system="Be kind.", chat=chat))


def test_a_policy_that_would_never_act_is_a_warning(model: sl.Model) -> None:
    with pytest.warns(UserWarning, match='has no thinking block, so soft_thinking would never act.*think="prompt"'):
        model.generate("The dog", policy="soft_thinking", max_tokens=1, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({"chat": False}, {"where": "everywhere"}, {"where": "thinking"}, {"think": "prompt"}):
            model.generate("The dog", policy="soft_thinking", max_tokens=1, seed=0, **options)  # type: ignore[arg-type]
        model.generate("The dog", policy="greedy", max_tokens=1)
        model.generate("The dog", max_tokens=1)
