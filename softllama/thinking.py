"""Thinking blocks: which tags a model uses, and whether a prompt has opened one. Knows texts and ids, no contexts.

A model's tags are those of a known pair that its chat template or its vocabulary holds; `written` reads others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softllama.errors import PromptError, UsageError

if TYPE_CHECKING:
    from softllama.model import Model

KNOWN = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, QwQ, and the bundled models
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<thought>", "</thought>"),
)
INSTRUCTION = 'First think step by step in plain text. Then write "Answer:" and the answer.'
PLAIN_CLOSE = "Answer:"
MODES = ("auto", "on", "off", "prompt")


@dataclass(frozen=True)
class Tags:
    """The texts around a thinking block, and their token ids. open may be "" (plain-text thinking)."""

    open: str
    close: str
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]


def make(model: Model, open_: str, close: str) -> Tags:
    """Tags with their ids in this model's vocabulary."""
    if not close:
        raise UsageError("a thinking block needs a closing tag", '--think-tags "<think>,</think>"')
    return Tags(open_, close, *(tuple(model.tokenizer.tokenize(t, lead=False)) for t in (open_, close)))


def written(model: Model, text: str) -> Tags:
    """Tags as a user writes them: "<think>,</think>"."""
    open_, comma, close = text.partition(",")
    if not comma or not open_.strip() or not close.strip():
        raise UsageError(f"{text!r} is no pair of tags", '--think-tags "<think>,</think>"')
    return make(model, open_.strip(), close.strip())


def find(model: Model, template: str | None = None) -> Tags | None:
    """The model's own tags: a known pair in its chat template, or one whose tags are single tokens. None if it has none.

    template: the source of one that is used in place of the model's.
    """
    template = str(model.metadata.get("tokenizer.chat_template") or "") if template is None else template
    found = known(template, lambda texts: {t for t in texts if len(encoded(model, t)) == 1})
    return make(model, *found) if found else None


def known(template: str, single: Callable[[Iterable[str]], set[str]]) -> tuple[str, str] | None:
    """The first known pair that a template holds, else the first whose tags are tokens. single: which texts are."""
    for pair in KNOWN:
        if all(tag in template for tag in pair):
            return pair
    tokens = single({tag for pair in KNOWN for tag in pair})
    return next((pair for pair in KNOWN if tokens.issuperset(pair)), None)


def encoded(model: Model, text: str) -> tuple[int, ...]:
    """Ids of a text that goes on from other text; none where the vocabulary cannot write it."""
    try:
        return tuple(model.tokenizer.tokenize(text, lead=False))
    except PromptError:
        return ()


def opened(text: str, tags: Tags | None) -> bool:
    """Does a prompt end inside a thinking block: is its last tag the opening one?"""
    if tags is None or not tags.open:
        return False
    start = text.rfind(tags.open)
    return start >= 0 and tags.close not in text[start + len(tags.open) :]
