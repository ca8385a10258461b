"""A probability vector over a vocabulary, held as logits. Knows no model: ids are numbers unless a speller is given."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama import kernels
from softllama.errors import SoftLlamaError
from softllama.mixture import Mixture


class Token(NamedTuple):
    """One entry of a distribution. `text` is "" where no vocabulary is known."""

    id: int
    p: float
    text: str


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Distribution:
    """softmax(logits). Build it with `Distribution(logits)` or `Distribution.from_probs(probs)`; no model needed.

    logits: (n_vocab,) float32, finite or -inf (probability 0), read-only. `spell` gives the text of an id, if known.
    Raises SoftLlamaError for NaN, +inf, another shape, or logits that are all -inf.
    """

    logits: NDArray[np.float32]
    spell: Callable[[int], str] | None = field(default=None, compare=False)

    def __init__(self, logits: ArrayLike, spell: Callable[[int], str] | None = None) -> None:
        try:
            with np.errstate(over="ignore"):  # becomes infinity, which is told below
                z = np.array(logits, dtype=np.float32)
        except (TypeError, ValueError):
            raise SoftLlamaError("logits must be numbers of the shape (n_vocab,)") from None
        if z.ndim != 1 or not z.size:
            raise SoftLlamaError(f"logits must have the shape (n_vocab,), not {z.shape}")
        high = z.max()
        if not high < np.inf or high == -np.inf:  # NaN, +inf, or nothing but -inf
            kernels.softmax(z)  # says which element
        z.flags.writeable = False
        object.__setattr__(self, "logits", z)
        object.__setattr__(self, "spell", spell)

    @classmethod
    def from_probs(cls, probs: ArrayLike, spell: Callable[[int], str] | None = None) -> Distribution:
        """From probabilities (n_vocab,): non-negative, summing to 1 within 1e-3 (they are taken as ratios)."""
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
        p = kernels.softmax(self.logits)
        p.flags.writeable = False
        return p

    def top(self, k: int = 10) -> list[Token]:
        """The k most probable tokens, most probable first."""
        return [self[i] for i in kernels.top(self.logits, k).tolist()]

    @cached_property
    def argmax(self) -> int:
        """The most probable id; the lowest among equals."""
        return int(self.logits.argmax())

    def __getitem__(self, token_id: int) -> Token:
        i = int(token_id)
        if not 0 <= i < len(self.logits):
            raise SoftLlamaError(f"token id {i} is outside the vocabulary of {len(self.logits)}")
        return Token(i, float(self.probs[i]), self.spell(i) if self.spell else "")

    def logp(self, token_id: int) -> float:
        """ln p of one id: exact where p itself is too small for float32; -inf where the logit is."""
        if not 0 <= token_id < len(self.logits):
            raise SoftLlamaError(f"token id {token_id} is outside the vocabulary of {len(self.logits)}")
        i = self.argmax
        return float(self.logits[token_id]) - float(self.logits[i]) + math.log(float(self.probs[i]))

    def __len__(self) -> int:
        return len(self.logits)

    def entropy(self, temperature: float = 1.0) -> float:
        """-Σ p ln p in nats, of softmax(logits / temperature)."""
        return kernels.entropy(self.logits, temperature)

    def js(self, other: Distribution) -> float:
        """Jensen-Shannon divergence in nats, 0 to ln 2: (KL(p‖m) + KL(q‖m))/2 with m = (p+q)/2 (Lin 1991)."""
        return kernels.js(self.logits, other.logits)

    def kl(self, other: Distribution) -> float:
        """KL(self ‖ other) = Σ p ln(p/q) in nats; inf where `other` lacks mass that self has."""
        return kernels.kl(self.logits, other.logits)

    def sample(self, rng: np.random.Generator, temperature: float = 1.0) -> int:
        """One id drawn from softmax(logits / temperature), by inversion of the cumulative sum."""
        c = np.cumsum(kernels.softmax(self.logits, temperature), dtype=np.float64)
        return int(min(np.searchsorted(c, rng.random() * c[-1], side="right"), len(c) - 1))

    def to_mixture(self, n: int | None = None, mass: float = 1.0) -> Mixture:
        """The distribution as a mixture: the n heaviest tokens, or the fewest that hold `mass`, renormalised.

        With neither, every token of positive probability.
        """
        return Mixture.from_distribution(self.probs, n=n, mass=mass)

    def __repr__(self) -> str:
        show = ", ".join(f"{t.text or '#' + str(t.id)!s:s}: {t.p:.3f}" for t in self.top(3))
        return f"Distribution(n_vocab={len(self)}, entropy={self.entropy():.3f} nats, top=[{show}])"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(t.text or '#' + str(t.id))}</td><td>{t.id}</td><td>{t.p:.4f}</td></tr>"
            for t in self.top(10)
        )
        return (
            f"<table><caption>{len(self)} tokens, entropy {self.entropy():.3f} nats</caption>"
            f"<tr><th>token</th><th>id</th><th>p</th></tr>{rows}</table>"
        )


def average(distributions: list[Distribution], weights: ArrayLike) -> Distribution:
    """Σ wᵢ pᵢ, the distribution of first choosing i with probability wᵢ, then drawing from pᵢ.

    weights: (k,), non-negative, not all 0; taken as ratios. Computed in double.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (len(distributions),) or not len(w) or not np.isfinite(w).all() or w.min() < 0 or not w.sum() > 0:
        raise SoftLlamaError(f"{len(distributions)} distributions cannot be averaged with the weights {w.tolist()}")
    if len(sizes := {len(d) for d in distributions}) > 1:
        raise SoftLlamaError(f"distributions over {' and '.join(map(str, sorted(sizes)))} tokens cannot be averaged")
    total: Any = sum(x * d.probs.astype(np.float64) for x, d in zip(w / w.sum(), distributions, strict=True))
    return Distribution.from_probs(total / total.sum(), distributions[0].spell)
