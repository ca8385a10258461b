"""What is said in a conversation, and how it becomes a prompt: the chat template, and places for mixtures in messages.

Knows texts, templates and vocabularies. Does not know what a memory holds, or how an answer is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from softllama.base import arguments
from softllama.chat.prefix_cache import Item, shared
from softllama.engine.engine import Engine
from softllama.errors import MixtureError, ModelError, PromptError, UsageError
from softllama.generation import prepare
from softllama.llama.template import ChatTemplate
from softllama.prompts import thinking, words
from softllama.prompts.slots import Prompt
from softllama.prompts.thinking import Tags
from softllama.vectors import mix_text

if TYPE_CHECKING:
    from softllama.trace.record import Trace

COUNTS = (  # what is kept of an answer in numbers
    "n_thinking", "n_answer", "n_soft", "mean_entropy", "effective_tokens", "tokens_per_second", "evaluated", "seconds",
)  # fmt: skip
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
_MARK = re.compile("\ue000([0-9]+)\ue001")
_PLACE = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Mix:
    """A mixture as written, "dog:0.5,cat:0.5", and how its words are read. Which tokens they are, its place decides."""

    text: str
    split: str | None = None
    signed: bool = False
    normalize: bool = False

    def resolve(self, model: Engine, *, space: bool = True, lead: bool = False) -> words.Resolved:
        """Words to ids, as at a place after a space (space) or at the start of the prompt (lead)."""
        spec = mix_text.parse(self.text, signed=self.signed, normalize=self.normalize)
        read = {"split": self.split, "signed": self.signed, "normalize": self.normalize}
        return words.resolve(spec, model.tokenizer, space=space, lead=lead, **read)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without what is as usual."""
        return {"text": self.text, **{k: v for k, v in vars(self).items() if k != "text" and v}}


@dataclass(frozen=True)
class Message:
    """One message. role: "user" or "assistant". content: as typed, or the answer without its thinking.

    mixes: the mixtures that {name} in the content stands for. Of an answer: thinking, its readouts; made, how it was
    made, ready for JSON (policy, seed, stop_reason, counts); trace, its whole record, if it is still there.
    """

    role: str
    content: str
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    thinking: str = ""
    made: Mapping[str, Any] = field(default_factory=dict)
    trace: Trace | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Rendered:
    """A prompt. inside: does it end inside a thinking block? stable: how much of its beginning the next turn's shares."""

    items: tuple[Item, ...]
    inside: bool
    stable: int


def user(text: str, mixes: Mapping[str, Mix]) -> Message:
    """A user's message that keeps those of the mixtures which it uses."""
    used = {m[2] for m in _PLACE.finditer(text) if m[2] in mixes} | {
        m[1] for m in _PLACE.finditer(text) if m[1] in mixes
    }
    return Message(USER, arguments.text("message", text), {n: mixes[n] for n in sorted(used)})


def places(message: Message) -> Prompt:
    """A message's text around its places. Braces are braces, unless a mixture has the name in them; {{name}} is {name}."""
    texts, names, current, end = [], [], "", 0
    for m in _PLACE.finditer(message.content):
        current += message.content[end : m.start()]
        end = m.end()
        if m[2] in message.mixes:
            texts.append(current)
            names.append(m[2])
            current = ""
        else:
            current += f"{{{m[1]}}}" if m[1] in message.mixes else m[0]
    return Prompt((*texts, current + message.content[end:]), tuple(names))


def render(
    model: Engine, template: ChatTemplate, system: str, messages: Sequence[Message], think: str, tags: Tags | None
) -> Rendered:
    """The prompt that asks for an answer to the last message.

    Thinking of earlier answers is left to the template, which gets it as `reasoning_content` if it looks for that.
    Raises PromptError where the template refuses, MixtureError where a word of a mixture is no token.
    """
    said: list[dict[str, str]] = [{"role": SYSTEM, "content": system}] if system else []
    mixes: list[Mix] = []
    for m in messages:
        parsed = places(m)
        marks = [f"\ue000{len(mixes) + i}\ue001" for i in range(len(parsed.places))]
        mixes += [m.mixes[name] for name in parsed.places]
        said.append({"role": m.role, "content": parsed.filled(marks)})
        if m.thinking and "reasoning_content" in template.source:
            said[-1]["reasoning_content"] = m.thinking
    options = {"enable_thinking": think != "off"}
    try:
        text = template.render(said, **options)
    except PromptError as e:
        raise PromptError(e.message, "leave the system message out (/system none)" if system else e.hint) from None
    before = template.render(said, generation=False, **options)
    if before == text or not text.startswith(before):
        opening, inside = prepare.open_block(model, text, think, tags)
        text = opening
    else:  # only what the template adds for the answer can open its block: a message may speak of tags
        opening, inside = prepare.open_block(model, text[len(before) :], think, tags)
        text = before + opening
    items = _items(model, text, mixes)
    stable = 0
    if model.recurrent:  # others can go back to anywhere. What is said next does not matter, only that something is
        later = [*said, {"role": ASSISTANT, "content": "x"}, {"role": USER, "content": "x"}]
        same = _common(text, template.render(later, generation=False, **options))
        stable = min(shared(items, _items(model, same, mixes, whole=False)), len(items) - 1)
    return Rendered(items, inside, stable)


def _items(model: Engine, text: str, mixes: Sequence[Mix], *, whole: bool = True) -> tuple[Item, ...]:
    """Ids and mixtures of a rendered text whose marks are places."""
    if not mixes:
        ids = words.encode(Prompt((text,), ()), model.tokenizer).items
        if not ids and whole:
            raise PromptError("the chat template makes an empty prompt of these messages", "use --template FILE")
        return ids
    parts = _MARK.split(text)
    found = [int(i) for i in parts[1::2]]
    if whole and sorted(found) != list(range(len(mixes))):
        raise UsageError(
            "the chat template does not keep the messages as they are, so mixtures lose their places",
            "write the message without mixtures, or use another template",
        )
    encoded = words.encode(Prompt(tuple(parts[::2]), ("",) * len(found)), model.tokenizer)
    fill = []
    for i, space, lead in zip(found, encoded.spaces, encoded.leads, strict=True):
        if i >= len(mixes):
            raise MixtureError("a message holds characters that stand for the places of mixtures", "leave them out")
        fill.append(mixes[i].resolve(model, space=space, lead=lead).mixture)
    return tuple(words.items_with(encoded, fill))


def _common(a: str, b: str) -> str:
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:n]


def template_of(model: Engine, source: str | None) -> ChatTemplate:
    """The model's chat template, or one given as text. Raises ModelError, with what to do, where there is none."""
    try:
        if source is None:
            return model.chat_template
        ids = {"bos": model.tokenizer.bos, "eos": model.tokenizer.eos}
        return ChatTemplate(source, **{k: "" if i is None else model.spell(i) for k, i in ids.items()})
    except ModelError as e:
        hint = "a chat needs one: --template FILE names it (Jinja); softllama run --raw works without"
        raise ModelError(e.message, hint if source is None else "repair the file that --template names") from None


def tags_of(model: Engine, source: str | None, written: str | None) -> Tags | None:
    """The tags of the thinking block: as written by the user, or the model's own."""
    if written:
        return thinking.written(model.tokenizer, written)
    return thinking.find(model.tokenizer, model.template_source if source is None else source)
