"""Mixtures as people write them: the text becomes a `MixSpec`, whose words are not yet ids.

    dog:0.5,cat:0.5         weights, which sum to 1
    dog:50%,cat:50%         the same
    dog=0.5,cat=0.5         the same, if there is more than one item and every one has a number
    0.5 dog + 0.5 cat       the same, as softllama shows mixtures; with --signed also 1 king - 1 man + 1 woman
    dog,cat                 equal shares
    "New York":0.3,...      quotes around anything, with \\" and \\\\ inside
    #1234:0.2,...           a token id
    @vector.npy             a whole vector over the vocabulary; or vectors in place of embeddings, (n_embd,) or (k, n_embd)
    @prompt.safetensors     the same; #NAME behind it names a tensor of several, and :table or :model the scale
    animal=dog:0.5,cat:0.5  with the name of the slot in the prompt that it is for

Knows the grammar. Does not know a vocabulary: prompts/words.py turns the words into ids.
"""

from __future__ import annotations

import math
import numbers
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
        vector: path of a file that holds a vector over the vocabulary, or vectors in place of embeddings; "" for none.
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
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*%?"
_DIGIT = r"[\d%]"  # the end of a weight
_EQUALS = re.compile(rf'([^=:"#,]+)=\s*([+-]?{_NUMBER})\s*')  # an item of dog=0.5,cat=0.5
_TERM = re.compile(
    rf'\s*([+-]?)\s*({_NUMBER})(?:\s*[*·×]\s*|\s+)("(?:[^"\\]|\\.)*"|.+?)(?=\s+[+-]\s*{_NUMBER}[\s*·×]|\s*$)'
)
_TWO_WEIGHTS = re.compile(rf":\s*{_NUMBER}\s*[\s;|/+&][^:]+:")  # dog:0.5 cat:0.5, in which no comma divides the items


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
    items = _as_sum(body) or _items(body, text)
    if (equals := _as_equals(items, name)) is not None:
        name, items = equals
    parts: list[Part] = []
    weights: list[float | None] = []
    for item in items:
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


def with_commas(text: str) -> str:
    """A text in which other signs divide the words, such as "dog:0.5; cat:0.5", with commas."""
    parts = re.split(rf"[;|/&]|(?<={_DIGIT})\s*\+\s*|(?<={_DIGIT})\s+(?=\S)", text)
    return ",".join(part.strip() for part in parts if part.strip())


def merged(spec: MixSpec) -> MixSpec:
    """The same with the weights of a word that is there more than once added."""
    weights: dict[Part, float] = {}
    for part, w in zip(spec.parts, spec.weights, strict=True):
        weights[part] = weights.get(part, 0.0) + w
    return replace(spec, parts=tuple(weights), weights=tuple(weights.values()))


def repeated(spec: MixSpec) -> list[str]:
    """The words that are there more than once."""
    return [str(part) for part, n in Counter(spec.parts).items() if n > 1]


def from_weights(weights: Mapping[str, float], *, signed: bool = False, normalize: bool = False) -> MixSpec:
    """A mixture of {"dog": 0.5, "cat": 0.5}: keys are words as they are.

    Args:
        weights: of the words; the arguments are those of `parse`.

    Raises:
        MixtureError: a word is empty, or the weights are not allowed.
    """
    items: list[str] = []
    for word, w in weights.items():
        if not isinstance(word, str) or not word or isinstance(w, bool) or not isinstance(w, numbers.Real):
            raise MixtureError(f"{word!r}: {w!r} is no word with a number", 'write {"dog": 0.5, "cat": 0.5}')
        text = word.replace("\\", r"\\").replace('"', r"\"")
        items.append(f'"{text}":{float(w)!r}')
    return parse(",".join(items), signed=signed, normalize=normalize)


def _as_sum(body: str) -> list[str] | None:
    """The items of "0.5 dog + 0.5 cat" as word:weight; None where the text is not a sum of at least two such terms."""
    items, at = [], 0
    while at < len(body) and (m := _TERM.match(body, at)):
        if "," in m[3] and not m[3].startswith('"'):
            return None
        if (at > 0) != bool(m[1]):
            return None  # a sign between two terms, and none before the first
        items.append(f"{m[3]}:{m[1].strip('+')}{m[2]}")
        at = m.end()
    return items if len(items) > 1 and not body[at:].strip() else None


def _as_equals(items: list[str], name: str) -> tuple[str, list[str]] | None:
    """The slot's name and the items of "dog=0.5,cat=0.5" as word:weight; None where not every item is such a pair.

    "dog=0.5" alone is the word 0.5 for the slot {dog}.
    """
    if len(items) < 2:
        return None
    for slot, found in (("", [f"{name}={items[0]}" if name else items[0], *items[1:]]), (name, items)):
        pairs = [_EQUALS.fullmatch(item) for item in found]
        if all(pairs):
            return slot, [f"{m[1].strip()}:{m[2]}" for m in pairs if m]
    return None


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
    if _TWO_WEIGHTS.search(item):
        raise MixtureError(
            f"{item!r} has two weights",
            f'a comma goes between words: "{with_commas(item)}"; quotes go around a word that holds a colon',
        )
    if not word.strip():
        raise MixtureError(f"no word before the colon in {item!r}", _FORM)
    return Part(word.strip()), _weight(tail, word, text)


def _unescape(m: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(m[1], m[1])


def _weight(tail: str, word: str, text: str) -> float:
    try:
        if "_" in tail:
            raise ValueError
        number, percent, rest = tail.strip().partition("%")
        if rest:
            raise ValueError
        value = float(number) / (100 if percent else 1)
    except ValueError:
        raise MixtureError(
            f"the weight of {word!r} is {tail.strip()!r}, which is not a number, in {text!r}",
            'write 0.5; quote a word that holds a colon or a comma: "12:30":0.5',
        ) from None
    if not math.isfinite(value):
        raise MixtureError(f"the weight of {word!r} is {tail.strip()}", "weights are plain numbers, such as 0.5")
    return value
