"""Temperature, top-k, top-p, min-p and the repetition penalty, on a Distribution, in double precision.

The order is temperature, top-k, renormalise, top-p, renormalise, min-p, renormalise. Every filter keeps the most
probable token. Knows no method and no mixture rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama import kernels
from softllama.distribution import FEW, Distribution
from softllama.errors import SoftLlamaError
from softllama.mixture import Mixture

F64 = NDArray[np.float64]
COLDEST = float(np.finfo(np.float32).tiny)  # a temperature between 0 and this is as cold as this
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Support:
    """The tokens that passed the filters.

    ids: (k,) int32 or int64, increasing. p: (k,) float64, positive, sums to 1. logits: (k,) float32, which order the tokens
    even where their probabilities round to the same number.
    """

    ids: NDArray[Any]
    p: F64
    logits: NDArray[np.float32]

    @property
    def heaviest(self) -> int:
        """The most probable id; the lowest among equals."""
        return int(self.ids[self.logits.argmax()])

    def draw(self, rng: np.random.Generator) -> int:
        """One id with probability p, by inversion of the cumulative sum in the order of ids: one random number."""
        return int(self.ids[kernels.draw(self.p, rng.random())])

    def top(self, n: int) -> Support:
        """The n most probable, renormalised; the lower id first among equals."""
        if n >= len(self.ids):
            return self
        keep = np.sort(np.argsort(-self.logits, kind="stable")[:n])
        return _support(self.ids[keep], self.p[keep], self.logits[keep])

    def mixture(self) -> Mixture:
        """The tokens, weighted by p."""
        if self.p.min() > SMALLEST:
            return Mixture.trusted(self.ids, self.p)
        return normalised(self.ids, self.p)

    def __len__(self) -> int:
        return len(self.ids)


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> F64:
    """softmax(logits / temperature) in double: (n,). Temperature 0 is one-hot at the first of the largest."""
    if temperature == 0:
        return one_hot(len(logits), int(logits.argmax()))
    z = logits.astype(np.float64)
    e: F64 = np.exp((z - z.max()) / max(temperature, COLDEST))
    e /= e.sum()
    return e


def one_hot(n: int, i: int) -> F64:
    """(n,): 1 at i, 0 elsewhere."""
    v = np.zeros(n)
    v[i] = 1
    return v


def normalised(ids: NDArray[Any], weights: F64) -> Mixture:
    """Non-negative weights of any positive sum as a mixture, without those that float32 would round to 0."""
    w = weights / weights.sum()
    keep = w.astype(np.float32) > 0
    if not keep.all():
        ids, w = ids[keep], w[keep]
        w = w / w.sum()
    if len(ids) < 2 or (ids[1:] > ids[:-1]).all():
        return Mixture.trusted(ids, w)
    return Mixture(ids, w)


def support(
    distribution: Distribution,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    n: int | None = None,
) -> Support:
    """The tokens that pass the filters, in the order of this module's docstring.

    top_k: keep the k most probable (0: all). top_p: then the fewest whose sum reaches top_p (1: all), the one that
    crosses it included. min_p: then those of at least min_p times the largest (0: all). n: then the n most probable
    (None: all). Tokens of probability 0 are left out. Among equals the lower id is kept first. The vocabulary is sorted
    only as far as a filter needs.
    """
    z = distribution.logits
    if temperature == 0:
        top_k = 1
    t, total = max(temperature, COLDEST), 0.0
    if 0 < top_k < len(z):
        k = top_k
    elif top_p < 1:
        total, k = distribution.sums(t)[0], 32
        while k < len(z):
            p = np.exp((z[distribution.top_ids(k)].astype(np.float64) - distribution.highest) / t)
            if p.sum() >= top_p * total:
                break
            k *= 8
    else:
        p = softmax(z, temperature)
        kept = np.flatnonzero((p >= min_p * p.max()) & (p > 0))
        found = _support(kept, p[kept], z[kept])
        return found if n is None else found.top(n)
    ids, p = kernels.filtered(z, distribution.top_ids(k), t, total=total, top_p=top_p, min_p=min_p, at_most=n)
    return Support(ids, p, z[ids])


def entropy(distribution: Distribution, temperature: float = 1.0) -> float:
    """-sum p ln p in nats over the whole vocabulary: after temperature, before any filter."""
    return 0.0 if temperature == 0 else distribution.entropy(max(temperature, COLDEST))


def cold(distribution: Distribution, temperature: float, tau: float) -> bool:
    """Is `entropy` below tau? Mostly answered by the few likeliest tokens: H >= -ln p_max = ln Σ e^x >= ln Σ' e^x."""
    if temperature > 0:
        x = (distribution.logits[distribution.top_ids(FEW)].astype(np.float64) - distribution.highest) / max(
            temperature, COLDEST
        )
        if np.log(np.exp(x).sum()) > tau * (1 + 1e-9):
            return False
    return entropy(distribution, temperature) < tau


