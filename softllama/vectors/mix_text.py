"""Mixtures as people write them: the text becomes a `MixSpec`, whose words are not yet ids.

    dog:0.5,cat:0.5         weights, which sum to 1
    dog,cat                 equal shares
    "New York":0.3,...      quotes around anything, with \\" and \\\\ inside
    #1234:0.2,...           a token id
    @vector.npy             a whole vector over the vocabulary
    animal=dog:0.5,cat:0.5  with the name of the slot in the prompt that it is for

Knows the grammar. Does not know a vocabulary: prompts/words.py turns the words into ids.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import numpy as np

from softllama.errors import MixtureError
from softllama.vectors.mixture import check_weights


@dataclass(frozen=True)
class Part:
    """One component as typed: a word, or a token id.

    Attributes:
        word: the text; "" for an id.
        id: the token id; None for a word.
        quoted: the word was in quotes, so it is taken as it is.
    """

    word: str = ""
    id: int | None = None
    quoted: bool = False

    def __str__(self) -> str:
        return self.word if self.id is None else f"#{self.id}"


@dataclass(frozen=True)
class MixSpec:
    """A mixture as typed: either `parts` and `weights`, or `vector`.

    Attributes:
        parts: the components, in the order typed.
        weights: one for each part. `parse` has normalized them if it was asked to.
        name: of the slot in the prompt that the mixture is for; "" for the next one.
        vector: path of an .npy file that holds a vector over the vocabulary; "" for none.
        text: what was typed.
    """

    parts: tuple[Part, ...] = ()
    weights: tuple[float, ...] = ()
    name: str = ""
    vector: str = ""
    text: str = field(default="", compare=False)


_NAME = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FORM = 'write word:weight pairs, such as "dog:0.5,cat:0.5"'


def parse(text: str, *, signed: bool = False, normalize: bool = False) -> MixSpec:
    """Read a mixture as people write it (this module's docstring has the grammar).

    Args:
        signed: any finite weights are allowed.
        normalize: divide the weights by their sum.

    Raises:
        MixtureError: the text is not a mixture. The message quotes the part that is wrong; the hint says what to write.
    """
    if normalize and signed:
        raise MixtureError("--normalize and --signed exclude each other", "signed weights are taken as they are")
    name, body = "", text
    if m := _NAME.match(text):
        name, body = m[1], text[m.end() :]
    if not body.strip():
        raise MixtureError(f"the mixture {text!r} is empty", _FORM)
    if body.lstrip().startswith("@"):
        path = body.strip()[1:]
        if not path:
            raise MixtureError("'@' needs the name of an .npy file", "such as @vector.npy")
        return MixSpec(name=name, vector=path, text=text)
    parts: list[Part] = []
    weights: list[float | None] = []
    for item in _items(body, text):
        part, weight = _item(item, text)
        parts.append(part)
        weights.append(weight)
    typed = [w for w in weights if w is not None]
    if typed and len(typed) < len(weights):
        with_, without = (str(parts[next(i for i, w in enumerate(weights) if (w is None) == k)]) for k in (False, True))
        raise MixtureError(f"{with_!r} has a weight and {without!r} has none", "give every word a weight, or none")
    values = typed or [1 / len(parts)] * len(parts)
    if normalize:
        total = sum(values)  # not fsum, which raises where this is infinite
        if not (math.isfinite(total) and total > 0):
            raise MixtureError(f"weights that sum to {total:g} cannot be normalized", "at least one must be positive")
        values = [w / total for w in values]
    check_weights(np.array(values), signed)
    return MixSpec(tuple(parts), tuple(values), name, text=text)


def _items(body: str, text: str) -> list[str]:
    """Split at the commas outside quotes."""
    items, start, i = [], 0, 0
    while i < len(body):
        if body[i] == '"' and not body[start:i].strip():
            m = _QUOTED.match(body, i)
            if not m:
                raise MixtureError(f"a quote is not closed in {text!r}", 'write "New York":0.5; a quote inside is \\"')
            i = m.end()
        elif body[i] == ",":
            items.append(body[start:i])
            start = i = i + 1
        else:
            i += 1
    return [*items, body[start:]]


def _item(item: str, text: str) -> tuple[Part, float | None]:
    item = item.strip()
    if not item:
        raise MixtureError(f"an empty item in {text!r}", f'{_FORM}; quote a comma: ",":0.5')
    if m := _QUOTED.match(item):
        word, rest = re.sub(r"\\(.)", _unescape, m[1]), item[m.end() :].strip()
        if not word:
            raise MixtureError(f"an empty word in {text!r}", _FORM)
        if rest and not rest.startswith(":"):
            raise MixtureError(f"{rest!r} follows a closing quote in {text!r}", 'write "New York":0.5')
        return Part(word, quoted=True), _weight(rest[1:], word, text) if rest else None
    if item.startswith("#"):
        m = re.fullmatch(r"#(\d+)(?:\s*:(.*))?", item)
        if not m:
            raise MixtureError(f"{item!r} is not a token id", 'write #1234:0.5, or "#..." in quotes for the text')
        token_id = int(m[1]) if len(m[1]) < 11 else 2**31
        if token_id >= 2**31:
            raise MixtureError(f"token id {m[1]} is out of range", "an id is below the size of the vocabulary")
        return Part(id=token_id), None if m[2] is None else _weight(m[2], f"#{m[1]}", text)
    word, colon, tail = item.rpartition(":")
    if not colon:
        return Part(item), None
    if not word.strip():
        raise MixtureError(f"no word before the colon in {item!r}", _FORM)
    return Part(word.strip()), _weight(tail, word, text)


def _unescape(m: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(m[1], m[1])


def _weight(tail: str, word: str, text: str) -> float:
    try:
        if "_" in tail:
            raise ValueError
        value = float(tail)
    except ValueError:
        raise MixtureError(
            f"the weight of {word!r} is {tail.strip()!r}, which is not a number, in {text!r}",
            'write 0.5; quote a word that holds a colon or a comma: "12:30":0.5',
        ) from None
    if not math.isfinite(value):
        raise MixtureError(f"the weight of {word!r} is {tail.strip()}", "weights are plain numbers, such as 0.5")
    return value
