"""`Mixture`: a sparse probability vector over token ids, which a model is fed in place of a token.

Knows ids and weights. Does not know a vocabulary: mix_text.py reads what people write, prompts/words.py finds the ids.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.base import arguments, tables
from softllama.base.files import save_as
from softllama.errors import MixtureError, SoftLlamaError

SHOWN = 10  # tokens that `show` and a notebook list
TOLERANCE = 1e-5  # of the sum of a probability vector's weights: what float32 leaves of a vector of 2^18 entries


@dataclass(frozen=True, eq=False)
class Mixture:
    """A sparse vector over the vocabulary: Mixture(ids, weights).

    Attributes:
        ids: (k,) int32, in increasing order. Weights of an id that is passed twice are added.
        weights: (k,) float32, non-negative and summing to 1 within 1e-5; any finite numbers if `signed`.
        signed: the weights may be negative, and need not sum to 1.
        spell: the text of an id, to be shown; None where it is not known. It is not kept in a copy by pickle.

    Raises:
        MixtureError: ids or weights are something else. Whether the ids exist, the model checks.
    """

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    signed: bool = False
    spell: Callable[[int], str] | None = field(default=None, compare=False, repr=False)

    def __init__(self, ids: ArrayLike, weights: ArrayLike, *, signed: bool = False) -> None:
        try:
            i: Any = np.atleast_1d(np.asarray(ids))
            w: NDArray[np.float64] = np.atleast_1d(np.asarray(weights, dtype=np.float64))
        except (TypeError, ValueError) as e:
            raise MixtureError(f"ids and weights must be two lists of numbers: {e}") from None
        if i.ndim != 1 or i.shape != w.shape or not len(w):
            raise MixtureError(f"a mixture needs as many ids as weights, at least one; got {i.shape} and {w.shape}")
        if i.dtype.kind not in "iu":
            raise MixtureError(f"token ids must be integers, not {i.dtype}")
        if i.min() < 0 or i.max() >= 2**31:
            raise MixtureError(f"token id {i.min() if i.min() < 0 else i.max()} is out of range")
        check_weights(w, signed)
        order = np.argsort(i, kind="stable")
        i, w = i[order], w[order]
        new = np.concatenate(([True], i[1:] != i[:-1]))
        if not new.all():
            w = np.add.reduceat(w, np.flatnonzero(new))
            i = i[new]
        self.__dict__.update(Mixture.trusted(i, w, signed=signed).__dict__)

    @classmethod
    def trusted(cls, ids: NDArray[Any], weights: NDArray[Any], *, signed: bool = False) -> Mixture:
        """A mixture without checks, for a policy's inner loop.

        Args:
            ids: (k,) in increasing order, each once. The mixture keeps the array and makes it read-only.
            weights: (k,), non-negative, known to sum to 1. The mixture keeps the array and makes it read-only.
            signed: they may be negative, and need not sum to 1.
        """
        m = cls.__new__(cls)
        ids, weights = ids.astype(np.int32, copy=False), weights.astype(np.float32, copy=False)
        ids.flags.writeable = weights.flags.writeable = False
        m.__dict__.update(ids=ids, weights=weights, signed=signed)
        return m

    @classmethod
    def one_hot(cls, token_id: int) -> Mixture:
        """The mixture that is one token: feeding it equals feeding the token.

        Raises:
            MixtureError: the id is not a whole number from 0 to 2^31 - 1.
        """
        try:
            return _one_hot(token_id)
        except TypeError:  # no key of a dictionary
            raise MixtureError(f"a token id is a whole number, not {token_id!r}") from None

    @classmethod
    def from_distribution(cls, probs: ArrayLike, *, n: int | None = None, mass: float = 1.0) -> Mixture:
        """The largest entries of a probability vector, renormalised.

        Equal entries are taken in the order of their ids. Entries of 0 are left out.

        Args:
            probs: (n_vocab,), non-negative, with a positive sum.
            n: how many entries, at most; None for all.
            mass: the fewest that hold this share of the sum, 0 < mass <= 1.

        Raises:
            MixtureError: an argument is not allowed.
        """
        p = _dense(probs)
        arguments.integer_or_none("n", n)
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
        """Every non-zero entry of a vector over the vocabulary (n_vocab,), as it is.

        Raises:
            MixtureError: the vector is 0 everywhere, or its entries are not allowed as weights.
        """
        v = _dense(vector)
        ids = np.flatnonzero(v)
        if not len(ids):
            raise MixtureError("the vector is 0 everywhere")
        return cls(ids, v[ids], signed=signed)

    def top(self, n: int | None = None) -> list[tuple[int, float]]:
        """(id, weight) of the n largest weights, or of all, largest first."""
        order = np.argsort(-self.weights, kind="stable")[: arguments.integer_or_none("n", n, 0)]
        return [(int(self.ids[i]), float(self.weights[i])) for i in order]

    def with_words(self, spell: Callable[[int], str]) -> Mixture:
        """The same mixture, which shows its tokens as text."""
        m = Mixture.__new__(Mixture)
        m.__dict__.update(ids=self.ids, weights=self.weights, signed=self.signed, spell=spell)
        return m

    def __getstate__(self) -> dict[str, Any]:
        return {"ids": self.ids, "weights": self.weights, "signed": self.signed}

    @property
    def argmax(self) -> int:
        """The id of the largest weight; the lowest among equals."""
        return int(self.ids[self.weights.argmax()])

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mixture):
            return NotImplemented
        if self.ids is other.ids and self.weights is other.weights:
            return True
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash((self.ids.tobytes(), self.weights.tobytes()))

    def __repr__(self) -> str:
        show = ", ".join(f"{self._word(i)}: {w:.4g}" for i, w in self.top(6))
        return f"Mixture({len(self)} tokens; {show}{', …' if len(self) > 6 else ''})"

    def _word(self, token_id: int) -> str:
        """The text of an id in quotes; "#id" where it is not known, as of a model that was closed."""
        with contextlib.suppress(SoftLlamaError):
            return repr(self.spell(token_id)) if self.spell is not None else f"#{token_id}"
        return f"#{token_id}"

    def _repr_html_(self) -> str:
        more = f"; the {SHOWN} heaviest" if len(self) > SHOWN else ""
        words = [(i, self._word(i), w) for i, w in self.top(SHOWN)]
        head, rows = (("id", "weight"), self.top(SHOWN)) if self.spell is None else (("id", "text", "weight"), words)
        return tables.html_table(head, rows, f"mixture of {len(self)} tokens{more}")

    def _rows(self, spell: Callable[[int], str] | None, n: int | None = None) -> tuple[tuple[str, ...], list[Any]]:
        """The columns' names and a row for each of the n heaviest tokens; with texts where they are known."""
        if spell is None:
            return ("id", "weight"), list(self.top(n))
        return ("id", "text", "weight"), [(i, spell(i), w) for i, w in self.top(n)]

    def show(self, spell: Callable[[int], str] | None = None) -> None:
        """Print the heaviest tokens, heaviest first.

        Args:
            spell: the text of an id, such as `model.spell`; None for the mixture's own.
        """
        spell = spell or self.spell
        print(f"mixture of {len(self):,} tokens\n{'id':>8}  {'weight    token' if spell else 'weight'}")
        for i, w in self.top(SHOWN):
            print(f"{i:>8}  {w:<8.4g}{f'  {spell(i)!r}' if spell else ''}".rstrip())
        if len(self) > SHOWN:
            print(f"{'':>8}  and {len(self) - SHOWN:,} more")

    def to_dataframe(self, spell: Callable[[int], str] | None = None) -> Any:
        """A pandas DataFrame with the columns id and weight, heaviest first; and text, where `spell` gives it.

        Args:
            spell: the text of an id, such as `model.spell`; None for the mixture's own.

        Raises:
            SoftLlamaError: pandas is not installed.
        """
        return tables.dataframe(*self._rows(spell or self.spell))

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


_ONE = np.ones(1, dtype=np.float32)


@lru_cache(maxsize=4096)
def _one_hot(token_id: int) -> Mixture:
    if type(token_id) is int and 0 <= token_id < 2**31:  # most of the steps of sampling come here
        return Mixture.trusted(np.array([token_id], dtype=np.int32), _ONE)
    return Mixture([token_id], [1.0])


def blend(mixtures: Iterable[Mixture], weights: ArrayLike, *, signed: bool = False) -> Mixture:
    """The mixture of mixtures, Σ weights[j] · mixtures[j]. It equals mixing their embeddings, as mixing is linear.

    Args:
        mixtures: k of them.
        weights: (k,), as in `Mixture`.
        signed: the weights may be negative, and need not sum to 1.

    Raises:
        MixtureError: an argument is not allowed.
    """
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
    """Check weights (k,).

    Raises:
        MixtureError: a weight is not finite; or, if signed, larger than 1e6 in size; or, if not signed, negative, or the
            weights do not sum to 1.
    """
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
