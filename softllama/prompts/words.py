"""Words to mixtures: which tokens they are in a slot of a prompt. Knows a vocabulary, no context.

A bare word means the token that its slot in the prompt would give it: after a space, the space belongs to the token. Where all
words of a mixture begin with the same tokens, and each has one token more, those tokens are fed once, as they are, and the
mixture is of the tokens after them: " 3" and " 7" are a space and a digit in many vocabularies.

Words of unequal length are not padded: no token is neutral in a prompt. `split` takes one position of each, or, in a probe,
whole words stand as alternatives: each is fed as it is, and the outputs are averaged.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeGuard

import numpy as np

from softllama.errors import MixtureError
from softllama.llama.tokenizer import Tokenizer
from softllama.prompts import vector_files
from softllama.prompts.resolved import Component as Component
from softllama.prompts.resolved import Resolved as Resolved
from softllama.prompts.resolved import distinct
from softllama.prompts.resolved import from_mixture as from_mixture
from softllama.prompts.resolved import label as label
from softllama.vectors import mix_text
from softllama.vectors import mixture as mx
from softllama.vectors.mix_text import MixSpec, Part
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

ALTERNATIVES = "alternatives"
SPLITS = ("first", "last", "mean", ALTERNATIVES)
Split: TypeAlias = Literal["first", "last", "mean", "alternatives"]
OneMix: TypeAlias = "str | Mixture | Vector | Mapping[str, float]"
"""A mixture: as text ("dog:0.5,cat:0.5"), by words ({"dog": 0.5, "cat": 0.5}), or as Mixture; or a Vector in its place."""
MixArgument: TypeAlias = "OneMix | Mapping[str, OneMix] | Sequence[OneMix]"
"""Mixtures for slots: one, several, or by the slots' names."""


def resolve(
    spec: MixSpec,
    tokenizer: Tokenizer,
    *,
    space: bool = True,
    lead: bool = False,
    split: str | None = None,
    signed: bool = False,
    normalize: bool = False,
    share: bool = False,
) -> Resolved:
    """Words to ids. `space`: the text before ends in a space, which joins the word; `lead`: the word starts the prompt.

    share: tokens with which all words begin may become `Resolved.before`.

    A word that is there twice has its weights added. Raises MixtureError for a word of several tokens (with the pieces; `split`
    says which to take), for words that `split` makes equal, ids outside the vocabulary, and files that hold no vector.
    """
    if split is not None and split not in SPLITS:
        raise MixtureError(f"{split!r} is no way to split a word", f"use one of {', '.join(SPLITS)}")
    if spec.vector:
        return vector_files.read(spec, tokenizer, signed, normalize)
    if split == ALTERNATIVES and not share:
        raise not_averaged()
    spec = mix_text.merged(spec)
    ids = [_ids(part, tokenizer, space, lead) for part in spec.parts]
    n = _shared(ids) if split is None else 0
    if n and not share:
        raise MixtureError(
            f"{str(spec.parts[0])!r} and the other words begin with the same {n} token{'s'[: n > 1]}: "
            f"{_pieces(ids[0][:n], tokenizer)}",
            "one Mixture cannot hold them; as text, the mixture can fill a slot: mix=... of probe, generate and stream",
        )
    tokens = [_tokens(part, i[n:], tokenizer, split) for part, i in zip(spec.parts, ids, strict=True)]
    if split is not None and split != ALTERNATIVES:
        _check_different(spec.parts, ids, tokens, tokenizer, split)
    parts = [Component(str(p), w, m, i) for p, w, m, i in zip(spec.parts, spec.weights, tokens, ids, strict=True)]
    whole = mx.blend(tokens, spec.weights, signed=signed)
    return Resolved(spec.name, whole, tuple(distinct(parts)), ids[0][:n])


@dataclass(frozen=True)
class MixInput:
    """A mixture for a slot, before its words have become ids: which tokens they are, the slot decides.

    Args:
        spec: the text, parsed, or a Mixture, or a Vector.
        name: of the slot; "" for `{}`.
        split: what a word of several tokens stands for: "first", "last", "mean", or, in a probe, itself: "alternatives"; None
            refuses it.
        signed: whether weights may be any real numbers.
        normalize: whether weights are divided by their sum.
    """

    spec: MixSpec | Mixture | Vector
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
        if isinstance(self.spec, Vector):
            return Resolved(self.name, self.spec, (Component("vector", 1.0, self.spec, ()),))
        return resolve(
            replace(self.spec, name=self.name),
            tokenizer,
            space=space,
            lead=lead,
            split=self.split,
            signed=self.signed,
            normalize=self.normalize,
            share=True,
        )


