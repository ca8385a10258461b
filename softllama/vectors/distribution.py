"""`Distribution`: a probability vector over a vocabulary, held as logits.

Knows ids and logits. Does not know a model: the texts of ids come from a function that is handed in.

Methods with an underscore are for speed. softllama's own engine, policies and loop call them; they may change.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.base import arguments, tables
from softllama.base.files import save_as
from softllama.errors import SoftLlamaError, UsageError
from softllama.vectors import divergence, lookup, native, passes
from softllama.vectors.logits import Logits
from softllama.vectors.mixture import Mixture

FEW = 5  # most probable tokens in a step's record


class Token(NamedTuple):
    """One entry of a distribution: id, probability p, and the text of the id ("" if no vocabulary is known)."""

    id: int
    p: float
    text: str


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Distribution(Logits):
    """softmax(logits). Build it with `Distribution(logits)` or `Distribution.from_probs(probs)`; no model is needed.

    Attributes:
        logits: (n_vocab,) float32, finite or -inf (probability 0), read-only.
        spell: gives the text of an id; None if no vocabulary is known.

    Raises:
        SoftLlamaError: the logits have another shape.
        NotFiniteError: a logit is NaN or +inf, or all are -inf.
    """

    spell: Callable[[int], str] | None = field(default=None, compare=False)

    def __init__(self, logits: ArrayLike, spell: Callable[[int], str] | None = None) -> None:
        try:
            with np.errstate(over="ignore"):  # becomes infinity, which is reported below
                z = np.array(logits, dtype=np.float32)
        except (TypeError, ValueError):
            raise SoftLlamaError("logits must be numbers of the shape (n_vocab,)") from None
        if z.ndim != 1 or not z.size:
            raise SoftLlamaError(f"logits must have the shape (n_vocab,), not {z.shape}")
        self._set(z, spell)

    def _set(self, z: NDArray[np.float32], spell: Callable[[int], str] | None) -> None:
        peak = passes.peak(z)  # and the check of every number
        z.flags.writeable = False
        self.__dict__.update(logits=z, _z=native.floats(z), spell=spell, _peak=peak, _sum_cache={}, _n_threads=1)

    @classmethod
    def _owning(
        cls,
        logits: NDArray[np.float32],
        spell: Callable[[int], str] | None = None,
        n_threads: int = 1,
        known: Any = None,
    ) -> Distribution:
        """From logits (n_vocab,) float32, contiguous, without a copy: for an array that nobody else will write to.

        One call of C finds what every step of a generation needs (`passes.summary`), unless it is known.
        """
        d = cls._lent(native.floats(logits), spell, n_threads, known)
        logits.flags.writeable = False
        d.__dict__["logits"] = logits
        return d

    @classmethod
    def _lent(cls, z: Any, spell: Callable[[int], str] | None, n_threads: int, known: Any = None) -> Distribution:
        """From a C array of logits (n_vocab,) that llama.cpp will write over. Whoever makes it calls `_keep` before that.

        All that a step of a generation asks for is computed from the memory as it lies there.
        """
        d = cls.__new__(cls)
        known = known or passes.summary(z, n_threads)
        total, total_x = known.sums
        d.__dict__.update(spell=spell, _z=z, _known=known, _n_threads=n_threads)
        d.__dict__.update(_peak=(known.max, known.ids[0]), _sum_cache={1.0: (total, total_x)})
        return d

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.logits, self.spell)  # C arrays stay here

    @classmethod
    def from_probs(cls, probs: ArrayLike, spell: Callable[[int], str] | None = None) -> Distribution:
        """From probabilities.

        Args:
            probs: (n_vocab,), non-negative, summing to 1 within 1e-3. They are taken as ratios.
            spell: gives the text of an id.

        Raises:
            SoftLlamaError: they are something else.
        """
        try:
            p = np.asarray(probs, dtype=np.float64)
        except (TypeError, ValueError):
            raise SoftLlamaError("probabilities must be numbers of the shape (n_vocab,)") from None
        if p.ndim != 1 or not p.size or not np.isfinite(p).all() or p.min() < 0 or abs(p.sum() - 1) > 1e-3:
            raise SoftLlamaError(
                f"probabilities must have the shape (n_vocab,), be non-negative and sum to 1; got {p.shape}, sum {p.sum():.6g}"
            )
        with np.errstate(divide="ignore"):
            return cls(np.log(p / p.sum()), spell)

    @cached_property
    def probs(self) -> NDArray[np.float32]:
        """softmax(logits): (n_vocab,) float32, read-only."""
        p = self._probs_of(self.logits)
        p.flags.writeable = False
        return p

    def top(self, k: int = 10) -> list[Token]:
        """The k most probable tokens, most probable first; the lower id first among equals.

        Raises:
            SoftLlamaError: k is less than 1.
        """
        if arguments.integer("k", k) < 1:
            raise SoftLlamaError(f"top needs k >= 1, not {k}")
        return [Token(i, p, self.spell(i) if self.spell else "") for i, p in self._top_probs(k)]

    @property
    def argmax(self) -> int:
        """The most probable id; the lowest among equals."""
        return self._peak[1]

    def __getitem__(self, token: int | str) -> Token:
        """An entry by its id, or by its text: d[" Paris"]."""
        if isinstance(token, str):
            token = lookup.find(token, self.logits, self.spell)
        i = arguments.integer("a token id", token)
        if not 0 <= i < len(self):
            raise SoftLlamaError(f"token id {i} is outside the vocabulary of {len(self)}")
        p = float(self._probs_of(self.logits[i : i + 1])[0])
        return Token(i, p, self.spell(i) if self.spell else "")

    def logp(self, token_id: int) -> float:
        """ln p of one id: exact even if p itself is too small for float32; -inf if the logit is.

        Raises:
            SoftLlamaError: the id is outside the vocabulary.
        """
        if type(token_id) is not int:  # numpy's, or none at all
            token_id = arguments.integer("a token id", token_id)
        if not 0 <= token_id < len(self._z):
            raise SoftLlamaError(f"token id {token_id} is outside the vocabulary of {len(self)}")
        return float(self._z[token_id] - self._peak[0] - math.log(self._sums()[0]))

    def entropy(self, temperature: float = 1.0) -> float:
        """-Σ p ln p in nats, of softmax(logits / temperature): 0 to ln n_vocab (Shannon 1948)."""
        s, sx = self._sums(temperature)
        return max(math.log(s) - sx / s, 0.0)  # -Σ p ln p with ln p = x - ln s: no term cancels

    def js(self, other: Distribution) -> float:
        """Jensen-Shannon divergence in nats, 0 to ln 2: (KL(p‖m) + KL(q‖m))/2 with m = (p+q)/2 (Lin 1991)."""
        return divergence.js(self.logits, _logits(other), (self._ln_total, other._ln_total), self._n_threads)

    def kl(self, other: Distribution) -> float:
        """KL(self ‖ other) = Σ p ln(p/q) in nats; inf where `other` lacks mass that self has."""
        return divergence.kl(self.logits, _logits(other), (self._ln_total, other._ln_total))

    def sample(self, rng: np.random.Generator, temperature: float = 1.0) -> int:
        """One id drawn from softmax(logits / temperature), by inversion of the cumulative sum: one random number.

        Raises:
            UsageError: rng is not a numpy Generator.
            SoftLlamaError: the temperature is not positive.
        """
        if not callable(getattr(rng, "random", None)):
            raise UsageError(f"sample needs a numpy Generator, not {type(rng).__name__}", "numpy.random.default_rng(0)")
        u, known, n_threads = rng.random(), self._known, self._n_threads
        return passes.sample(self._z, self._peak[0], u, temperature, known=known, n_threads=n_threads)

    def to_mixture(self, n: int | None = None, mass: float = 1.0) -> Mixture:
        """The distribution as a mixture, renormalised.

        Args:
            n: the n most probable tokens only.
            mass: the fewest tokens that hold this much probability only, 0 < mass <= 1.

        With neither, the mixture holds every token of positive probability.
        """
        m = Mixture.from_distribution(self.probs, n=n, mass=mass)
        return m if self.spell is None else m.with_words(self.spell)

    def __repr__(self) -> str:
        show = ", ".join(f"{_quoted(t)}: {t.p:.3f}" for t in self.top(3))
        return f"Distribution(n_vocab={len(self)}, entropy={self.entropy():.3f} nats, top=[{show}])"

    def _repr_html_(self) -> str:
        rows = [(_quoted(t), t.id, t.p) for t in self.top(10)]
        return tables.html_table(("token", "id", "p"), rows, f"{len(self)} tokens, entropy {self.entropy():.3f} nats")

    def show(self, k: int = 10) -> None:
        """Print the k most probable tokens, most probable first."""
        print(f"{len(self):,} tokens, entropy {self.entropy():.3f} nats\n{'id':>8}  {'p':<6}  token")
        for t in self.top(k):
            print(f"{t.id:>8}  {t.p:.4f}  {_quoted(t)}")

    def to_dataframe(self, k: int | None = None) -> Any:
        """A pandas DataFrame with the columns id, text and p, most probable first.

        Args:
            k: how many tokens; None for the whole vocabulary.

        Raises:
            SoftLlamaError: pandas is not installed.
        """
        return tables.dataframe(("id", "text", "p"), [(t.id, t.text, t.p) for t in self.top(k or len(self))])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole vector: .csv (id, text, p; most probable first), .json (the same), or .npy (p, in the order of ids).

        A .npy file can be fed again as a mixture, "@FILE.npy".

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written.
        """
        rows = [(t.id, t.text, t.p) for t in self.top(len(self))]
        forms: dict[str, Callable[[], str | bytes]] = {
            ".csv": lambda: tables.to_csv(("id", "text", "p"), rows),
            ".json": lambda: json.dumps([{"id": i, "text": text, "p": p} for i, text, p in rows], ensure_ascii=False),
            ".npy": self._npy,
        }
        save_as(path, "a distribution", forms)

    def _npy(self) -> bytes:
        out = io.BytesIO()
        np.save(out, self.probs, allow_pickle=False)
        return out.getvalue()


def _quoted(t: Token) -> str:
    """A token's text in quotes, so that spaces are seen; control characters are escapes. "#id" where it is not known."""
    return repr(t.text)[:60] if t.text else f"#{t.id}"


def _logits(d: Distribution) -> NDArray[np.float32]:
    if not isinstance(d, Distribution):
        raise UsageError(f"a Distribution can be compared with another, not with {type(d).__name__}")
    return d.logits
