"""Mixtures of tokens, as values and as people write them. Knows no vocabulary: words become ids elsewhere.

`Mixture` is what a model is fed. `MixSpec` is what a person typed, with words that are not yet ids:

    dog:0.5,cat:0.5         weights, which sum to 1
    dog,cat                 equal shares
    "New York":0.3,...      quotes around anything, with \\" and \\\\ inside
    #1234:0.2,...           a token id
    @vector.npy             a whole vector over the vocabulary
    animal=dog:0.5,cat:0.5  with the name of the place in the prompt that it is for
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.base import arguments, tables
from softllama.base.files import save_as
from softllama.errors import MixtureError

SHOWN = 10  # tokens that `show` and a notebook list
TOLERANCE = 1e-5  # of the sum of a probability vector's weights: what float32 leaves of a vector of 2^18 entries


@dataclass(frozen=True, eq=False)
class Mixture:
    """A sparse vector over the vocabulary: Mixture(ids, weights).

    ids: (k,) int32, kept in increasing order; an id given twice has its weights added. weights: (k,) float32,
    non-negative and summing to 1 within 1e-5, unless `signed`, when they are any finite numbers.

    Raises MixtureError for anything else. Whether the ids exist is the model's to say.
    """

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    signed: bool = False

    def __init__(self, ids: ArrayLike, weights: ArrayLike, *, signed: bool = False) -> None:
        try:
            given: Any = np.atleast_1d(np.asarray(ids))
            w: NDArray[np.float64] = np.atleast_1d(np.asarray(weights, dtype=np.float64))
        except (TypeError, ValueError) as e:
            raise MixtureError(f"ids and weights must be two lists of numbers: {e}") from None
        if given.ndim != 1 or given.shape != w.shape or not len(w):
            raise MixtureError(f"a mixture needs as many ids as weights, at least one; got {given.shape} and {w.shape}")
        if given.dtype.kind not in "iu":
            raise MixtureError(f"token ids must be integers, not {given.dtype}")
        if given.min() < 0 or given.max() >= 2**31:
            raise MixtureError(f"token id {given.min() if given.min() < 0 else given.max()} is out of range")
        check_weights(w, signed)
        order = np.argsort(given, kind="stable")
        given, w = given[order], w[order]
        new = np.concatenate(([True], given[1:] != given[:-1]))
        if not new.all():
            w = np.add.reduceat(w, np.flatnonzero(new))
            given = given[new]
        object.__setattr__(self, "ids", _frozen(given.astype(np.int32)))
        object.__setattr__(self, "weights", _frozen(w.astype(np.float32)))
        object.__setattr__(self, "signed", signed)

    @classmethod
    def trusted(cls, ids: NDArray[Any], weights: NDArray[Any]) -> Mixture:
        """Without checks, for ids (k,) in increasing order without repetition and weights (k,) known to sum to 1.

        The caller gives the arrays away.
        """
        m = cls.__new__(cls)
        ids, weights = ids.astype(np.int32, copy=False), weights.astype(np.float32, copy=False)
        ids.flags.writeable = weights.flags.writeable = False
        m.__dict__.update(ids=ids, weights=weights, signed=False)
        return m

    @classmethod
    def one_hot(cls, token_id: int) -> Mixture:
        """The mixture that is one token: feeding it equals feeding the token."""
        try:
            return _one_hot(token_id)
        except TypeError:  # no key of a dictionary
            raise MixtureError(f"a token id is a whole number, not {token_id!r}") from None

    @classmethod
    def from_distribution(cls, probs: ArrayLike, *, n: int | None = None, mass: float = 1.0) -> Mixture:
        """The n heaviest entries of a probability vector (n_vocab,), or the fewest that hold `mass`, renormalised.

        Equal entries are taken in the order of their ids. Entries of 0 are left out.
        """
        p = _dense(probs)
        arguments.whole_or_none("n", n)
        arguments.number("mass", mass)
        if n is not None and n < 1:
            raise MixtureError(f"a mixture needs at least one token, not n = {n}")
        if not 0 < mass <= 1:
            raise MixtureError(f"the mass to keep must be in (0, 1], not {mass}")
        if p.min() < 0 or not p.sum() > 0:
            raise MixtureError("a probability vector has no negative entries, and some positive ones")
        order = np.argsort(-p, kind="stable")[: min(n or len(p), int(np.count_nonzero(p)))]
        if mass < 1:
            covered = np.cumsum(p[order])
            order = order[: int(np.searchsorted(covered, mass * p.sum(), side="left")) + 1]
        return cls(order, p[order] / p[order].sum())

    @classmethod
    def from_dense(cls, vector: ArrayLike, *, signed: bool = False) -> Mixture:
        """Every non-zero entry of a vector over the vocabulary (n_vocab,), as it is."""
        v = _dense(vector)
        ids = np.flatnonzero(v)
        if not len(ids):
            raise MixtureError("the vector is 0 everywhere")
        return cls(ids, v[ids], signed=signed)

    def top(self, n: int | None = None) -> list[tuple[int, float]]:
        """(id, weight) of the n heaviest entries, heaviest first."""
        order = np.argsort(-self.weights, kind="stable")[: arguments.whole_or_none("n", n, 0)]
        return [(int(self.ids[i]), float(self.weights[i])) for i in order]

    @property
    def heaviest(self) -> int:
        """The id of the largest weight; the lowest among equals."""
        return int(self.ids[self.weights.argmax()])

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mixture):
            return NotImplemented
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash((self.ids.tobytes(), self.weights.tobytes()))

    def __repr__(self) -> str:
        show = ", ".join(f"#{i}: {w:.4g}" for i, w in self.top(6))
        return f"Mixture({len(self)} tokens; {show}{', …' if len(self) > 6 else ''})"

    def _repr_html_(self) -> str:
        more = f"; the {SHOWN} heaviest" if len(self) > SHOWN else ""
        return tables.html_table(("id", "weight"), self.top(SHOWN), f"mixture of {len(self)} tokens{more}")

    def show(self, spell: Callable[[int], str] | None = None) -> None:
        """Print the heaviest tokens, heaviest first.

        Args:
            spell: the text of an id, such as `model.spell`; a mixture knows ids only.
        """
        print(f"mixture of {len(self):,} tokens\n{'id':>8}  {'weight    token' if spell else 'weight'}")
        for i, w in self.top(SHOWN):
            print(f"{i:>8}  {w:<8.4g}{f'  {spell(i)!r}' if spell else ''}".rstrip())
        if len(self) > SHOWN:
            print(f"{'':>8}  and {len(self) - SHOWN:,} more")

    def to_dataframe(self, spell: Callable[[int], str] | None = None) -> Any:
        """A pandas DataFrame with the columns id and weight, heaviest first; and text, where `spell` gives it.

        Args:
            spell: the text of an id, such as `model.spell`.

        Raises:
            SoftLlamaError: pandas is not installed.
        """
        if spell is None:
            return tables.dataframe(("id", "weight"), self.top())
        return tables.dataframe(("id", "text", "weight"), [(i, spell(i), w) for i, w in self.top()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ids and weights, heaviest first: .csv or .json.

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written.
        """
        forms: dict[str, Callable[[], str | bytes]] = {
            ".csv": lambda: tables.to_csv(("id", "weight"), self.top()),
            ".json": lambda: json.dumps([{"id": i, "weight": w} for i, w in self.top()]),
        }
        save_as(path, "a mixture", forms)


