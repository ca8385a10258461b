"""ThinkRouter as a general gate: a signal of the distribution decides, step by step, whether a mixture or a token is fed."""

from __future__ import annotations

import math
from typing import Literal

from softllama.policy import filters
from softllama.policy.base import Decision, Moment, Rule, Where, hard
from softllama.policy.discrete import published_answer, stop_when_cold
from softllama.policy.registry import policy
from softllama.vectors import passes
from softllama.vectors.distribution import FEW, Distribution
from softllama.vectors.whole import COLDEST

Signal = Literal["pmax", "entropy", "margin"]


@policy(answer=published_answer)
def route(
    tau: float = 0.5,
    signal: Signal = "pmax",
    above: Literal["soft", "hard"] = "soft",
    n: int = 10,
    temperature: float = 0.6,
    top_k: int = 30,
    top_p: float = 0.95,
    min_p: float = 0.001,
    cold_tau: float = 0.01,
    cold_k: int = 256,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """ThinkRouter: Soft Thinking's mixture where the model is sure, a sampled token where it is not.

    The signal is the largest p, the entropy H in nats, or the margin between the two largest p: over the whole vocabulary,
    after temperature and before any filter, as for Cold Stop. From tau on, above="soft" feeds the mixture of
    `soft_thinking`, whose readout is its heaviest id, and "hard" a token drawn from the filtered p; below tau it is the
    other way round. Cold Stop counts both kinds of steps. tau = 0 is `soft_thinking`; pmax with tau > 1 is `cold_stop`,
    and with cold_tau = 0 sampling.

    Xu et al., arXiv 2602.11683: signal pmax, above soft, with Cold Stop and Soft Thinking's settings; they choose tau for
    each model on a validation set. 0.5 is our choice, and so are the signals beside pmax.

    Args:
        tau: the signal's value from which on `above` is fed.
        signal: "pmax": the largest probability; "entropy": in nats; "margin": the largest minus the second.
        above: what is fed from tau on.
        n: how many tokens are mixed, at most.
        temperature, top_k, top_p, min_p: the filters of the mixture and of the drawn token, as in `sample`.
        cold_tau: nats; thinking ends after cold_k steps in a row whose entropy is below it; 0 turns that off.
        cold_k: steps in a row.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        over, value = compared(distribution, signal, temperature, tau)
        p = filters.support(distribution, temperature, top_k, top_p, min_p)
        why = f"{signal} {value}"
        if over == (above == "soft"):
            mixture = p.top(n).mixture()
            decision = Decision.of(mixture, p.argmax, "soft", f"{why}, n={len(mixture)}")
        else:
            decision = hard(p.draw(moment.rng), why)
        if cold_tau > 0:
            return stop_when_cold(decision, distribution, moment, temperature, cold_tau, cold_k)
        return decision

    return rule


def compared(distribution: Distribution, signal: Signal, temperature: float, tau: float) -> tuple[bool, str]:
    """Is a signal's value at least tau, and the value in three digits. A few tokens mostly answer both for "pmax"."""
    if signal == "pmax" and temperature > 0:
        for k in (FEW, passes.KNOWN):
            low, high = filters.largest_bounds(distribution, max(temperature, COLDEST), k)
            if (low >= tau) == (high >= tau) and f"{low:.3g}" == f"{high:.3g}":
                return low >= tau, f"{low:.3g}"
    value = measured(distribution, signal, temperature)
    return value >= tau, f"{value:.3g}"


def measured(distribution: Distribution, signal: Signal, temperature: float) -> float:
    """The value of a signal, after temperature and before any filter.

    Args:
        signal: "pmax" and "margin" lie in [0, 1], "entropy" in [0, ln n_vocab].
    """
    if signal == "entropy":
        return filters.entropy(distribution, temperature)
    if temperature == 0:
        return 1.0
    t = max(temperature, COLDEST)
    total = distribution._sums(t)[0]  # Σ e^x, x = (z - max z)/T
    if signal == "pmax" or len(distribution) == 1:
        return 1 / total
    first, second = distribution._top_probs(2)
    low = distribution._z[second[0]] - distribution._z[first[0]]
    return (1 - math.exp(low / t)) / total