def read_mixes(
    mix: MixArgument | None, *, split: str | None = None, signed: bool = False, normalize: bool = False
) -> list[MixInput]:
    """The mixtures of an argument, in its order.

    Raises:
        MixtureError: something is neither text nor a Mixture nor a Vector, or a text that is not understood.
    """
    pairs: list[tuple[str, object]]
    if mix is None:
        pairs = []
    elif isinstance(mix, str | Mixture | Vector) or _is_weights(mix):
        pairs = [("", mix)]
    elif isinstance(mix, Mapping):
        pairs = list(mix.items())
    elif isinstance(mix, Sequence):
        pairs = [("", m) for m in mix]
    else:
        raise _no_mixture(mix)
    inputs = []
    for name, value in pairs:
        if isinstance(value, Mixture | Vector):
            spec: MixSpec | Mixture | Vector = value
        elif _is_weights(value):
            spec = mix_text.from_weights(value, signed=signed, normalize=normalize)
        elif isinstance(value, str):
            spec = mix_text.parse(value, signed=signed, normalize=normalize)
        else:
            raise _no_mixture(value)
        label = name or (spec.name if isinstance(spec, MixSpec) else "")
        inputs.append(MixInput(spec, label, split, signed, normalize))
    return inputs


def _no_mixture(value: object) -> MixtureError:
    hint = "sl.Vector(array) for n_embd numbers, Mixture.from_dense(array) for one for each token"
    is_array = isinstance(value, np.ndarray)
    return MixtureError(f"a mixture is text or a Mixture, not {type(value).__name__}", hint if is_array else "")


def _is_weights(value: object) -> TypeGuard[Mapping[str, float]]:
    """Is this {"dog": 0.5, "cat": 0.5}, and not mixtures by the names of slots?"""
    return isinstance(value, Mapping) and any(isinstance(w, numbers.Real) for w in value.values())


def not_averaged() -> MixtureError:
    """The error where whole words cannot be alternatives: where one vector is needed, and no average of outputs."""
    return MixtureError(
        "--split alternatives averages the outputs of whole prompts, which only a probe does",
        "softllama probe --split alternatives; elsewhere --split first|last|mean, or one word at a time",
    )


def _ids(part: Part, tokenizer: Tokenizer, space: bool, lead: bool) -> tuple[int, ...]:
    """The tokens of a word in its place, at least one."""
    if part.id is not None:
        if part.id >= tokenizer.n_vocab:
            raise MixtureError(
                f"token id {part.id} is outside the vocabulary of {tokenizer.n_vocab}",
                f"ids go from 0 to {tokenizer.n_vocab - 1}",
            )
        return (part.id,)
    text = part.word if not space or part.word[:1].isspace() else " " + part.word
    ids = tuple(tokenizer.tokenize(text, lead=lead and not space))
    if not ids:
        raise MixtureError(f"{part.word!r} gives no token in this vocabulary", "write a token id: #12")
    return ids


def _shared(ids: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all words begin with, if each of several words has just one token more; else 0."""
    n = len(ids[0]) - 1
    alike = len(ids) > 1 and all(len(i) == n + 1 and i[:n] == ids[0][:n] for i in ids)
    return n if alike and len({*ids}) > 1 else 0


def _tokens(part: Part, ids: tuple[int, ...], tokenizer: Tokenizer, split: str | None) -> Mixture:
    """What a word stands for, from its tokens."""
    if len(ids) == 1:
        return Mixture.one_hot(ids[0])
    if split is None:
        commas = mix_text.with_commas(part.word)
        meant = f'a comma goes between words: "{commas}"; ' if "," in commas and not part.quoted else ""
        raise MixtureError(
            f"{part.word!r} is {len(ids)} tokens here: {_pieces(ids, tokenizer)}",
            f"{meant}"
            "--split first|last|mean takes one of them, or their mean; --split alternatives, in probe, feeds whole words and "
            "averages the outputs; words that differ in their last token only need no --split",
        )
    if split in ("mean", ALTERNATIVES):
        return Mixture(ids, np.full(len(ids), 1 / len(ids)))
    return Mixture.one_hot(ids[0 if split == "first" else -1])


def _check_different(
    parts: Sequence[Part], ids: Sequence[tuple[int, ...]], tokens: Sequence[Mixture], tokenizer: Tokenizer, split: str
) -> None:
    """Raise MixtureError where two words that differ have become the same."""
    for i, j in itertools.combinations(range(len(parts)), 2):
        if tokens[i] == tokens[j] and ids[i] != ids[j]:
            raise MixtureError(
                f"--split {split} makes {str(parts[i])!r} and {str(parts[j])!r} the same: "
                f"{_pieces(tokens[i].ids.tolist(), tokenizer)}",
                "take another --split, or words that are one token each",
            )


def _pieces(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    return " ".join(f"{tokenizer.piece(i).decode('utf-8', 'replace')!r} (#{i})" for i in ids)
