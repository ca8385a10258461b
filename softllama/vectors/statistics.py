"""Intervals and paired tests for shares and means. Everything is deterministic: a bootstrap takes a seed.

Knows numbers only. Does not know what they measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.errors import UsageError

LEVEL = 0.95
FEWEST = 10  # cases below which no verdict is given, whatever the interval says
POWER = 0.8  # the probability with which a detectable difference would be seen
DRAWS = 2000  # of a bootstrap: the ends of a 95 % interval are then certain to about a tenth of its width


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, and n, how many cases it is from. low and high are NaN if n is too small to tell."""

    value: float
    low: float
    high: float
    n: int

    @property
    def enough(self) -> bool:
        """Are there cases enough for a verdict: FEWEST or more?"""
        return self.n >= FEWEST

    @property
    def clear(self) -> bool:
        """Does the interval leave out 0, with cases enough for a verdict?"""
        return self.enough and (self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: NaN becomes None."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        return {**{k: x if math.isfinite(x) else None for k, x in ends.items()}, "n": self.n}


@dataclass(frozen=True)
class Paired:
    """How two ways of answering differ on the same problems.

    Attributes:
        difference: share right of the first minus that of the second, with its bootstrap interval; an exact one where all
            pairs are alike, see `all_alike`.
        only_first, only_second: how many problems just one of them solved.
        p: McNemar's exact test, two-sided.
        detectable: the smallest difference that the test would find with probability POWER in as many problems, if as
            many pairs differ; NaN if it would find none. See `detectable`.
    """

    difference: Estimate
    only_first: int
    only_second: int
    p: float
    detectable: float = math.nan


def wilson(hits: int, n: int, level: float = LEVEL) -> Estimate:
    """A share and its score interval (Wilson 1927; method 3 in Newcombe, Statistics in Medicine 17, 1998).

    Unlike p ± 1.96 s.e. it stays inside 0..1 and has a width at 0 and n hits. n = 0 gives NaN.

    Args:
        hits: of n cases.
        level: the probability that the interval covers.

    Raises:
        UsageError: hits is not from 0 to n.
    """
    if not 0 <= hits <= n:
        raise UsageError(f"{hits} of {n} is no share")
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, 0.0 if hits == 0 else middle - half, 1.0 if hits == n else middle + half, n)


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test: the two-sided p that the discordant pairs fall so unevenly if both are equally likely.

    2 · P(X <= min) for X ~ Binomial(only_first + only_second, 1/2), at most 1 (McNemar 1947; Fagerland et al. 2013).

    Raises:
        UsageError: a count is negative.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    if k < 0:
        raise UsageError("a count of pairs is not negative")
    term = total = 1  # whole numbers of any size: no rounding before the end
    for i in range(1, k + 1):
        term = term * (n - i + 1) // i
        total += term
    return min(1.0, math.ldexp(1.0, 1 - n) * total) if n < 1000 else min(1.0, _ratio(2 * total, n))


def _ratio(total: int, n: int) -> float:
    shift = max(0, total.bit_length() - 60)
    return math.ldexp(float(total >> shift), shift - n)


def mean(values: ArrayLike, seed: int = 0, *, level: float = LEVEL, groups: Sequence[Any] | None = None) -> Estimate:
    """A mean and its bootstrap percentile interval (Efron 1979). Arguments are those of `bootstrap`."""
    return bootstrap(values, np.mean, seed, level=level, groups=groups)


def bootstrap(
    values: ArrayLike,
    what: Callable[..., Any] = np.mean,
    seed: int = 0,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    groups: Sequence[Any] | None = None,
) -> Estimate:
    """A statistic and its percentile interval over resamples (Efron 1979).

    Args:
        values: (n,). Values that are NaN are left out.
        what: the statistic: takes (..., n) and `axis`, as np.mean and np.median do.
        seed: of the resamples, which depend on nothing else.
        level: the probability that the interval covers.
        draws: how many resamples.
        groups: labels (n,). Whole groups are resampled; the statistic can then only be the mean.

    Raises:
        UsageError: groups with another statistic than the mean.
    """
    v = np.asarray(values, dtype=np.float64)
    keep = ~np.isnan(v)
    labels = None if groups is None else [g for g, k in zip(groups, keep.tolist(), strict=True) if k]
    v = v[keep]
    n = len(v)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    value = float(what(v, axis=-1))
    rng = np.random.default_rng(seed)
    if labels is not None:
        if what is not np.mean:
            raise UsageError("whole groups are resampled for means only")
        index = {g: i for i, g in enumerate(dict.fromkeys(labels))}
        at = np.array([index[g] for g in labels])
        sums, counts = np.bincount(at, v), np.bincount(at)  # (groups,)
        if len(index) < 2:
            return Estimate(value, math.nan, math.nan, n)
        pick = _picks(rng, len(index), draws)
        drawn = np.array([sums[p].sum() / counts[p].sum() for p in pick])
    else:
        if n < 2:
            return Estimate(value, math.nan, math.nan, n)
        block = max(1, 4_000_000 // n)
        parts = [what(v[rng.integers(n, size=(min(block, draws - i), n))], axis=-1) for i in range(0, draws, block)]
        drawn = np.concatenate(parts)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n)


