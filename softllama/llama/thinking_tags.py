"""Families of models that think before they answer: how their block opens and closes, and by what a template shows it.

One table. How thinking is switched on and off is the template's business first: it gets `enable_thinking`, `thinking`, what its
family asks for, and a budget (`variables`). Where its rendering does not change with them, a closed block is prefilled. Earlier
thinking is kept apart from the answers of a chat; a template that reads `reasoning_content` gets it, and drops what its model does
not want to see again.

Knows texts. Does not know models: callers hand in a chat template, and which texts are tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models that think in the same form.

    Attributes:
        models: some of them.
        open: what begins the thinking.
        close: what ends it, up to where the answer begins.
        end: the beginning of `close` that the model writes; the rest is put there. "" for all of it.
        after_open: what stands between `open` and the thinking where the prompt opens the block.
        skipped: what a prompt ends in so that the model does not think; "" for an empty block.
        answer: pairs of texts that the model writes around its answer, and that are no part of it. "" for the first: it is
            there already.
        on, off: what else a template gets to switch thinking on and off.
        marks: texts that a template of the family holds; () for both tags.
    """

    models: str
    open: str
    close: str
    end: str = ""
    after_open: str = "\n"
    skipped: str = ""
    answer: tuple[tuple[str, str], ...] = ()
    on: Mapping[str, str] = field(default_factory=dict)
    off: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, str]:
        """The tags that the model itself writes."""
        return self.open, self.end or self.close


FAMILIES = (
    Family(
        models="gpt-oss",
        open="<|channel|>analysis<|message|>",
        close="<|end|><|start|>assistant<|channel|>final<|message|>",
        end="<|end|>",
        after_open="",
        skipped="<|channel|>final<|message|>",
        marks=("<|channel|>analysis<|message|>", "<|end|>"),
    ),
    Family(
        models="Kimi K3",
        open="<|open|>think<|sep|>",
        close="<|close|>think<|sep|><|open|>response<|sep|>",
        end="<|close|>think<|sep|>",
        after_open="",
        answer=(("", "<|close|>response<|sep|>"),),
        marks=("<|open|>", "<|close|>", "<|sep|>", "think"),
    ),
    Family(
        models="Muse Glimmer",
        open=" to=self<|message|>",
        close="<|eom|><|start|>assistant to=user<|message|>",
        end="<|eom|>",
        after_open="",
        skipped=" to=user<|message|>",
        marks=("<|start|>assistant to=self<|message|>", "<|eom|>"),
    ),
    Family(
        models="Solar Open",
        open="<|think|>",
        close="<|end|><|begin|>assistant<|content|>",
        end="<|end|>",
        after_open="",
        marks=("<|begin|>assistant<|think|>", "<|content|>"),
    ),
    Family(
        models="Gemma 4", open="<|channel>thought", close="<channel|>", marks=("<|channel>", "<channel|>", "thought")
    ),
    Family(models="Apertus", open="<|inner_prefix|>", close="<|inner_suffix|>", after_open=""),
    Family(
        models="Apriel 1.6 Thinker",
        open="Here are my reasoning steps:",
        close="[BEGIN FINAL RESPONSE]",
        marks=("Here are my reasoning steps:\\n", "[BEGIN FINAL RESPONSE]"),
    ),
    Family(
        models="Apriel 1.5 Thinker",
        open="Here are my reasoning steps:",
        close="[BEGIN FINAL RESPONSE]",
        answer=(("", "[END FINAL RESPONSE]"),),
        marks=("[BEGIN FINAL RESPONSE] ... [END FINAL RESPONSE]",),
    ),
    Family(
        models="Granite 3.2",
        open="Here is my thought process:",
        close="Here is my response:",
    ),
    Family(
        models="Granite 3.3",
        open="<think>",
        close="</think>",
        answer=(("<response>", "</response>"),),
        marks=("<think></think>", "<response></response>"),
    ),
    Family(
        models="Hunyuan",
        open="<think>",
        close="</think>",
        answer=(("<answer>", "</answer>"),),
        marks=("</think>", "<answer>", "</answer>"),
    ),
    Family(
        models="MiniMax-M3",
        open="<mm:think>",
        close="</mm:think>",
        after_open="",
        on={"thinking_mode": "enabled"},
        off={"thinking_mode": "disabled"},
    ),
    Family(
        models="Hy3",
        open="<think:opensource>",
        close="</think:opensource>",
        after_open="",
        on={"reasoning_effort": "high"},
        off={"reasoning_effort": "no_think"},
        marks=("<think{}>", "</think{}>", ":opensource"),
    ),
    Family(models="Seed-OSS", open="<seed:think>", close="</seed:think>"),
    Family(models="Magistral, Ministral Reasoning", open="[THINK]", close="[/THINK]", after_open=""),
    Family(models="Kimi-VL Thinking", open="◁think▷", close="◁/think▷"),
    Family(
        models="Command R7B, Command A Reasoning, Cohere2 MoE",
        open="<|START_THINKING|>",
        close="<|END_THINKING|>",
        after_open="",
        answer=(("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|START_TEXT|>", "<|END_TEXT|>")),
    ),
    Family(models="DeepSeek-R1, DeepSeek-V3.1, Qwen3, QwQ, GLM, SmolLM3", open="<think>", close="</think>"),
    Family(models="models with <thinking>", open="<thinking>", close="</thinking>"),
    Family(models="models with <reasoning>", open="<reasoning>", close="</reasoning>"),
    Family(models="models with <thought>", open="<thought>", close="</thought>"),
)
HINTS = ("enable_thinking", "reasoning_content", "thinking")  # variables that only templates of thinking models have
# what templates hold that models with and without thinking share: LFM2.5's, which only drop the thinking of earlier answers
SHARED = ("keep_past_thinking",)


