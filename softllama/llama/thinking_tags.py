"""Families of models that think before they answer: how their block opens and closes, and by what a template shows it.

One table. How thinking is switched on and off is the template's business first: it gets `enable_thinking` and `thinking`
(`variables`). Where its rendering does not change with them, a closed block is prefilled. Earlier thinking is kept apart from the
answers of a chat; a template that reads `reasoning_content` gets it, and drops what its model does not want to see again.

Knows texts. Does not know models: callers hand in a chat template, and which texts are tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


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
        answer_end: what ends the answer, where it is not a token that ends the generation.
        marks: texts that a template of the family holds; () for both tags.
    """

    models: str
    open: str
    close: str
    end: str = ""
    after_open: str = "\n"
    skipped: str = ""
    answer_end: str = ""
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
        answer_end="<|close|>response<|sep|>",
        marks=("<|open|>", "<|close|>", "<|sep|>", "think"),
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
    Family(models="Seed-OSS", open="<seed:think>", close="</seed:think>"),
    Family(models="Magistral, Ministral Reasoning", open="[THINK]", close="[/THINK]", after_open=""),
    Family(models="Kimi-VL Thinking", open="◁think▷", close="◁/think▷"),
    Family(models="Command A Reasoning", open="<|START_THINKING|>", close="<|END_THINKING|>", after_open=""),
    Family(models="DeepSeek-R1, DeepSeek-V3.1, Qwen3, QwQ, GLM, SmolLM3", open="<think>", close="</think>"),
    Family(models="models with <thinking>", open="<thinking>", close="</thinking>"),
    Family(models="models with <reasoning>", open="<reasoning>", close="</reasoning>"),
    Family(models="models with <thought>", open="<thought>", close="</thought>"),
)
HINTS = ("enable_thinking", "reasoning_content", "thinking")  # variables that only templates of thinking models have


def variables(on: bool) -> dict[str, bool]:
    """What a template gets to switch thinking on or off. DeepSeek-V3.1 and Granite have `thinking`, most others the other."""
    return {"enable_thinking": on, "thinking": on}


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
    tokens = single({tag for f in FAMILIES for tag in f.pair})
    there = [(f, any(tag in template for tag in f.pair)) for f in FAMILIES if tokens.issuperset(f.pair)]
    return max(there, key=lambda found: found[1], default=None)


def with_tags(open_: str, close: str) -> Family:
    """The family of a pair of tags that a user names; a new one where it is in no family."""
    named = {f.pair: f for f in reversed(FAMILIES)} | {(f.open, f.close): f for f in reversed(FAMILIES)}
    return named.get((open_, close)) or Family(models="", open=open_, close=close)


def unknown(template: str) -> str:
    """The variable by which a template without a known family seems to be one of a thinking model; "" for none."""
    return "" if in_template(template) else next((h for h in HINTS if h in template), "")