def _picks(rng: np.random.Generator, n: int, draws: int) -> NDArray[np.int64]:
    return np.asarray(rng.integers(n, size=(draws, n)), dtype=np.int64)


def paired(first: ArrayLike, second: ArrayLike, seed: int = 0) -> Paired:
    """Compare two ways of answering the same problems.

    Args:
        first, second: (n,) right or wrong, of the same problems in the same order.
        seed: of the bootstrap interval.

    Raises:
        UsageError: the shapes differ.
    """
    a, b = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(f"cannot pair {a.shape} with {b.shape} results")
    x, y, n = int((a & ~b).sum()), int((~a & b).sum()), len(a)
    pairs = a.astype(np.float64) - b.astype(np.float64)
    alike = n and (x == n or y == n or x + y == 0)
    difference = all_alike(int(pairs[0]), n) if alike else mean(pairs, seed)
    return Paired(difference, x, y, mcnemar(x, y), detectable(n, x + y))


def all_alike(value: int, n: int, level: float = LEVEL) -> Estimate:
    """The difference of two shares, and its exact interval, where all n pairs are alike. A bootstrap would give no width.

    0 of n pairs of a kind: its probability is at most u = 1 - ((1 - level)/2)^(1/n) (Clopper and Pearson, 1934). So the
    difference is from -u to u where no pair differs, and from 1 - 2u to 1 where only the first is right in all of them.

    Args:
        value: 0 if no pair differs, 1 if only the first is right in all, -1 if only the second is.
        n: how many pairs, 1 or more.
        level: the probability that the interval covers, at the least.
    """
    u = 1 - ((1 - level) / 2) ** (1 / n)
    low, high = (-u, u) if value == 0 else (1 - 2 * u, 1.0)
    if value < 0:
        low, high = -high, -low
    return Estimate(float(value), low, high, n)


def detectable(n: int, discordant: int, power: float = POWER) -> float:
    """The smallest difference of two shares that McNemar's exact test at 0.05 finds in n pairs with that power.

    Args:
        n: pairs.
        discordant: how many of them differ. The share of pairs that differ is taken as (discordant + 1)/(n + 2), or as the
            difference itself where that is larger.
        power: the probability of p < 0.05.

    Returns:
        The difference, 0 to 1; NaN if not even a difference of 1 is found so.
    """
    if not n or _power(n, 1.0, 1.0) < power:
        return math.nan
    share = (discordant + 1) / (n + 2)
    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        if _power(n, max(share, middle), middle) < power:
            low = middle
        else:
            high = middle
    return high


def needed(difference: float, share: float, power: float = POWER) -> int | None:
    """How many pairs McNemar's exact test at 0.05 needs to find a difference of two shares with that power.

    Args:
        difference: of the shares, 0 to 1.
        share: of the pairs that differ; at least the difference.
        power: the probability of p < 0.05.

    Returns:
        The number of pairs; None if it is more than 10 million, or if there is no difference.
    """
    share = min(1.0, max(share, difference))
    high = 4
    while difference <= 0 or _power(high, share, difference) < power:
        high *= 2
        if difference <= 0 or high > 10**7:
            return None
    low = high // 2
    while high - low > max(1, low // 200):  # to half a percent
        middle = (low + high) // 2
        low, high = (middle, high) if _power(middle, share, difference) < power else (low, middle)
    return high


def _power(n: int, share: float, difference: float) -> float:
    """P(p < 0.05) of McNemar's test in n pairs, of which a share differs. Exact up to 300 pairs, then Connor's (1987) formula."""
    if n > 300:
        spread = math.sqrt(max(share - difference**2, 1e-12))
        normal = NormalDist()
        return normal.cdf((difference * math.sqrt(n) - normal.inv_cdf(0.975) * math.sqrt(share)) / spread)
    q = min(1.0, (1 + difference / share) / 2)  # of a pair that differs, that it is the first that is right
    found = 0.0
    for m, weight in enumerate(_binomial(n, share)):
        if weight > 1e-9:
            tail = np.cumsum(_binomial(m, 0.5))
            k = int(np.searchsorted(2 * tail, 0.05))  # the test finds fewer than k, or more than m - k
            p = _binomial(m, q)
            found += float(weight) * float(p[:k].sum() + p[m - k + 1 :].sum())
    return found


def _binomial(n: int, p: float) -> NDArray[np.float64]:
    """P(X = 0..n) for X ~ Binomial(n, p)."""
    k = np.arange(n + 1)
    if p in (0.0, 1.0):
        return np.asarray(k == round(n * p), dtype=np.float64)
    ln = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # ln k!
    return np.asarray(np.exp(ln[n] - ln - ln[::-1] + k * math.log(p) + (n - k) * math.log1p(-p)), dtype=np.float64)


def holm(p: Sequence[float]) -> list[float]:
    """p values that hold together, by Holm's step-down rule (1979): each is at least its own, and at most 1."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, p[i] * (len(p) - rank)))
        out[i] = worst
    return out