def variables(template: str, family: Family | None, *, on: bool, budget: int | None = None) -> dict[str, Any]:
    """What a template gets to switch thinking on or off. DeepSeek-V3.1 and Granite have `thinking`, most others
    `enable_thinking`.

    Args:
        template: its text: Seed-OSS's also takes the budget, and 0 for no thinking.
        budget: steps of thinking; None for as many as the model wants.
    """
    own = {} if family is None else family.on if on else family.off
    values = {"enable_thinking": on, "thinking": on, **own}
    if "thinking_budget" in template and not (
        on and not budget
    ):  # a budget of 0 opens the block, and closes it at once
        values["thinking_budget"] = budget if on else 0
    return values


def in_template(template: str) -> Family | None:
    """The first family whose marks a chat template holds."""
    return next((f for f in FAMILIES if all(m in template for m in f.marks or f.pair)), None)


def known(template: str, single: Callable[[Iterable[str]], set[str]]) -> tuple[Family, bool] | None:
    """The family of a model, and whether its template says so. A vocabulary may have tags that its model never uses.

    Args:
        template: the text of a chat template.
        single: returns which of some texts are single tokens.
    """
    if (family := in_template(template)) is not None:
        return family, True
    plain = [f for f in FAMILIES if not f.marks]  # the others are more than a pair of tags
    tokens = single({tag for f in plain for tag in f.pair})
    shared = any(text in template for text in SHARED)
    there = [(f, not shared and any(t in template for t in f.pair)) for f in plain if tokens.issuperset(f.pair)]
    return max(there, key=lambda found: found[1], default=None)


def with_tags(open_: str, close: str) -> Family:
    """The family of a pair of tags that a user names; a new one where it is in no family."""
    families = sorted(
        FAMILIES, key=lambda f: not f.marks
    )  # the last one counts: of "<think>", that which has only the tags
    named = {f.pair: f for f in families} | {(f.open, f.close): f for f in families}
    return named.get((open_, close)) or Family(models="", open=open_, close=close)


def unknown(template: str) -> str:
    """The variable by which a template without a known family seems to be one of a thinking model; "" for none."""
    return "" if in_template(template) else next((h for h in HINTS if h in template), "")
