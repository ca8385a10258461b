"""Chat templates rendered in the sandbox: the texts that llama-cpp-python's formatter gave for them, and refusals."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import date

import pytest

from softllama import ModelError, PromptError
from softllama.hub import bundled
from softllama.llama import header
from softllama.llama.template import ChatTemplate
from softllama.llama.time_limit import TimeLimit, time_limit
from tests.conftest import ROOT

ONE = [{"role": "user", "content": 'Hi <b> & "you" é\n'}]
FOUR = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " What? "},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nThat."},
    {"role": "user", "content": "And now?"},
]
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
QWEN = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
BLOCKS = """{%- set ns = namespace(last='') %}
{% for m in messages %}
    {% if m.role == 'system' %}
    {% continue %}
    {% endif %}
    {% set ns.last = m.role %}
<|{{ m.role }}|>{{ m.content | tojson }}
    {% if loop.index > 2 %}{% break %}{% endif %}
{% endfor %}
{{ {'z': '<é&>', 'a': [1]} | tojson(indent=2, sort_keys=true) }}
{{ ns.last }} {{ tools is none }} {{ nothing is defined }} {{ strftime_now('%Y') | length }}
{% generation %}
kept
{% endgeneration %}
{{ bos_token }}{{ eos_token }}{{ enable_thinking | default('unset') }}
"""


def render(source: str, messages: list[dict[str, str]], **options: object) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages, **options)  # type: ignore[arg-type]


def template_of(name: str) -> str:
    return str(header.read(bundled.resolve(f"bundled:{name}")).get("tokenizer.chat_template"))


CHATML = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
THOUGHT = "<think>\nhm\n</think>\n\nThat."
SMOLLM2_SAYS = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
QWEN_SAYS = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
FOUR_TURNS = (
    CHATML.format("Be brief.", " What? ")
    + f"<|im_start|>assistant\n{THOUGHT}<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n"
)
EXPECTED = [
    (SMOLLM2, ONE, CHATML.format(SMOLLM2_SAYS, ONE[0]["content"])),
    (QWEN, ONE, CHATML.format(QWEN_SAYS, ONE[0]["content"])),
    (SMOLLM2, FOUR, FOUR_TURNS),
    (QWEN, FOUR, FOUR_TURNS),
]


@pytest.mark.parametrize(("source", "messages", "text"), EXPECTED, ids=["smollm2", "qwen", "smollm2-4", "qwen-4"])
def test_templates_of_real_models(source: str, messages: list[dict[str, str]], text: str) -> None:
    assert render(source, messages) == text + "<|im_start|>assistant\n"
    assert render(source, messages, generation=False) == text


def test_a_template_with_tools() -> None:
    text = render(QWEN, ONE, tools=[{"name": "f", "about": "<é>"}])
    assert '<tools>\n{"name": "f", "about": "<é>"}\n</tools>' in text


def test_templates_of_the_bundled_models() -> None:
    words, sums = template_of("words"), template_of("sums")
    turn = '<|im_start|>user\nHi <b> & "you" é\n<|im_end|>\n'
    assert render(words, ONE, generation=False) == turn
    assert render(words, ONE) == turn + "<|im_start|>assistant\n"
    assert render(words, ONE, enable_thinking=False).endswith("assistant\n<think>\n\n</think>\n\n")
    assert "<|im_start|>assistant\nThat.<|im_end|>" in render(words, FOUR)
    assert render(sums, ONE) == ' Hi <b> & "you" é =<think>'
    assert render(sums, FOUR) == " And now? =<think>"


def test_loop_controls_json_without_html_escapes_and_the_names_of_transformers() -> None:
    end = '{\n  "a": [\n    1\n  ],\n  "z": "<é&>"\n}\nuser True False 4\nkept\n<s></s>unset'
    assert render(BLOCKS, ONE) == '<|user|>"Hi <b> & \\"you\\" é\\n"\n' + end
    four = render(BLOCKS, FOUR, enable_thinking=True)
    assert four.startswith('<|user|>" What? "\n<|assistant|>"<think>\\nhm\\n</think>\\n\\nThat."\n{')
    assert four.endswith("<s></s>True")


def test_gemma_takes_its_bos_and_refuses_in_its_own_words() -> None:
    assert render(GEMMA, ONE) == '<s><start_of_turn>user\nHi <b> & "you" é<end_of_turn>\n<start_of_turn>model\n'
    with pytest.raises(PromptError, match="refuses these messages: System role not supported"):
        render(GEMMA, FOUR)
    with pytest.raises(PromptError, match="Conversation roles must alternate"):
        render(GEMMA, FOUR[2:])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% set _ = messages.append(1) %}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{{ messages.__class__.__mro__ }}", "access to attribute '__class__' of 'list' object is unsafe"),
        ("{{ messages[0].nothing.more }}", "'dict object' has no attribute 'nothing'"),
        ("{{ 1 + 'a' }}", "unsupported operand type"),
        ("{{ 1 // 0 }}", "division"),
        ("{% include 'file' %}", "no loader for this environment"),
    ],
)
def test_what_a_template_may_not_do(source: str, message: str) -> None:
    with pytest.raises(PromptError, match=f"the model's chat template refuses these messages: .*{message}"):
        render(source, ONE)


def test_a_template_that_does_not_parse() -> None:
    with pytest.raises(ModelError, match="the chat template does not parse: Unexpected end of template"):
        ChatTemplate("{% for m in messages %}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for t in tools %}{{ t }}{% endfor %}{{ messages[0].content }}", "Hello"),
        ("{{ 'Functions: ' + functions + datetime }} {{ messages[0].content }}", "Functions: Jan 02 2026 Hello"),
        ("{{ tools is none }} {{ messages[0].content }}", "True Hello"),
    ],
)
def test_a_template_for_tools_is_given_none_of_them(source: str, text: str) -> None:
    template = ChatTemplate(source, day=date(2026, 1, 2))
    assert template.render([{"role": "user", "content": "Hello"}]) == text
    assert template.asks_for_date == ("datetime" in source)


@pytest.mark.parametrize(
    "source",
    [
        "{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ [1, 2] * 10 ** 9 }}",
        "{{ 10 ** 10 ** 10 }}",
    ],
)
def test_a_template_without_an_end_is_ended(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softllama.llama.template.SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(PromptError, match="chat template"):
        ChatTemplate(source).render([{"role": "user", "content": "x"}])
    assert time.monotonic() - began < 10
    assert (
        ChatTemplate("{{ messages[0].content * 3 ~ 2 ** 10 }}").render([{"role": "user", "content": "x"}]) == "xxx1024"
    )


def test_a_time_limit_that_is_kept_changes_nothing() -> None:
    for _ in range(5):
        with time_limit(0.3):
            pass
    time.sleep(0.5)  # all of them are over by now, and none arrives
    with pytest.raises(TimeLimit), time_limit(0.01):
        _for_ever()


def test_a_profiler_does_not_hang() -> None:
    code = """
import cProfile
from softllama.llama.template import ChatTemplate
template = ChatTemplate("{{ messages[0].content }}")
print(cProfile.Profile().runcall(template.render, [{"role": "user", "content": "x"}]))
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout == "x\n", done.stderr


def _for_ever() -> None:
    while True:
        pass
