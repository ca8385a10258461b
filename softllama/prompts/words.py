"""Words to mixtures, and prompts with slots to what a session is fed. Knows a vocabulary, no context.

A bare word means the token that its slot in the prompt would give it: after a space, the space belongs to the token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from softllama.errors import MixtureError
from softllama.llama.tokenizer import Tokenizer
from softllama.prompts.slots import PromptTemplate
from softllama.vectors import mix_text
from softllama.vectors import mixture as mx
from softllama.vectors.mix_text import MixSpec, Part
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

SPLITS = ("first", "last", "mean")
Filled = TypeVar("Filled", bound=Mixture | Vector)  # what a slot holds
Split: TypeAlias = Literal["first", "last", "mean"]
MixArgument: TypeAlias = "str | Mixture | Mapping[str, str | Mixture] | Sequence[str | Mixture]"
"""Mixtures for slots: one, several, or by the slots' names; as text ("dog:0.5,cat:0.5") or as Mixture."""


@dataclass(frozen=True)
class Component:
    """One part of a mixture: what the user calls it, its weight, and the tokens it stands for (one, unless split)."""

    label: str
    weight: float
    mixture: Mixture


@dataclass(frozen=True)
class Resolved:
    """A mixture whose words have become ids. components: in the user's order; those of a vector, heaviest first."""

    name: str
    mixture: Mixture
    components: tuple[Component, ...]


def resolve(
    spec: MixSpec,
    tokenizer: Tokenizer,
    *,
    space: bool = True,
    lead: bool = False,
    split: str | None = None,
    signed: bool = False,
    normalize: bool = False,
) -> Resolved:
    """Words to ids. `space`: the text before ends in a space, which joins the word; `lead`: the word starts the prompt.

    Raises MixtureError for a word of several tokens (with the pieces; `split` says which to take), ids outside the
    vocabulary, and vectors that are not over it.
    """
    if split is not None and split not in SPLITS:
        raise MixtureError(f"{split!r} is no way to split a word", f"use one of {', '.join(SPLITS)}")
    if spec.vector:
        return _from_vector(spec, tokenizer, signed, normalize)
    parts = []
    for part, weight in zip(spec.parts, spec.weights, strict=True):
        parts.append(Component(str(part), weight, _tokens(part, tokenizer, space, lead, split)))
    mixture = mx.blend([c.mixture for c in parts], [c.weight for c in parts], signed=signed)
    return Resolved(spec.name, mixture, tuple(_distinct(parts)))


@dataclass(frozen=True)
class MixInput:
    """A mixture for a slot, before its words have become ids: which tokens they are, the slot decides.

    Args:
        spec: the text, parsed, or a Mixture.
        name: of the slot; "" for `{}`.
        split: what a word of several tokens stands for: "first", "last", "mean"; None refuses it.
        signed: whether weights may be any real numbers.
        normalize: whether weights are divided by their sum.
    """

    spec: MixSpec | Mixture
    name: str = ""
    split: str | None = None
    signed: bool = False
    normalize: bool = False

    def resolve(self, tokenizer: Tokenizer, *, space: bool = True, lead: bool = False) -> Resolved:
        """Words to ids, as in a slot after a space (`space`) or at the start of the prompt (`lead`).

        Raises:
            MixtureError: a word is no single token, or an id is outside the vocabulary.
        """
        if isinstance(self.spec, Mixture):
            return from_mixture(self.spec, tokenizer, self.name)
        return resolve(
            self.spec, tokenizer, space=space, lead=lead, split=self.split, signed=self.signed, normalize=self.normalize
        )


def read_mixes(
    mix: MixArgument | None, *, split: str | None = None, signed: bool = False, normalize: bool = False
) -> list[MixInput]:
    """The mixtures of an argument, in its order.

    Raises:
        MixtureError: something is neither text nor a Mixture, or a text that is not understood.
    """
    pairs: list[tuple[str, object]]
    if mix is None:
        pairs = []
    elif isinstance(mix, str | Mixture):
        pairs = [("", mix)]
    elif isinstance(mix, Mapping):
        pairs = list(mix.items())
    elif isinstance(mix, Sequence):
        pairs = [("", m) for m in mix]
    else:
        raise MixtureError(f"a mixture is text or a Mixture, not {type(mix).__name__}")
    inputs = []
    for name, value in pairs:
        if isinstance(value, Mixture):
            spec: MixSpec | Mixture = value
        elif isinstance(value, str):
            spec = mix_text.parse(value, signed=signed, normalize=normalize)
        else:
            raise MixtureError(f"a mixture is text or a Mixture, not {type(value).__name__}")
        label = name or (spec.name if isinstance(spec, MixSpec) else "")
        inputs.append(MixInput(spec, label, split, signed, normalize))
    return inputs