def whole(distribution: Distribution, temperature: float = 1.0, epsilon: float = 0.0) -> tuple[Mixture, float]:
    """(the whole vector as a mixture, the mass left out of it).

    The least probable tokens are left out while their sum is at most epsilon (equal ones together or not at all), and
    the rest is renormalised. Probabilities that are 0 in float32 are left out anyway.
    """
    if temperature == 0:
        return Mixture.one_hot(distribution.argmax), 0.0
    z, t = distribution.logits, max(temperature, COLDEST)
    total = distribution.sums(t)[0]
    if epsilon > 0:  # all but the last bin of those left are sure to stay: only that one has to be put in order
        ids, gone, last = kernels.tail(z, distribution.highest, epsilon * total, t)
    else:
        ids, gone, last = np.arange(len(z), dtype=np.int32), 0.0, 0
    x = (z[ids].astype(np.float64) - distribution.highest) / t
    p = np.exp(x) / total
    keep = p.astype(np.float32) > 0
    if epsilon > 0:
        edge = keep & (x <= (1 - last) / kernels.PER_NAT) & (p <= epsilon)  # that bin, and a little more
        small = np.sort(p[edge])
        n = int(np.searchsorted(gone / total + np.cumsum(small), epsilon, side="right"))  # so many may go
        keep &= p >= small[n] if n < len(small) else ~edge
    if not keep.all():
        left_out = gone / total + float(p[~keep].sum())
        ids, p = ids[keep], p[keep]
    else:
        left_out = gone / total
    return Mixture.trusted(ids, p / p.sum()), left_out


def penalised(distribution: Distribution, readouts: Sequence[int], penalty: float, last_n: int) -> Distribution:
    """Logits of the ids among the last_n readouts (-1: all), divided by `penalty` if positive, multiplied if not.

    The form of CTRL (arXiv 1909.05858) and of llama.cpp. Raises SoftLlamaError for an id outside the vocabulary.
    """
    if penalty == 1 or last_n == 0 or not readouts:
        return distribution
    seen = np.unique(np.asarray(readouts if last_n < 0 else readouts[-last_n:], dtype=np.int64))
    if seen[0] < 0 or seen[-1] >= len(distribution):
        bad = seen[-1] if seen[0] >= 0 else seen[0]
        raise SoftLlamaError(f"readout {bad} is outside the vocabulary of {len(distribution)}")
    z = distribution.logits.copy()
    old = z[seen].astype(np.float64)
    new = np.clip(np.where(old > 0, old / penalty, old * penalty), -LARGEST, LARGEST)
    z[seen] = np.where(np.isneginf(old), old, new)
    return Distribution(z, distribution.spell)


def _support(ids: NDArray[Any], p: F64, logits: NDArray[np.float32]) -> Support:
    return Support(ids.astype(np.int64), p / p.sum(), logits)
