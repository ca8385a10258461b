"""What a lens feeds: the prompt with its mixtures, and beside it the same with each word alone.

Knows the prompt and the vocabulary. Runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

from softllama.engine.engine import Engine, Item
from softllama.errors import PromptError, UsageError
from softllama.probe import frames
from softllama.probe.data import in_slots
from softllama.probe.inputs import Filling, combinations, distinct
from softllama.prompts import build, words
from softllama.prompts.encoded import Encoded, encode, items_with
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.words import MixArgument, Split
from softllama.vectors.mixture import Mixture

Prompt: TypeAlias = "str | Sequence[Item]"


class HowRead(TypedDict, total=False):
    """How a prompt and its mixtures are read: as of a probe."""

    chat: bool
    system: str | None
    normalize: bool
    signed: bool
    split: Split | None


MOST = 4  # words, or combinations of them, that run alone: the heaviest


@dataclass(frozen=True, kw_only=True)
class Input:
    """One sequence. name, weight: as in LensRun. texts: what stands at each position."""

    name: str
    weight: float | None
    items: list[Item]
    texts: list[str]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All sequences, of one length.

    prompt: as it was written. title: with its mixtures in the slots. first_slot: where the first mixture is; None for none.
    """

    prompt: str
    title: str
    runs: list[Input]
    first_slot: int | None


def read(
    model: Engine,
    prompt: Prompt | None,
    mix: MixArgument,
    *,
    chat: bool = False,
    system: str | None = None,
    normalize: bool = False,
    signed: bool = False,
    split: str | None = None,
    alone: bool = True,
) -> Inputs:
    """Read a prompt and its mixtures.

    Args:
        prompt: text, with slots if there are mixtures; or token ids, mixtures and vectors. None: of the frames for probes,
            the one in which the words differ most.
        alone: also make the sequences with each word alone.

    Raises:
        PromptError, MixtureError, UsageError: the prompt or the mixtures do not fit each other or the model.
    """
    if split == words.ALTERNATIVES:
        raise words.not_averaged()
    mixes = words.read_mixes(mix, split=split, signed=signed, normalize=normalize)
    if prompt is not None and not isinstance(prompt, str):
        if mixes or chat or system is not None:
            raise UsageError("a prompt of ids has no slots, and is no message", "put the mixtures among the ids")
        return _of_items(model, prompt)
    if system is not None and not chat:
        raise UsageError("a system message needs --chat")
    if not mixes:
        return _plain(model, prompt, chat, system)
    if prompt is None:
        prompt = next(iter(frames.choose(model, mixes, chat=chat, system=system)))
    filling = Filling.of(model, prompt, mixes, chat=chat, system=system)
    runs = [_input(model, "mixture", None, items_with(filling.encoded, filling.mixed()))]
    combos, _ = combinations(filling.mixtures)
    if alone and len(combos) > 1:
        weights = [math.prod(c.weight for c in filling.chosen(combo)) for combo in combos]
        heaviest = sorted(sorted(range(len(combos)), key=lambda i: -abs(weights[i]))[:MOST])
        labels = distinct(["+".join(c.label for c in filling.chosen(combos[i])) for i in heaviest])
        for i, label in zip(heaviest, labels, strict=True):
            runs.append(_input(model, label, weights[i], items_with(filling.encoded, filling.alone(combos[i]))))
    return Inputs(
        prompt=prompt, title=in_slots(prompt, filling.mixtures), runs=runs, first_slot=filling.encoded.first_slot
    )


def _of_items(model: Engine, items: Sequence[Item]) -> Inputs:
    checked = list(build.checked_items(items, model.tokenizer))
    model.check_vectors(checked)
    if not checked:
        raise PromptError("an empty prompt has no positions to look at", "give it a token")
    slots = [i for i, x in enumerate(checked) if not isinstance(x, int)]
    run = _input(model, "prompt", None, checked)
    text = "".join(run.texts)
    return Inputs(prompt=text, title=text, runs=[run], first_slot=slots[0] if slots else None)


def _plain(model: Engine, prompt: str | None, chat: bool, system: str | None) -> Inputs:
    """A prompt without mixtures: braces are just braces."""
    if prompt is None:
        raise PromptError("no prompt was given", 'softllama lens "The capital of France is", or --mix "France,Japan"')
    text = PromptTemplate((prompt,), ())
    if chat:
        message = build.without_control_tokens(build.SlottedMessage(build.USER, text), model.tokenizer)
        before = [build.SlottedMessage.plain(build.SYSTEM, system)] if system else []
        text = build.rendered(model.chat_template, [*before, message]).text
    encoded: Encoded = encode(text, model.tokenizer)
    if not encoded.items:
        raise PromptError("an empty prompt has no positions to look at", "write a prompt")
    run = _input(model, "prompt", None, list(encoded.items))
    return Inputs(prompt=prompt, title=prompt, runs=[run], first_slot=None)


def _input(model: Engine, name: str, weight: float | None, items: Sequence[Item]) -> Input:
    return Input(name=name, weight=weight, items=list(items), texts=[_text(model, i) for i in items])


def _text(model: Engine, item: Item) -> str:
    """What stands at a position: a token's text, or what is in its place in brackets."""
    if isinstance(item, int):
        return model.spell(item)
    if not isinstance(item, Mixture):
        return "[vector]"
    if len(item) == 1 and item.weights[0] == 1:
        return model.spell(int(item.ids[0]))
    shown = " + ".join(f"{w:.2g} {words.label(model.tokenizer, t)}" for t, w in item.top(3))
    return f"[{shown}{' + …' if len(item) > 3 else ''}]"
