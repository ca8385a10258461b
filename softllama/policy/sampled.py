"""Policies that sample a token each step, record it, and feed it together with others: MoI, SeLaR, Multiplex."""

from __future__ import annotations

import bisect
from math import isinf, log
from typing import Literal

import numpy as np

from softllama.policy import filters
from softllama.policy.base import Decision, Moment, Policy, Rule, Where, hard
from softllama.policy.discrete import sample
from softllama.policy.registry import Range, policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture


def _moi_answer() -> Policy:
    return sample(temperature=0.6, top_p=0.95)


def _swir_answer() -> Policy:
    return sample(temperature=0.6, top_k=20, top_p=0.95)


@policy(answer=_moi_answer, k=Range(2))
def moi(
    beta: float = 1.0,
    k: int = 20,
    temperature: float = 0.6,
    top_k: int = 0,
    top_p: float = 0.95,
    min_p: float = 0.0,
    where: Where = "everywhere",
    answer: Rule | None = None,
) -> Rule:
    """Mixture of Inputs: the sampled token, and the distribution that it was drawn from.

    p: the k most probable at temperature 1, renormalised. Hn = H(p)/ln k, in [0, 1]. y is drawn with temperature,
    top_k, top_p and min_p. w_i = (Hn p_i + (beta + 1 - Hn) [i = y]) / (beta + 1). The readout is y. beta = inf is
    sampling, and so is Hn = 0.

    Zhuang et al., arXiv 2505.14827: beta 1 (useful 0.5-2), k 20, at every generated position, thinking or not. Their
    sampling settings differ from model to model and by task (top-p 0.95, 0.8 and 0.4); T 0.6 and top-p 0.95 are common
    ones. Where their code differs: a y
    outside the k most probable loses its mass there and keeps it here, as in the paper. With `where="thinking"` the
    answer is sampled with the same defaults, unless `answer` is given.

    Args:
        beta: weight of the sampled token against the distribution; inf is sampling.
        k: how many of the most probable tokens are mixed; 2 or more.
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        y = filters.support(distribution, temperature, top_k, top_p, min_p).draw(moment.rng)
        p = filters.support(distribution, 1.0, k)
        hn = _entropy_share(p.p, k)
        share = 0.0 if isinf(beta) else hn / (beta + 1)  # of p; the rest is y's
        if share == 0:
            return hard(y, "the sample alone")
        ids, weights = p.ids.tolist(), [share * x for x in p.p.tolist()]  # so few that lists are faster than arrays
        at = bisect.bisect_left(ids, y)
        if at == len(ids) or ids[at] != y:
            ids.insert(at, y)
            weights.insert(at, 0.0)
        weights[at] += 1 - share
        mixture = filters.normalised(np.array(ids, dtype=np.int32), np.array(weights))
        return Decision(mixture, y, "soft", f"Hn={hn:.2f}")

    return rule


@policy(answer=_swir_answer, k=Range(2))
def selar(
    k: int = 3,
    tau: float = 0.5,
    c: float = 1.0,
    temperature: float = 0.6,
    top_k: int = 20,
    top_p: float = 0.95,
    min_p: float = 0.0,
    math: Literal["hard", "soft"] = "hard",
    where: Where = "everywhere",
    answer: Rule | None = None,
) -> Rule:
    """SeLaR: where the model hesitates, its k best tokens, pushed away from the best.

    q: the k heaviest of the filtered p, renormalised; v1 the heaviest; Hbar = H(q)/ln k in [0, 1]. y ~ filtered p is
    the readout of every step. If Hbar >= tau, s = sum q E and e = s + c Hbar (s - E[v1]): w_i = (1 + c Hbar) q_i,
    less c Hbar for v1. The weights sum to 1; v1's may be negative. Otherwise, and with math="hard" where y is a digit, a
    letter or a mathematics symbol (the moment's `hard_only` ids), e = E[y]. tau > 1 is sampling.

    arXiv 2604.08299: k 3, tau 0.5, c 1, and these sampling settings; at every position. Where the authors' code differs:
    it feeds mixtures to a whole batch as soon as one of its sequences is unsure. With `where="thinking"` the answer is
    sampled with the same defaults, unless `answer` is given.

    Args:
        k: how many of the most probable tokens are mixed; 2 or more.
        tau: the share of the largest possible entropy from which on a mixture is fed; above 1 is sampling.
        c: how far the mixture is pushed away from the most probable token.
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        math: "hard" feeds digits, letters and mathematics symbols as single tokens, as the authors do; "soft" mixes there, too.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        p = filters.support(distribution, temperature, top_k, top_p, min_p)
        y = p.draw(moment.rng)
        q = p.top(k)
        hbar = _entropy_share(q.p, k)
        if math == "hard" and y in moment.hard_only:
            return hard(y, "kept discrete")
        if hbar < tau:
            return hard(y, f"Hbar={hbar:.2f}")
        w = (1 + c * hbar) * q.p
        w[q.ids == q.argmax] -= c * hbar
        return Decision(Mixture(q.ids, w, signed=True), y, "soft", f"Hbar={hbar:.2f}")

    return rule


@policy(answer=sample, k=Range(1, 1000))
def multiplex(
    k: int = 3,
    weighted: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Multiplex thinking: the mean of k independent samples.

    y_1 .. y_k ~ the filtered p, independently, so that a token may come more than once; w_v = (times v was drawn)/k,
    or proportional to that times p_v if `weighted`. The readout is y_1. k = 1 is sampling, with the same random number.

    arXiv 2601.08808: k 3. The uniform mean is the default here; the authors' training script weighs by p by
    default. T 1 and no filters are that script's settings, also for the answer, unless `answer` is given.

    Args:
        k: how many samples.
        weighted: weigh the samples by their probabilities.
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        p = filters.support(distribution, temperature, top_k, top_p, min_p)
        drawn = [p.draw(moment.rng) for _ in range(k)]
        ids, counts = np.unique(drawn, return_counts=True)
        w = counts * p.p[np.searchsorted(p.ids, ids)] if weighted else counts.astype(np.float64)
        return Decision(filters.normalised(ids, w), drawn[0], "soft", f"n={len(ids)} of {k} samples")

    return rule


def _entropy_share(p: filters.F64, k: int) -> float:
    """H(p)/ln k: the share of the entropy that k equal tokens would have, in [0, 1]."""
    h: float = -sum(x * log(x) for x in p.tolist())
    return min(max(h / log(k), 0.0), 1.0)
