"""Thinking blocks: which tags a model uses, whether a prompt has opened one, and how one is opened or closed.

A model's tags are those of the family that its chat template or its vocabulary shows (llama.thinking_tags); `from_text` reads
others. Knows texts and ids, no contexts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from softllama.errors import PromptError, UsageError
from softllama.llama import thinking_tags
from softllama.llama.thinking_tags import Family
from softllama.llama.tokenizer import Tokenizer

INSTRUCTION = 'First think step by step in plain text. Then write "Answer:" and the answer.'
PLAIN_CLOSE = "Answer:"
MODES = ("auto", "on", "off", "prompt")


class Block(StrEnum):
    """The last thinking block in a text."""

    NONE = "none"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Tags:
    """The texts around a thinking block, and their token ids. open may be "" (plain-text thinking).

    Attributes:
        end_ids: of what the model writes to end the block; `close_ids` begin with them, and the rest is put there.
        expected: do the chat template or the user name the tags? Else the vocabulary has them, and the model may not think.
        family: what else is known about them.
    """

    open: str
    close: str
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]
    end_ids: tuple[int, ...] = ()
    expected: bool = True
    family: Family = field(default_factory=lambda: Family(models="", open="", close=""))

    @property
    def opening(self) -> str:
        """What a prompt ends in so that the model thinks."""
        return self.open + self.family.after_open

    @property
    def skipped(self) -> str:
        """What a prompt ends in so that the model does not think: an empty block, already closed."""
        if self.family.skipped:
            return self.family.skipped
        return f"{self.open}\n\n{self.close}\n\n" if self.family.after_open else f"{self.open}{self.close}"

    @property
    def bridge_ids(self) -> tuple[int, ...]:
        """What follows the model's own end of the block, up to the answer."""
        return self.close_ids[len(self.end_ids) :] if self.family.end else ()


def make(tokenizer: Tokenizer, open_: str, close: str, *, family: Family | None = None, expected: bool = True) -> Tags:
    """Tags with their ids in a vocabulary. Raises UsageError without a closing tag."""
    if not close:
        raise UsageError("a thinking block needs a closing tag", '--think-tags "<think>,</think>"')
    family = family or Family(models="", open=open_, close=close)
    end = family.end or close
    parts = [tuple(tokenizer.tokenize(t, lead=False)) for t in (open_, end, close[len(end) :])]
    return Tags(open_, close, parts[0], parts[1] + parts[2], parts[1], expected, family)


def from_text(tokenizer: Tokenizer, text: str) -> Tags:
    """Tags as a user writes them: "<think>,</think>"."""
    open_, comma, close = text.partition(",")
    if not comma or not open_.strip() or not close.strip():
        raise UsageError(f"{text!r} is no pair of tags", '--think-tags "<think>,</think>"')
    family = thinking_tags.with_tags(open_.strip(), close.strip())
    return make(tokenizer, family.open, family.close, family=family)


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
    """The model's own tags: those of the family that its chat template shows, else a pair that are single tokens. None if
    it has none.

    template: the source of the chat template, "" without one.
    """
    found = thinking_tags.known(template, lambda texts: {t for t in texts if len(encoded(tokenizer, t)) == 1})
    if found is None:
        return None
    family, expected = found
    return make(tokenizer, family.open, family.close, family=family, expected=expected)


def encoded(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids of a text that goes on from other text; none where the vocabulary cannot write it."""
    try:
        return tuple(tokenizer.tokenize(text, lead=False))
    except PromptError:
        return ()


def last_block(text: str, tags: Tags | None) -> Block:
    """The last thinking block in a text. A closing tag closes one, whether or not its opening tag is there."""
    if tags is None or not tags.open:
        return Block.NONE
    bridge = tags.close[len(tags.family.end) :] if tags.family.end else ""
    if (bridge and text.endswith(bridge)) or (tags.family.skipped and text.endswith(tags.family.skipped)):
        return Block.CLOSED
    opening = text.rfind(tags.open)
    if opening < 0:
        return Block.CLOSED if tags.close in text else Block.NONE
    return Block.CLOSED if (tags.family.end or tags.close) in text[opening + len(tags.open) :] else Block.OPEN


def opened(text: str, tags: Tags | None) -> bool:
    """Does a prompt end inside a thinking block: is its last tag the opening one?"""
    return last_block(text, tags) is Block.OPEN


def answer_start(text: str, think: str, tags: Tags | None, skip: Tags | None, model_name: str) -> tuple[str, bool]:
    """Open or close the thinking block at the end of a text, as `think` says. Is it open now?

    Args:
        text: what the template writes after the last message.
        skip: the tags of the empty block with which thinking is switched off; None where that is not needed.
    """
    block = last_block(text, tags)
    if think == "off":
        if tags is not None and block is Block.OPEN:
            return f"{text}{tags.close}" + "\n\n" * bool(tags.family.after_open), False
        if skip is not None and skip.expected and block is Block.NONE:
            return f"{text}{skip.skipped}", False
        return text, False
    if block is Block.OPEN:
        return text, True
    if think == "on":
        if tags is None:
            raise no_tags(model_name)
        if block is Block.CLOSED:
            raise UsageError(
                "the chat template has closed the thinking block before the answer",
                "leave out what switches thinking off, such as /no_think in the system message",
            )
    if tags is None or block is Block.CLOSED or (think == "auto" and not tags.expected):
        return text, False
    return f"{text}{tags.opening}", True


def no_tags(model_name: str) -> UsageError:
    """The error where a thinking block is asked for, and the model has none."""
    return UsageError(
        f"{model_name} has no thinking block that softllama knows",
        "--think prompt asks it to think in plain text; --think-tags OPEN,CLOSE names tags that it was trained with",
    )
