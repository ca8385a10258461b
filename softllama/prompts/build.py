"""From texts or messages with slots to what a model is fed: the one builder of prompts.

Probes, generations and conversations all come here. Knows a tokenizer and a chat template. Knows no contexts, and not what a
conversation remembers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from softllama.errors import MixtureError, PromptError, UsageError
from softllama.llama import thinking_tags
from softllama.llama.template import ChatTemplate
from softllama.llama.tokenizer import Tokenizer
from softllama.prompts import thinking, words
from softllama.prompts.encoded import CUT, Encoded, encode, items_with, with_shared
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.thinking import Tags
from softllama.prompts.words import MixInput
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

Item: TypeAlias = "int | Mixture | Vector"
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
_PLACEHOLDER = PromptTemplate(("\ue002",), ())  # stands for a message, to see what a template writes after it
_MARK = re.compile("\ue000([0-9]+)\ue001")  # private-use characters: a slot's number on its way through the template


@dataclass(frozen=True)
class SlottedMessage:
    """A chat message whose text may have slots. more: other fields for the template, such as reasoning_content."""

    role: str
    text: PromptTemplate
    more: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def plain(cls, role: str, text: str) -> SlottedMessage:
        """A message without slots: braces are just braces."""
        return cls(role, PromptTemplate((text,), ()))


def without_control_tokens(message: SlottedMessage, tokenizer: Tokenizer) -> SlottedMessage:
    """A message of the user in which the text of a control token, such as "<|im_end|>", is text like any other."""
    if message.role != USER:
        return message
    texts = tuple(_cut(t, tokenizer) for t in message.text.texts)
    return SlottedMessage(message.role, PromptTemplate(texts, message.text.slots), message.more)


def _cut(text: str, tokenizer: Tokenizer) -> str:
    for control in tokenizer.control_tokens_in(text):
        text = text.replace(control, CUT.join((control[:1], control[1:])))
    return text


@dataclass(frozen=True)
class ChatText:
    """A rendered chat. text: around its slots. order: for each slot in the text, its number among the messages' slots.
    thinking: does it end inside a thinking block?"""

    text: PromptTemplate
    order: tuple[int, ...]
    thinking: bool


def chat_text(
    template: ChatTemplate,
    messages: Sequence[SlottedMessage],
    think: str,
    tags: Tags | None,
    model_name: str,
    budget: int | None = None,
) -> ChatText:
    """The prompt that asks for an answer to the last message, with its thinking block opened or closed as asked.

    Only what the template writes after the last message can open or close the block: a message may mention tags.

    Args:
        think: "auto" opens a block where the template or the user names tags, unless the template has just closed one; "on"
            insists; "off" prevents it, with an empty block where the template has no way of its own; "prompt" asks for
            thinking in plain text, in the last message.
        tags: of the thinking block; None where the model has none.
        model_name: for error messages.
        budget: steps of thinking, for a template that tells the model; None for as many as it wants.

    Raises:
        PromptError: the template refuses the messages, or leaves the last one out.
        UsageError: the template does not keep the messages as they are, or there is no thinking block to open.
    """
    if think == "prompt":
        messages = [*messages[:-1], _instructed(messages[-1])]
    variables = _variables(template, think, tags, budget)
    text = _rendered(template, messages, variables)
    before = text[: _answer_start(template, messages, variables, text)]
    if think == "prompt":
        inside = True
    else:
        if think == "off" and _rendered(template, messages, _variables(template, "on", tags)) != text:
            tags_to_skip = None  # the template has a way of its own, such as a line in the system message
        else:
            tags_to_skip = tags
        ending, inside = thinking.answer_start(text[len(before) :], think, tags, tags_to_skip, model_name)
        text = before + ending
    return ChatText(*_split(text, sum(len(m.text.slots) for m in messages)), inside)


def has_switch(template: ChatTemplate, tags: Tags | None = None) -> bool:
    """Does what a template writes change with the variables that switch thinking on and off?"""
    messages = [SlottedMessage.plain(USER, "Hello")]
    try:
        on, off = (_rendered(template, messages, _variables(template, think, tags)) for think in ("on", "off"))
    except PromptError:
        return False
    return on != off


def rendered(template: ChatTemplate, messages: Sequence[SlottedMessage]) -> ChatText:
    """The prompt that asks for an answer, as the template has it.

    Raises:
        PromptError, UsageError: as `chat_text`.
    """
    text = _rendered(template, messages, {})
    _answer_start(template, messages, {}, text)  # raises where the message is lost
    return ChatText(*_split(text, sum(len(m.text.slots) for m in messages)), thinking=False)


def history_text(
    template: ChatTemplate,
    messages: Sequence[SlottedMessage],
    think: str,
    tags: Tags | None = None,
    budget: int | None = None,
) -> str:
    """The same messages as the beginning of a longer chat, slots still marked."""
    return _rendered(template, messages, _variables(template, think, tags, budget), generation=False)


def filled(
    text: PromptTemplate, which: Sequence[int], mixes: Sequence[MixInput], tokenizer: Tokenizer
) -> tuple[Item, ...]:
    """Ids, mixtures and vectors of a text. which: for each slot, the index of its mixture in `mixes`."""
    encoded = encode(text, tokenizer)
    results = resolved(encoded, which, mixes, tokenizer)
    return tuple(items_with(with_shared(encoded, [r.before for r in results]), [r.mixture for r in results]))


def continued(
    text: PromptTemplate, which: Sequence[int], mixes: Sequence[MixInput], tokenizer: Tokenizer
) -> tuple[Item, ...]:
    """`filled` of a text that goes on from other text: no BOS, and no space before its first word."""
    encoded = encode(text, tokenizer, bos=False, lead=False)
    results = resolved(encoded, which, mixes, tokenizer)
    return tuple(items_with(with_shared(encoded, [r.before for r in results]), [r.mixture for r in results]))


def resolved(
    encoded: Encoded, which: Sequence[int], mixes: Sequence[MixInput], tokenizer: Tokenizer
) -> list[words.Resolved]:
    """The mixture of each slot, its words read as they stand there."""
    results = []
    for slot, (j, space, lead) in enumerate(zip(which, encoded.spaces, encoded.leads, strict=True)):
        if not 0 <= j < len(mixes):
            raise MixtureError(
                f"there is no mixture for slot {slot}", "a message holds characters that stand for slots"
            )
        results.append(mixes[j].resolve(tokenizer, space=space, lead=lead))
    return results


def checked_items(items: Sequence[Any], tokenizer: Tokenizer) -> tuple[Item, ...]:
    """Token ids, mixtures and vectors, one for each position. Raises MixtureError for anything else, and for ids outside the
    vocabulary."""
    checked = (_checked(i, tokenizer.n_vocab) for i in items)
    return tuple(x for i in checked for x in (i.positions() if isinstance(i, Vector) else (i,)))


def marked(message: SlottedMessage, first: int) -> str:
    """A message's text with a mark in each slot; the first has the number `first`."""
    return message.text.filled([f"\ue000{first + i}\ue001" for i in range(len(message.text.slots))])


