"""Thinking blocks: which tags a model uses, and whether a prompt has opened one. Knows texts and ids, no contexts.

A model's tags are those of a known pair that its chat template or its vocabulary holds; `from_text` reads others.
"""

from __future__ import annotations

from dataclasses import dataclass

from softllama.errors import PromptError, UsageError
from softllama.llama.thinking_tags import known
from softllama.llama.tokenizer import Tokenizer

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


def make(tokenizer: Tokenizer, open_: str, close: str) -> Tags:
    """Tags with their ids in a vocabulary. Raises UsageError without a closing tag."""
    if not close:
        raise UsageError("a thinking block needs a closing tag", '--think-tags "<think>,</think>"')
    return Tags(open_, close, *(tuple(tokenizer.tokenize(t, lead=False)) for t in (open_, close)))


def from_text(tokenizer: Tokenizer, text: str) -> Tags:
    """Tags as a user writes them: "<think>,</think>"."""
    open_, comma, close = text.partition(",")
    if not comma or not open_.strip() or not close.strip():
        raise UsageError(f"{text!r} is no pair of tags", '--think-tags "<think>,</think>"')
    return make(tokenizer, open_.strip(), close.strip())


def tags_for(tokenizer: Tokenizer, template: str, think: str, text: str | None) -> Tags | None:
    """The tags of the thinking block: those of plain-text thinking for think = "prompt", else as the user wrote them, else
    the model's own; None where it has none.

    Args:
        template: the source of the chat template in use, "" without one.
        text: "<open>,</close>", or None.
    """
    own = from_text(tokenizer, text) if text else find(tokenizer, template)
    return make(tokenizer, "", PLAIN_CLOSE) if think == "prompt" else own


def find(tokenizer: Tokenizer, template: str) -> Tags | None:
    """The model's own tags: a known pair in its chat template, or one whose tags are single tokens. None if it has none.

    template: the source of the chat template, "" without one.
    """
    found = known(template, lambda texts: {t for t in texts if len(encoded(tokenizer, t)) == 1})
    return make(tokenizer, *found) if found else None


def encoded(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids of a text that goes on from other text; none where the vocabulary cannot write it."""
    try:
        return tuple(tokenizer.tokenize(text, lead=False))
    except PromptError:
        return ()


def opened(text: str, tags: Tags | None) -> bool:
    """Does a prompt end inside a thinking block: is its last tag the opening one?"""
    if tags is None or not tags.open:
        return False
    start = text.rfind(tags.open)
    return start >= 0 and tags.close not in text[start + len(tags.open) :]
