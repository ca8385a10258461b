"""The thinking block comes from what a chat template writes after the last message, for every family of models.

Each template here has the form of a family's own: how it begins an answer, and what switches thinking off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import softllama as sl
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.run import record
from softllama.generation.state import Generation
from softllama.llama import thinking_tags
from softllama.llama.template import ChatTemplate
from softllama.prompts import build, thinking
from softllama.prompts.thinking import Block, Tags

MESSAGES = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
ANSWER = "{% if add_generation_prompt %}<|im_start|>assistant\n"
QWEN3 = f"{MESSAGES}{ANSWER}{{% if enable_thinking is false %}}<think>\n\n</think>\n\n{{% endif %}}{{% endif %}}"
R1 = f"{MESSAGES}{ANSWER}<think>\n{{% endif %}}{{#</think>#}}"
V31 = f"{MESSAGES}{ANSWER}{{% if thinking %}}<think>{{% else %}}</think>{{% endif %}}{{% endif %}}"
SMOLLM3 = (
    "{% set off = '/no_think' in messages[0].content and messages[0].role == 'system' %}"
    f"{MESSAGES}{ANSWER}{{% if off %}}<think>\n\n</think>\n{{% endif %}}{{% endif %}}"
)
KIMI = f"{MESSAGES}{ANSWER}{{% endif %}}{{#<think></think>#}}"
SEED = f"{MESSAGES}{ANSWER}{{% endif %}}{{#<seed:think></seed:think>#}}"
BIELIK = f"{MESSAGES}{ANSWER}{{% if enable_thinking %}}<think>\n{{% endif %}}{{% endif %}}{{#</think>#}}"
GRANITE = f"{{% if thinking %}}Think in <think></think>.\n{{% endif %}}{MESSAGES}{ANSWER}{{% endif %}}"
HARMONY = (
    "{% for m in messages %}{% if '<|channel|>' in m.content %}{{ raise_exception('channel tags in content') }}{% endif %}"
    "<|start|>{{ m.role }}{{ '<|channel|>final' if m.role == 'assistant' }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}{#<|channel|>analysis<|message|>#}"
)
GEMMA4 = (
    "{% if enable_thinking %}<|turn>system\n<|think|><turn|>\n{% endif %}"
    "{% for m in messages %}<|turn>{{ m.role }}\n{{ m.content | trim }}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n{% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}{% endif %}"
)
KIMI_K3 = (
    "{% for m in messages %}<|open|>message role={{ m.role }}<|sep|>{{ m.content }}<|close|>message<|sep|>{% endfor %}"
    "{% if add_generation_prompt %}<|open|>message role=assistant<|sep|>"
    "<|open|>{{ 'think' if thinking else 'response' }}<|sep|>{% endif %}"
)
SOLAR = (
    "{% for m in messages %}<|begin|>{{ m.role }}<|content|>{{ m.content }}<|end|>{% endfor %}"
    "{#<|begin|>assistant<|think|>#}{% if add_generation_prompt %}<|begin|>assistant{% endif %}"
)
MINISTRAL = "{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}{#[THINK][/THINK]#}"  # adds nothing
PLAIN = f"{MESSAGES}{ANSWER}{{% endif %}}"
OPEN = {  # what the prompt ends in when the model is to think, and when it is not to
    "Qwen3": (QWEN3, "assistant\n<think>\n", "assistant\n<think>\n\n</think>\n\n"),
    "DeepSeek-R1": (R1, "assistant\n<think>\n", "assistant\n<think>\n</think>\n\n"),
    "DeepSeek-V3.1": (V31, "assistant\n<think>", "assistant\n</think>"),
    "SmolLM3": (SMOLLM3, "assistant\n<think>\n", "assistant\n<think>\n\n</think>\n\n"),
    "Kimi-K2-Thinking, LFM2.5": (KIMI, "assistant\n<think>\n", "assistant\n<think>\n\n</think>\n\n"),
    "Seed-OSS": (SEED, "assistant\n<seed:think>\n", "assistant\n<seed:think>\n\n</seed:think>\n\n"),
    "Bielik": (BIELIK, "assistant\n<think>\n", "<|im_start|>assistant\n"),
    "Granite": (GRANITE, "assistant\n<think>\n", "<|im_start|>assistant\n"),
    "gpt-oss": (
        HARMONY,
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|start|>assistant<|channel|>final<|message|>",
    ),
    "Gemma 4": (GEMMA4, "<|turn>model\n<|channel>thought\n", "<|turn>model\n<|channel>thought\n<channel|>"),
    "Kimi K3": (KIMI_K3, "<|open|>think<|sep|>", "<|open|>response<|sep|>"),
    "Solar Open": (SOLAR, "assistant<|think|>", "assistant<|think|><|end|><|begin|>assistant<|content|>"),
    "Ministral": (MINISTRAL, "[/INST][THINK]", "[/INST][THINK][/THINK]"),
}
ASKS = (
    "Hello",
    "What does the <think> tag do?",
    "Is </think> closed, and <|end|>?",
    "[THINK] <seed:think> <|channel>thought <|open|>think<|sep|>",
)


def tags_of(source: str, *, in_vocabulary: bool = False) -> Tags | None:
    """The tags for a template, with ids that mean nothing."""
    found = thinking_tags.known(source, lambda texts: set(texts) if in_vocabulary else set())
    if found is None:
        return None
    family, expected = found
    return Tags(family.open, family.close, (1,), (2, 3), (2,), expected, family)


def asked(source: str, text: str, think: str, *, system: str = "", in_vocabulary: bool = False) -> tuple[str, bool]:
    """The rendered prompt, and whether it ends inside a thinking block."""
    messages = [build.SlottedMessage.plain("system", system)] if system else []
    messages.append(build.SlottedMessage.plain("user", text))
    tags = tags_of(source, in_vocabulary=in_vocabulary)
    chat = build.chat_text(ChatTemplate(source), messages, think, tags, "the model")
    return chat.text.texts[0], chat.thinking


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("text", ASKS)
def test_thinking_opens_and_is_switched_off(name: str, text: str) -> None:
    source, opened, closed = OPEN[name]
    if name == "gpt-oss" and "<|channel|>" in text:
        pytest.skip("its template refuses that")
    for think in ("auto", "on"):
        prompt, inside = asked(source, text, think)
        assert inside
        assert prompt.endswith(opened), prompt
        assert text in prompt
    prompt, inside = asked(source, text, "off")
    assert not inside
    assert prompt.endswith(closed), prompt


def test_a_block_that_the_template_has_closed_stays_closed() -> None:
    prompt, inside = asked(SMOLLM3, "Hello", "auto", system="Be brief. /no_think")
    assert not inside
    assert prompt.endswith("<think>\n\n</think>\n")
    with pytest.raises(sl.UsageError, match="has closed the thinking block"):
        asked(SMOLLM3, "Hello", "on", system="Be brief. /no_think")
    always = f"{MESSAGES}{ANSWER}<think></think>{{% endif %}}"
    assert asked(always, "Hello", "auto") == (
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think></think>",
        False,
    )


@pytest.mark.parametrize("text", ASKS)
def test_tags_of_the_vocabulary_alone_open_nothing_by_themselves(text: str) -> None:
    assert asked(PLAIN, text, "auto", in_vocabulary=True) == asked(PLAIN, text, "off", in_vocabulary=True)
    assert not asked(PLAIN, text, "auto", in_vocabulary=True)[1]
    assert asked(PLAIN, text, "on", in_vocabulary=True)[1]


def test_a_template_without_its_opening_tag_is_known_by_the_closing_one() -> None:
    source = f"{MESSAGES}{ANSWER}{{% endif %}}{{#content.split('</think>')#}}"  # as DeepSeek's first distilled models
    assert asked(source, "Hello", "auto", in_vocabulary=True)[1]


def test_the_template_that_is_given_decides(load: Callable[..., sl.Model]) -> None:
    from tests.support import tiny

    def inside(own: str, given: str | None) -> bool:
        m = load("llama", chat_template=own)
        return prepare(m, "dog", GenerationOptions(chat=True, template=given, max_tokens=1)).thinking

    assert inside(R1, None)
    assert not inside(R1, PLAIN)
    assert not inside(tiny.CHAT_TEMPLATE, None)
    assert inside(tiny.CHAT_TEMPLATE, R1)


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("", Block.NONE),
        ("x", Block.NONE),
        ("<think>", Block.OPEN),
        ("<think>a</think>", Block.CLOSED),
        ("</think>", Block.CLOSED),
        ("<think>a</think><think>\n", Block.OPEN),
    ],
)
def test_last_block(text: str, block: Block) -> None:
    assert thinking.last_block(text, tags_of(QWEN3)) is block


def test_channels_leave_no_markup_in_the_answer_and_later_messages_are_accepted(model: sl.Model) -> None:
    family = thinking_tags.in_template(HARMONY)
    assert family is not None
    tags = thinking.make(model.tokenizer, family.open, family.close, family=family)
    assert tags.end_ids + tags.bridge_ids == tags.close_ids
    words = ["dog", "<|end|>", "cat"]
    said = [i for w in words for i in model.tokenizer.tokenize(w, lead=False)]

    def rule(d: sl.Distribution, moment: Any) -> Any:
        from softllama.policy import Decision

        token = said.pop(0) if said else model.tokenizer.eos
        return Decision(sl.Mixture.one_hot(token), token, "hard")

    options = GenerationOptions(max_tokens=200)
    g = Generation(model, rule, (1,), options, 0, tags, True, False)  # type: ignore[arg-type]
    for _ in loop.run(model, [g]):
        pass
    trace = record(model, g)
    assert (trace.thinking, trace.answer) == ("dog", "cat")
    prompt = [build.SlottedMessage.plain(r, t) for r, t in (("user", "a"), ("assistant", trace.answer), ("user", "b"))]
    assert build.chat_text(ChatTemplate(HARMONY), prompt, "auto", tags_of(HARMONY), "m").thinking


@pytest.mark.parametrize("source", ["chatml", "['chatml']", "4", "{{ bos_token }}Hello<|im_start|>assistant\n"])
def test_a_rendering_without_the_message_is_an_error(source: str) -> None:
    for think in ("auto", "off", "prompt"):
        with pytest.raises(sl.PromptError, match="leaves the message out"):
            asked(source, "Good morning", think)
    with pytest.raises(sl.PromptError, match="leaves the message out"):
        build.rendered(ChatTemplate(source), [build.SlottedMessage.plain("user", "Good morning")])


@pytest.mark.parametrize("change", ["| trim", "| upper", "| tojson", "| replace('l', 'L')"])
def test_a_template_may_change_a_message(change: str) -> None:
    source = f"{{% for m in messages %}}{{{{ m.content {change} }}}};{{% endfor %}}"
    assert asked(source, " Hello ", "auto")[0].endswith(";")


def test_families_are_told_apart() -> None:
    for name, (source, *_) in OPEN.items():
        assert thinking_tags.in_template(source) is not None, name
    assert thinking_tags.in_template(PLAIN) is None
    assert thinking_tags.unknown(PLAIN) == ""
    assert thinking_tags.unknown(QWEN3) == ""
    assert thinking_tags.unknown(PLAIN + "{% if enable_thinking %}{% endif %}") == "enable_thinking"
