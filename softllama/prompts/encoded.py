"""Prompts with slots as tokens: what a session is fed around the mixtures. Knows a vocabulary, no words and no context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from softllama.llama.tokenizer import Tokenizer
from softllama.prompts.slots import PromptTemplate
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

Filled = TypeVar("Filled", bound=Mixture | Vector)  # what a slot holds
CUT = "\ue003\ue004"  # in a text: no token goes across


@dataclass(frozen=True)
class Encoded:
    """A prompt as a session is fed it. items: a token id, or for a slot its index in the prompt, negative: ~index."""

    items: tuple[int, ...]
    spaces: tuple[bool, ...]  # for each slot: does a space before it join the word?
    leads: tuple[bool, ...]  # for each slot: does it start the prompt?

    @property
    def first_slot(self) -> int:
        """The position of the first slot; len(items) if there is none."""
        return next((i for i, t in enumerate(self.items) if t < 0), len(self.items))


def encode(prompt: PromptTemplate, tokenizer: Tokenizer, *, bos: bool | None = None, lead: bool = True) -> Encoded:
    """Tokenize the text around the slots. bos: None for what the vocabulary says (once, if the text has it already). lead: does
    the text begin a prompt, or does it go on from other text?"""
    items: list[int] = []
    spaces: list[bool] = []
    leads: list[bool] = []
    last = len(prompt.texts) - 1
    for i, text in enumerate(prompt.texts):
        space = i < last and text.endswith(" ")
        for j, part in enumerate((text[:-1] if space else text).split(CUT)):
            items += tokenizer.tokenize(part, lead=lead and i == j == 0)
        if i < last:
            spaces.append(space)
            leads.append(lead and i == 0 and not text)
            items.append(~i)
    if bos is None:
        bos = tokenizer.add_bos
    if bos and tokenizer.bos is not None and items[:1] != [tokenizer.bos]:
        items.insert(0, tokenizer.bos)
    return Encoded(tuple(items), tuple(spaces), tuple(leads))


def with_shared(encoded: Encoded, before: Sequence[Sequence[int]]) -> Encoded:
    """The same with tokens before the mixture of each slot: those with which all its words begin."""
    if not any(before):
        return encoded
    items: list[int] = []
    for t in encoded.items:
        items += (*before[~t], t) if t < 0 else (t,)
    return replace(encoded, items=tuple(items))


def items_with(encoded: Encoded, fill: Sequence[Filled]) -> list[int | Filled]:
    """What to feed when slot i holds fill[i]. A vector of k positions takes k."""
    if not fill:
        return list(encoded.items)
    out: list[int | Filled] = []
    for t in encoded.items:
        if t >= 0:
            out.append(t)
        elif isinstance(f := fill[~t], Vector):
            out += f.positions()  # type: ignore[arg-type]
        else:
            out.append(f)
    return out
