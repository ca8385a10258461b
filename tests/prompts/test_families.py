"""The thinking block comes from what a chat template writes after the last message, for every family of models.

Each template here has the form of a family's own: how it begins an answer, and what switches thinking off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.run import record
from softllama.generation.state import Generation
from softllama.hub.facts import read
from softllama.llama import header, thinking_tags
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
M3 = (
    f"{MESSAGES}{ANSWER}{{% if thinking_mode == 'enabled' %}}<mm:think>{{% elif thinking_mode == 'disabled' %}}</mm:think>"
    "{% endif %}{% endif %}"
)
HY3 = (
    "{% set K = ':opensource' %}{% set a = '<think{}>'.format(K) %}{% set z = '</think{}>'.format(K) %}"
    f"{MESSAGES}{ANSWER}{{{{ a }}}}{{% if reasoning_effort != 'high' %}}{{{{ z }}}}{{% endif %}}{{% endif %}}"
)
MUSE = (
    "{% for m in messages %}{% if m.reasoning_content %}<|start|>assistant to=self<|message|>{{ m.reasoning_content }}<|eom|>"
    "{% endif %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GRANITE32 = (
    "{% if thinking %}Write your thoughts after 'Here is my thought process:' and your response after "
    f"'Here is my response:'.\n{{% endif %}}{MESSAGES}{ANSWER}{{% endif %}}"
)
BUDGET = (
    f"{{% if thinking_budget is defined %}}Budget: {{{{ thinking_budget }}}}.\n{{% endif %}}{MESSAGES}{ANSWER}"
    "{% if thinking_budget == 0 %}<seed:think>\nNo.\n</seed:think>{% endif %}{% endif %}"
)
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
    "MiniMax-M3": (M3, "assistant\n<mm:think>", "assistant\n</mm:think>"),
    "Hy3": (HY3, "assistant\n<think:opensource>", "assistant\n<think:opensource></think:opensource>"),
    "Muse Glimmer": (MUSE, "<|start|>assistant to=self<|message|>", "<|start|>assistant to=user<|message|>"),
    "Granite 3.2": (GRANITE32, "assistant\nHere is my thought process:\n", "<|im_start|>assistant\n"),
    "Seed-OSS, with a budget": (BUDGET, "assistant\n<seed:think>\n", "assistant\n<seed:think>\nNo.\n</seed:think>"),
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


def test_a_template_is_told_the_budget() -> None:
    def prompt(think: str, budget: int | None) -> str:
        messages = [build.SlottedMessage.plain("user", "Hello")]
        return build.chat_text(ChatTemplate(BUDGET), messages, think, tags_of(BUDGET), "m", budget).text.texts[0]

    assert prompt("auto", 300).startswith("Budget: 300.\n")
    assert prompt("on", 300).startswith("Budget: 300.\n")
    assert prompt("off", 300).startswith("Budget: 0.\n")
    assert prompt("auto", None).startswith("<|im_start|>")
    assert prompt("on", 0).endswith("<seed:think>\n")  # the loop closes it at once
    other = build.chat_text(
        ChatTemplate(QWEN3), [build.SlottedMessage.plain("user", "Hi")], "auto", tags_of(QWEN3), "m", 300
    )
    assert "300" not in other.text.texts[0]


def test_a_template_that_models_without_thinking_share_opens_nothing() -> None:
    drops = "{#content.split('</think>')#}"  # as DeepSeek's first distilled models
    lfm = f"{MESSAGES}{ANSWER}{{% endif %}}{{% set keep_past_thinking = false %}}{drops}"
    assert not asked(lfm, "Hello", "auto", in_vocabulary=True)[1]
    assert asked(lfm, "Hello", "on", in_vocabulary=True)[1]
    assert asked(lfm.replace("keep_past_thinking", "x"), "Hello", "auto", in_vocabulary=True)[1]


@pytest.mark.parametrize(
    "source", [GRANITE + "{#<response></response>#}", PLAIN + "{#</think><answer></answer><think>#}"]
)
def test_tags_around_an_answer_belong_to_families_whose_templates_have_them(source: str) -> None:
    family = thinking_tags.in_template(source)
    assert family is not None
    assert family.pair == ("<think>", "</think>")
    assert len(family.answer) == 1
    named = thinking_tags.with_tags("<think>", "</think>")
    assert named.answer == ()
    known = thinking_tags.known(PLAIN, set)
    assert known is not None
    assert known[0].answer == ()


@pytest.mark.parametrize("text", ["A<think>dog</think>cat", "<think>dog</think>cat"])
def test_a_block_that_the_model_opens_though_thinking_is_off_is_closed_at_once(model: sl.Model, text: str) -> None:
    tags = thinking.from_text(model.tokenizer, "<think>,</think>")
    said = model.tokenizer.tokenize(text, lead=False)

    def rule(d: sl.Distribution, moment: Any) -> Any:
        from softllama.policy import Decision

        token = said.pop(0) if said else model.tokenizer.eos
        return Decision(sl.Mixture.one_hot(token), token, "hard")

    options = GenerationOptions(max_tokens=200, think="off")
    g = Generation(model, rule, (1,), options, 0, tags, False, False)  # type: ignore[arg-type]
    for _ in loop.run(model, [g]):
        pass
    trace = record(model, g)
    assert all(s.mode == "forced" for s in trace.steps if s.thinking)
    assert any(s.thinking for s in trace.steps) == text.startswith("<think>")
    assert "dog" in trace.answer


def test_families_are_told_apart() -> None:
    for name, (source, *_) in OPEN.items():
        assert thinking_tags.in_template(source) is not None, name
    assert thinking_tags.in_template(PLAIN) is None
    assert thinking_tags.unknown(PLAIN) == ""
    assert thinking_tags.unknown(QWEN3) == ""
    assert thinking_tags.unknown(PLAIN + "{% if enable_thinking %}{% endif %}") == "enable_thinking"


@pytest.mark.parametrize(
    ("source", "tags", "note"),
    [
        (QWEN3, "<think> </think>", "as DeepSeek-R1"),
        (HARMONY, "<|channel|>analysis<|message|> <|end|>", "as gpt-oss"),
        (PLAIN, "", ""),
        (PLAIN + "{# reasoning_content #}", "", "unknown: the chat template has 'reasoning_content'"),
    ],
)
def test_models_show_says_what_is_known(write: Callable[..., Path], source: str, tags: str, note: str) -> None:
    facts = read(header.read(write("llama", chat_template=source)))
    assert facts["thinking"] == tags
    assert facts["thinking_note"].startswith(note)
    assert bool(facts["thinking_note"]) == bool(note)
