"""Temperature, top-k, typical, top-p, min-p and the penalties of what has come, on a Distribution, in double precision.

The order is temperature, top-k, renormalise, typical, renormalise, top-p, renormalise, min-p, renormalise. Every filter but the
typical one keeps the most probable token. Knows distributions. Does not know single policies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.errors import SoftLlamaError
from softllama.vectors import passes
from softllama.vectors.distribution import FEW, Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.whole import COLDEST

F64 = NDArray[np.float64]
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
LARGEST = float(np.finfo(np.float32).max)
ROUNDING = 2e-6  # more than what float32 takes from the probabilities of a few tokens
AT_ONCE = 16  # new readouts beyond which the whole history is counted again
TALLY = "tally of readouts"  # its key in the state


@dataclass(frozen=True, eq=False)
class Support:
    """The tokens that passed the filters.

    Attributes:
        ids: (k,) int32, increasing.
        p: (k,) float64, positive (in float32, too), sums to 1.
        argmax: the most probable id, the lowest among equals.
        of: the distribution, whose logits order the tokens even if their probabilities round to the same number.
    """

    ids: NDArray[np.int32]
    p: F64
    argmax: int
    of: Distribution

    def draw(self, rng: np.random.Generator) -> int:
        """One id with probability p, by inversion of the cumulative sum in the order of ids: one random number."""
        return int(self.ids[passes.draw(self.p, rng.random())])

    def top(self, n: int) -> Support:
        """The n most probable, renormalised; the lower id first among equals."""
        if n >= len(self.ids):
            return self
        keep = np.sort(np.argsort(-self.of._view[self.ids], kind="stable")[:n])
        p = self.p[keep]
        return Support(self.ids[keep], p / p.sum(), self.argmax, self.of)

    def mixture(self) -> Mixture:
        """The tokens, weighted by p."""
        return Mixture.trusted(self.ids, self.p)

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
    """Weights of any positive sum as a mixture, without those that float32 would round to 0.

    Args:
        ids: (k,) int32, increasing.
        weights: (k,) float64, non-negative.
    """
    w = weights / np.add.reduce(
        weights
    )  # of few: what the methods sum() and min() do around it takes longer than the sum
    if np.minimum.reduce(w) < SMALLEST:
        keep = w.astype(np.float32) > 0
        ids, w = ids[keep], w[keep]
        w = w / w.sum()
    return Mixture.trusted(ids, w)


def support(
    distribution: Distribution,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    n: int | None = None,
) -> Support:
    """The tokens that pass the filters, in the order of this module's docstring.

    Tokens of probability 0 are left out. Among equals the lower id is kept first. The vocabulary is sorted only as far as a
    filter needs.

    Args:
        top_k: keep the k most probable (0: all).
        top_p: then the fewest whose sum reaches it, the one that crosses it included (1: all).
        min_p: then those of at least min_p times the largest (0: all).
        n: then the n most probable (None: all).
    """
    n_vocab = len(distribution)
    if temperature == 0:
        top_k = 1
    t, total = max(temperature, COLDEST), 0.0
    if 0 < top_k < n_vocab:
        k = top_k
    elif top_p < 1:
        total, k = distribution._sums(t)[0], passes.KNOWN
    else:
        p = softmax(distribution._view, temperature)
        ids = np.flatnonzero((p >= min_p * p.max()) & (p.astype(np.float32) > 0)).astype(np.int32)
        passed = Support(ids, p[ids] / p[ids].sum(), distribution.argmax, distribution)
        return passed if n is None else passed.top(n)
    while True:
        k = min(k, n_vocab)
        likeliest = distribution._likeliest(k)
        ids, p = passes.filtered(distribution._z, likeliest, k, t, total=total, top_p=top_p, min_p=min_p, at_most=n)
        if len(ids):
            return Support(ids, p, distribution.argmax, distribution)
        k *= 8


def entropy(distribution: Distribution, temperature: float = 1.0) -> float:
    """-Σ p ln p in nats over the whole vocabulary: after temperature, before any filter."""
    return 0.0 if temperature == 0 else distribution.entropy(max(temperature, COLDEST))


def cold(distribution: Distribution, temperature: float, tau: float) -> bool:
    """Is `entropy` below tau nats? A few tokens mostly answer that, without a pass over all of them: see `entropy_bounds`."""
    if temperature > 0:
        t = max(temperature, COLDEST)
        for k in (2, FEW):
            low, high = entropy_bounds(distribution, t, k)
            if low > tau:
                return False
            if high < tau:
                return True
    return entropy(distribution, temperature) < tau


def entropy_bounds(distribution: Distribution, temperature: float, k: int) -> tuple[float, float]:
    """What the k most probable tokens say of `entropy`: a number that it is not below, and one that it does not exceed.

    With s and r as in `_bounded`, H >= ln(s + r) >= ln s. The rest's share q <= R/(s + R) adds at most q ln n and the entropy of
    (q, 1 - q) to the entropy of the k.
    """
    s, sx, rest = _bounded(distribution, temperature, k)
    low, q, slack = math.log(s), rest / (s + rest), ROUNDING / temperature
    if q > 0.5:
        return low - slack, math.inf
    of_two = -q * math.log(q) - (1 - q) * math.log1p(-q) if q > 0 else 0.0
    return low - slack, low - sx / s + of_two + q * math.log(len(distribution)) + slack


def largest_bounds(distribution: Distribution, temperature: float, k: int) -> tuple[float, float]:
    """What the k most probable tokens say of the largest probability at a temperature: it lies between these numbers."""
    s, _, rest = _bounded(distribution, temperature, k)
    slack = ROUNDING / temperature
    return (1 - slack) / (s + rest), (1 + slack) / s


def _bounded(distribution: Distribution, temperature: float, k: int) -> tuple[float, float, float]:
    """Σ e and Σ e ln e of the k most probable tokens, e = p^(1/T) relative to the first, and what Σ e of the rest, r, is at most.

    R = M b^(1/T-1), where M is the rest's mass and b the largest p that it can have, both at temperature 1 and relative to
    the first; n^(1-1/T) M^(1/T) for T > 1 (Hölder).
    """
    some = distribution._top_probs(min(k, len(distribution)))
    first, a, s, sx, mass = some[0][1], 1 / temperature, 0.0, 0.0, 1.0
    for _, p in some:
        mass -= p
        if p > 0 and (e := (p / first) ** a) > 0:
            s += e
            sx += e * math.log(e)
    mass, last = (max(mass, 0.0) + ROUNDING) / first, some[-1][1] / first
    return s, sx, mass * last ** (a - 1) if a >= 1 else len(distribution) ** (1 - a) * mass**a


def typical(s: Support, mass: float) -> Support:
    """Locally typical sampling (Meister et al., arXiv 2202.00666): the tokens whose -ln p is nearest to the entropy.

    Args:
        s: tokens and probabilities.
        mass: the fewest of them, nearest first, whose sum reaches it. Among equals the more probable comes first, then the
            lower id.
    """
    surprise = -np.log(s.p)
    order = np.lexsort((s.ids, -s.p, np.abs(surprise - (s.p * surprise).sum())))
    n = int(np.searchsorted(np.cumsum(s.p[order]), mass)) + 1
    return _kept(s, np.sort(order[:n]))


def nucleus(s: Support, top_p: float, min_p: float) -> Support:
    """top-p, then min-p, of tokens that another filter has let through."""
    order = np.lexsort((s.ids, -s.p))
    n = int(np.searchsorted(np.cumsum(s.p[order]), top_p)) + 1 if top_p < 1 else len(s)
    kept = _kept(s, np.sort(order[:n]))
    return _kept(kept, np.flatnonzero(kept.p >= min_p * kept.p.max()))


def _kept(s: Support, at: NDArray[np.intp]) -> Support:
    """The tokens at some places, renormalised."""
    ids, p = s.ids[at], s.p[at]
    return Support(ids, p / p.sum(), int(ids[p.argmax()]), s.of)


@dataclass(frozen=True, eq=False)
class Tally:
    """How often each id came among the first n of a history. Of a history that grows, only what is new is counted.

    Attributes:
        ids: (k,) int64, increasing.
        counts: (k,) int64, at least 1.
    """

    n: int = 0
    ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def of(self, history: Sequence[int]) -> Tally:
        """That of a history which this is the beginning of."""
        ids, counts = self.ids, self.counts
        new = history[self.n :]
        if len(new) > AT_ONCE:
            ids, counts = np.unique(np.asarray(history, dtype=np.int64), return_counts=True)
            return Tally(len(history), ids, counts)
        for i in new:
            at = int(ids.searchsorted(i))
            if at < len(ids) and ids[at] == i:
                counts = counts.copy()
                counts[at] += 1
            else:
                ids, counts = np.insert(ids, at, i), np.insert(counts, at, 1)
        return Tally(len(history), ids, counts)


def penalised(
    distribution: Distribution,
    readouts: Sequence[int],
    penalty: float,
    last_n: int,
    presence: float = 0.0,
    frequency: float = 0.0,
    state: dict[str, Any] | None = None,
) -> Distribution:
    """The distribution with penalties for what has come, in the order and the form of llama.cpp.

    Args:
        readouts: ids of the visible history.
        penalty: divides the logits of these ids if they are positive, and multiplies them if not (CTRL, arXiv 1909.05858).
        last_n: how many readouts count; -1 for all.
        presence: is subtracted from their logits.
        frequency: is subtracted from their logits as often as they came.
        state: where the tally of all readouts is kept for the next step, so that a step does not take longer the more there are.

    Raises:
        SoftLlamaError: an id is outside the vocabulary.
    """
    if (penalty == 1 and presence == 0 and frequency == 0) or last_n == 0 or not readouts:
        return distribution
    if last_n < 0:
        tally = (Tally() if state is None else state.get(TALLY, Tally())).of(readouts)
        seen, counts = tally.ids, tally.counts
        if state is not None:
            state[TALLY] = tally
    else:
        seen, counts = np.unique(np.asarray(readouts[-last_n:], dtype=np.int64), return_counts=True)
    if seen[0] < 0 or seen[-1] >= len(distribution):
        bad = seen[-1] if seen[0] >= 0 else seen[0]
        raise SoftLlamaError(f"readout {bad} is outside the vocabulary of {len(distribution)}")
    z = distribution._view.copy()
    old = z[seen].astype(np.float64)
    new = np.where(old > 0, old / penalty, old * penalty) - presence - frequency * counts
    new = np.clip(new, -LARGEST, LARGEST)
    z[seen] = np.where(np.isneginf(old), old, new)
    return Distribution(z, distribution.spell)