def from_mixture(m: Mixture, tokenizer: Tokenizer, name: str = "") -> Resolved:
    """A mixture given as ids: its components are its tokens, heaviest first, labelled with their texts."""
    if m.ids[-1] >= tokenizer.n_vocab:
        raise MixtureError(f"token id {m.ids[-1]} is outside the vocabulary of {tokenizer.n_vocab}")
    parts = [Component(label(tokenizer, i), w, Mixture.one_hot(i)) for i, w in m.top() if w != 0]
    return Resolved(name, m, tuple(_distinct(parts)))


def label(tokenizer: Tokenizer, token: int) -> str:
    """A token's text for people: without the space before it; "#id" where it has no readable text."""
    text = tokenizer.piece(token).decode("utf-8", "replace")
    shown = text[1:] if text.startswith(" ") and text.strip() else text
    return shown if shown.strip() and shown.isprintable() and "\ufffd" not in shown else f"#{token}"


def _distinct(parts: list[Component]) -> Iterator[Component]:
    """Labels must differ, as results are found by them: a second one of the same text gets its id beside it."""
    seen: set[str] = set()
    for c in parts:
        name = c.label
        while name in seen:
            name = f"{name}#{c.mixture.argmax}"
        seen.add(name)
        yield Component(name, c.weight, c.mixture)


def _tokens(part: Part, tokenizer: Tokenizer, space: bool, lead: bool, split: str | None) -> Mixture:
    if part.id is not None:
        if part.id >= tokenizer.n_vocab:
            raise MixtureError(
                f"token id {part.id} is outside the vocabulary of {tokenizer.n_vocab}",
                f"ids go from 0 to {tokenizer.n_vocab - 1}",
            )
        return Mixture.one_hot(part.id)
    text = part.word if not space or part.word[:1].isspace() else " " + part.word
    ids = tokenizer.tokenize(text, lead=lead and not space)
    if not ids:
        raise MixtureError(f"{part.word!r} gives no token in this vocabulary", "write a token id: #12")
    if len(ids) == 1:
        return Mixture.one_hot(ids[0])
    if split is None:
        pieces = " ".join(f"{tokenizer.piece(i).decode('utf-8', 'replace')!r} (#{i})" for i in ids)
        raise MixtureError(
            f"{part.word!r} is {len(ids)} tokens here: {pieces}",
            "--split first|last|mean takes one of them, or their mean",
        )
    if split == "mean":
        return Mixture(ids, np.full(len(ids), 1 / len(ids)))
    return Mixture.one_hot(ids[0 if split == "first" else -1])


def _from_vector(spec: MixSpec, tokenizer: Tokenizer, signed: bool, normalize: bool) -> Resolved:
    try:
        with Path(spec.vector).expanduser().open("rb") as f:
            v = np.load(f, allow_pickle=False)
    except (OSError, ValueError, EOFError, RuntimeError) as e:  # RuntimeError: ~user without such a user
        reason = e.strerror if isinstance(e, OSError) and e.strerror else "it is not an .npy file of numbers"
        raise MixtureError(f"cannot read the vector {spec.vector!r}: {reason}", "write one with numpy.save") from None
    if not isinstance(v, np.ndarray) or v.shape != (tokenizer.n_vocab,) or v.dtype.kind not in "fiub":
        shape = f"{v.dtype} {v.shape}" if isinstance(v, np.ndarray) else "several arrays"
        raise MixtureError(f"{spec.vector!r} holds {shape}", f"this model needs the shape ({tokenizer.n_vocab},)")
    v = v.astype(np.float64)
    if normalize and np.isfinite(v).all() and v.sum() > 0:
        v = v / v.sum()
    return from_mixture(Mixture.from_dense(v, signed=signed), tokenizer, spec.name)


# ---- prompts -------------------------------------------------------------------------------------------------------


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


def encode(prompt: PromptTemplate, tokenizer: Tokenizer, *, bos: bool | None = None) -> Encoded:
    """Tokenize the text around the slots. bos: None for what the vocabulary says (once, if the text has it already)."""
    items: list[int] = []
    spaces: list[bool] = []
    leads: list[bool] = []
    last = len(prompt.texts) - 1
    for i, text in enumerate(prompt.texts):
        space = i < last and text.endswith(" ")
        items += tokenizer.tokenize(text[:-1] if space else text, lead=i == 0)
        if i < last:
            spaces.append(space)
            leads.append(i == 0 and not text)
            items.append(~i)
    if bos is None:
        bos = tokenizer.add_bos
    if bos and tokenizer.bos is not None and items[:1] != [tokenizer.bos]:
        items.insert(0, tokenizer.bos)
    return Encoded(tuple(items), tuple(spaces), tuple(leads))


def items_with(encoded: Encoded, fill: Sequence[Filled]) -> list[int | Filled]:
    """What to feed when slot i holds fill[i]."""
    return [t if t >= 0 else fill[~t] for t in encoded.items]
