"""What a mixture's words have become: components with their tokens, or a vector in their place. Knows a vocabulary.

words.py makes them from text, vector_files.py from files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from softllama.errors import MixtureError
from softllama.llama.tokenizer import Tokenizer
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector


@dataclass(frozen=True)
class Component:
    """One part of a mixture.

    label: what the user calls it. mixture: the tokens that it stands for in the mixture (one, unless split). tokens: all of the
    word, which stand for it in the prompt where words are alternatives. A vector is one part, itself,
    and has no tokens.
    """

    label: str
    weight: float
    mixture: Mixture | Vector
    tokens: tuple[int, ...]

    @property
    def as_mixture(self) -> Mixture:
        """The mixture of tokens. Raises MixtureError for a vector, which has none."""
        return _mixture_of(self.mixture)


@dataclass(frozen=True)
class Resolved:
    """A mixture whose words have become ids; or a vector in its place. components: in the user's order; those of a vector
    over the vocabulary, heaviest first.

    before: the tokens with which all its words begin. They are fed before the mixture. With split="alternatives" the mixture is
    that of "mean", and is not fed.
    """

    name: str
    mixture: Mixture | Vector
    components: tuple[Component, ...]
    before: tuple[int, ...] = ()

    @property
    def as_mixture(self) -> Mixture:
        """The mixture of tokens. Raises MixtureError for a vector, which has none."""
        return _mixture_of(self.mixture)


def _mixture_of(item: Mixture | Vector) -> Mixture:
    if isinstance(item, Vector):
        raise MixtureError("a vector of n_embd numbers is no mixture of tokens", "write words: dog:0.5,cat:0.5")
    return item


def from_mixture(m: Mixture, tokenizer: Tokenizer, name: str = "") -> Resolved:
    """A mixture given as ids: its components are its tokens, heaviest first, labelled with their texts."""
    if m.ids[-1] >= tokenizer.n_vocab:
        raise MixtureError(f"token id {m.ids[-1]} is outside the vocabulary of {tokenizer.n_vocab}")
    parts = [Component(label(tokenizer, i), w, Mixture.one_hot(i), (i,)) for i, w in m.top() if w != 0]
    return Resolved(name, m, tuple(distinct(parts)))


def label(tokenizer: Tokenizer, token: int) -> str:
    """A token's text for people: without the space before it; "#id" where it has no readable text."""
    text = tokenizer.piece(token).decode("utf-8", "replace")
    shown = text[1:] if text.startswith(" ") and text.strip() else text
    return shown if shown.strip() and shown.isprintable() and "\ufffd" not in shown else f"#{token}"


def distinct(parts: list[Component]) -> Iterator[Component]:
    """Labels must differ, as results are found by them: a second one of the same text gets its id beside it."""
    seen: set[str] = set()
    for c in parts:
        name = c.label
        while name in seen and isinstance(c.mixture, Mixture):
            name = f"{name}#{c.mixture.argmax}"
        seen.add(name)
        yield replace(c, label=name)