def unmarked(text: str) -> tuple[PromptTemplate, tuple[int, ...]]:
    """A marked text around its slots, and their numbers."""
    parts = _MARK.split(text)
    return PromptTemplate(tuple(parts[::2]), ("",) * len(parts[1::2])), tuple(int(i) for i in parts[1::2])


def _instructed(message: SlottedMessage) -> SlottedMessage:
    *texts, last = message.text.texts
    text = PromptTemplate((*texts, f"{last}\n\n{thinking.INSTRUCTION}"), message.text.slots)
    return SlottedMessage(message.role, text, message.more)


def _rendered(
    template: ChatTemplate, messages: Sequence[SlottedMessage], variables: dict[str, Any], *, generation: bool = True
) -> str:
    plain, n = [], 0
    for m in messages:
        plain.append({"role": m.role, "content": marked(m, n), **m.more})
        n += len(m.text.slots)
    return template.render(plain, generation=generation, **variables)


def _variables(template: ChatTemplate, think: str, tags: Tags | None, budget: int | None = None) -> dict[str, Any]:
    """What the template gets to switch thinking on or off. Nothing by itself where the tags would not be known."""
    family = thinking_tags.in_template(template.source)
    if think in ("off", "prompt"):
        return thinking_tags.variables(template.source, family, on=False)
    if tags is None and think != "on":
        return {}
    return thinking_tags.variables(template.source, family, on=True, budget=budget)


def _answer_start(
    template: ChatTemplate, messages: Sequence[SlottedMessage], variables: dict[str, Any], text: str
) -> int:
    """Where in a rendered text begins what the template writes after the last message.

    Raises:
        PromptError: the text lacks the message.
    """
    *earlier, last = messages
    try:
        other = _rendered(template, [*earlier, SlottedMessage(last.role, _PLACEHOLDER, last.more)], variables)
    except PromptError:  # it looks into the message
        return _prompt_end(template, messages, variables, text)
    _, mark, after = other.rpartition(_PLACEHOLDER.texts[0])
    if not mark and any(t.strip() and t.strip() not in text for t in last.text.texts):
        raise PromptError(
            "the chat template leaves the message out",
            "--template FILE names another template; --raw goes without one",
        )
    if mark and text.endswith(after):
        return len(text) - len(after)
    return _prompt_end(template, messages, variables, text)


def _prompt_end(
    template: ChatTemplate, messages: Sequence[SlottedMessage], variables: dict[str, Any], text: str
) -> int:
    """Where the text goes on for the answer; 0 where that cannot be told apart."""
    try:
        before = _rendered(template, messages, variables, generation=False)
    except PromptError:
        return 0
    return len(before) if before != text and text.startswith(before) else 0


def _split(text: str, n: int) -> tuple[PromptTemplate, tuple[int, ...]]:
    """The text around its n slots. Raises UsageError where the template lost or doubled one."""
    if not n:
        return PromptTemplate((text,), ()), ()
    template, order = unmarked(text)
    if sorted(order) != list(range(n)):
        raise UsageError(
            "the chat template does not keep the message as it is, so mixtures lose their slots",
            "use a raw prompt, without --chat, or another template",
        )
    return template, order


def _checked(item: Any, n_vocab: int) -> Item:
    if isinstance(item, Mixture):
        if (high := int(item.ids[-1])) >= n_vocab:
            raise MixtureError(
                f"token id {high} is outside the vocabulary of {n_vocab}", f"ids go from 0 to {n_vocab - 1}"
            )
        return item
    if isinstance(item, Vector):
        return item
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise MixtureError(f"a prompt holds token ids, mixtures and vectors, not {type(item).__name__}")
    i = int(item.__index__())
    if not 0 <= i < n_vocab:
        raise MixtureError(f"token id {i} is outside the vocabulary of {n_vocab}")
    return i
