"""The messages of a conversation, and how they become a prompt: the chat template, and slots for mixtures in messages.

Knows texts, templates and vocabularies. Does not know what a memory holds, or how an answer is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from softllama.base import arguments
from softllama.chat.prefix_cache import Item
from softllama.engine.engine import Engine
from softllama.errors import ModelError, PromptError
from softllama.generation import prepare
from softllama.generation.feed import shared
from softllama.generation.options import GenerationOptions
from softllama.llama.beginnings import common
from softllama.llama.template import ChatTemplate
from softllama.prompts import build
from softllama.prompts.build import ASSISTANT, SYSTEM, USER, ChatText, SlottedMessage
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.thinking import Tags
from softllama.prompts.words import ALTERNATIVES, MixInput, Resolved, not_averaged, read_mixes
from softllama.trace.record import Trace

COUNTS = (  # what is kept of an answer in numbers
    "n_thinking", "n_answer", "n_soft", "mean_entropy", "effective_tokens", "tokens_per_second", "evaluated", "seconds",
)  # fmt: skip
_SLOT = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Mix:
    """A mixture as text, "dog:0.5,cat:0.5", and how its words are read. Which tokens they are, its slot decides."""

    text: str
    split: str | None = None
    signed: bool = False
    normalize: bool = False

    def input(self) -> MixInput:
        """The mixture for a slot. Raises MixtureError for text that is not understood, or whole words as alternatives."""
        if self.split == ALTERNATIVES:
            raise not_averaged()
        (mix,) = read_mixes(self.text, split=self.split, signed=self.signed, normalize=self.normalize)
        return mix

    def resolve(self, model: Engine) -> Resolved:
        """Words to ids, as in a slot after a space."""
        return self.input().resolve(model.tokenizer)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without what is as usual."""
        return {"text": self.text, **{k: v for k, v in vars(self).items() if k != "text" and v}}


@dataclass(frozen=True)
class Message:
    """One message. role: "user" or "assistant". content: as typed, or the answer without its thinking.

    mixes: the mixtures that {name} in the content stands for. Of an answer: thinking, its readouts; details, how it was
    made, ready for JSON (policy, seed, stop_reason, counts); trace, its whole record, if it is still there.
    """

    role: str
    content: str
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    thinking: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    trace: Trace | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Rendered:
    """A prompt. inside: does it end inside a thinking block? stable: how much of its beginning the next turn's shares."""

    items: tuple[Item, ...]
    inside: bool
    stable: int


def user(text: str, mixes: Mapping[str, Mix]) -> Message:
    """A user's message that keeps those of the mixtures which it uses."""
    used = {m[2] for m in _SLOT.finditer(text) if m[2] in mixes} | {m[1] for m in _SLOT.finditer(text) if m[1] in mixes}
    return Message(USER, arguments.text("message", text), {n: mixes[n] for n in sorted(used)})


def slotted(message: Message) -> PromptTemplate:
    """A message's text around its slots. Braces are braces, unless a mixture has the name in them; {{name}} is {name}."""
    texts, names, current, end = [], [], "", 0
    for m in _SLOT.finditer(message.content):
        current += message.content[end : m.start()]
        end = m.end()
        if m[2] in message.mixes:
            texts.append(current)
            names.append(m[2])
            current = ""
        else:
            current += f"{{{m[1]}}}" if m[1] in message.mixes else m[0]
    return PromptTemplate((*texts, current + message.content[end:]), tuple(names))


def render(
    model: Engine,
    template: ChatTemplate,
    system: str,
    messages: Sequence[Message],
    settings: GenerationOptions,
    tags: Tags | None,
) -> Rendered:
    """The prompt that asks for an answer to the last message.

    Thinking of earlier answers is left to the template, which gets it as `reasoning_content` if it looks for that.

    Raises:
        PromptError: the template refuses the messages.
        MixtureError: a word of a mixture is no token.
    """
    plain = [SlottedMessage.plain(SYSTEM, system)] if system else []
    mixes: list[MixInput] = []
    for m in messages:
        text = slotted(m)
        mixes += [m.mixes[name].input() for name in text.slots]
        reasoning = m.thinking and "reasoning_content" in template.source
        said = SlottedMessage(m.role, text, {"reasoning_content": m.thinking} if reasoning else {})
        plain.append(said if settings.parse_special else build.without_control_tokens(said, model.tokenizer))
    try:
        chat = build.chat_text(template, plain, settings.think, tags, model.name, settings.think_budget)
    except PromptError as e:
        raise PromptError(e.message, "leave the system message out (/system none)" if system else e.hint) from None
    items = build.filled(chat.text, chat.order, mixes, model.tokenizer)
    model.check_vectors(items)
    if not items:
        raise PromptError("the chat template makes an empty prompt of these messages", "use --template FILE")
    stable = _stable(model, template, plain, settings, tags, chat, items, mixes) if model.recurrent else 0
    return Rendered(items, chat.thinking, stable)


def _stable(
    model: Engine,
    template: ChatTemplate,
    messages: Sequence[SlottedMessage],
    settings: GenerationOptions,
    tags: Tags | None,
    chat: ChatText,
    items: Sequence[Item],
    mixes: Sequence[MixInput],
) -> int:
    """How much of the prompt's beginning the next turn's prompt shares. What comes next does not matter, only that
    something is. Models that can go back to anywhere need no such number."""
    later = [*messages, SlottedMessage.plain(ASSISTANT, "x"), SlottedMessage.plain(USER, "x")]
    now = chat.text.filled([f"\ue000{i}\ue001" for i in chat.order])
    history = build.history_text(template, later, settings.think, tags, settings.think_budget)
    text, order = build.unmarked(now[: common(now, history)])
    return min(shared(items, build.filled(text, order, mixes, model.tokenizer)), len(items) - 1)


def template_of(model: Engine, source: str | None) -> ChatTemplate:
    """The model's chat template, or one given as text. Raises ModelError, with what to do, where there is none."""
    try:
        return prepare.chat_template(model, source)
    except ModelError as e:
        hint = "a chat needs one: --template FILE names it (Jinja); softllama run --raw works without"
        raise ModelError(e.message, hint if source is None else e.hint) from None


def details_of(trace: Trace) -> dict[str, Any]:
    """How an answer was made, ready for JSON: policy, seed, stop_reason, counts, seconds, and its model's manifest."""
    details = {"policy": trace.policy, "seed": trace.seed, "stop_reason": trace.stop_reason}
    details |= {name: getattr(trace, name) for name in COUNTS if name != "seconds"}
    details["seconds"] = trace.timings.get("total", 0.0)
    return details | {
        "manifest": {k: v for k, v in trace.manifest.items() if k not in ("arguments", "seed", "created")}
    }