@lru_cache(maxsize=4096)
def _one_hot(token_id: int) -> Mixture:
    return Mixture([token_id], [1.0])


def blend(mixtures: Iterable[Mixture], weights: ArrayLike, *, signed: bool = False) -> Mixture:
    """The mixture of mixtures: Σ weights[j] · mixtures[j]. Equals mixing their embeddings, as mixing is linear."""
    try:
        parts, w = list(mixtures), np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as e:
        raise MixtureError(f"blend takes mixtures and numbers: {e}") from None
    if not all(isinstance(m, Mixture) for m in parts):
        raise MixtureError("blend takes mixtures and numbers")
    if w.shape != (len(parts),) or not parts:
        raise MixtureError(f"{len(parts)} mixtures cannot be blended with weights of shape {w.shape}")
    ids = np.concatenate([m.ids for m in parts])
    return Mixture(ids, np.concatenate([x * m.weights for x, m in zip(w, parts, strict=True)]), signed=signed)


def check_weights(weights: NDArray[np.float64], signed: bool = False) -> None:
    """Raise MixtureError unless the weights (k,) are finite and, if not signed, non-negative with sum 1."""
    for w in weights[~np.isfinite(weights)][:1]:
        raise MixtureError(f"a weight is {w}", "weights are plain numbers, such as 0.5")
    if signed:
        if np.abs(weights).max() > 1e6:
            raise MixtureError(
                f"a weight of {weights[np.abs(weights).argmax()]:g} is too large", "use weights up to 1e6"
            )
        return
    if weights.min() < 0:
        raise MixtureError(f"a weight is negative: {weights.min():g}", "--signed (signed=True) allows any real weights")
    total = float(weights.sum())
    if not abs(total - 1) <= TOLERANCE:
        raise MixtureError(
            f"the weights sum to {total:.6g}, not 1",
            "--normalize (normalize=True) divides them by their sum"
            if total > 0
            else "at least one weight must be positive",
        )


def _frozen(a: NDArray[Any]) -> NDArray[Any]:
    a.flags.writeable = False
    return a


def _dense(vector: ArrayLike) -> NDArray[np.float64]:
    try:
        v = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError):
        raise MixtureError("a vector over the vocabulary must hold numbers") from None
    if v.ndim != 1 or not len(v):
        raise MixtureError(f"a vector over the vocabulary has the shape (n_vocab,), not {v.shape}")
    if not np.isfinite(v).all():
        i = int(np.flatnonzero(~np.isfinite(v))[0])
        raise MixtureError(f"entry {i} of the vector is {v[i]}")
    return v


# ---- the written form ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One component as typed: a word, or the id of a token."""

    word: str = ""
    id: int | None = None
    quoted: bool = False

    def __str__(self) -> str:
        return self.word if self.id is None else f"#{self.id}"


@dataclass(frozen=True)
class MixSpec:
    """A mixture as typed. Either `parts` and `weights`, as long as each other, or `vector`, the path of an .npy file.

    The weights are as typed: `normalize` and `signed` act when the words have become ids.
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
    """Read the written form (this module's docstring has the grammar). Raises MixtureError with the place and a remedy."""
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
    given = [w for w in weights if w is not None]
    if given and len(given) < len(weights):
        with_, without = (str(parts[next(i for i, w in enumerate(weights) if (w is None) == k)]) for k in (False, True))
        raise MixtureError(f"{with_!r} has a weight and {without!r} has none", "give every word a weight, or none")
    values = given or [1 / len(parts)] * len(parts)
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
