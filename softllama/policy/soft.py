"""Policies that feed a mixture made from the distribution itself, while the model thinks.

The whole vector, with or without noise on the embedding, and the n most probable tokens: Soft Thinking and its two random
variants. Knows distributions. Does not know the embedding table: the loop adds noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from softllama.policy import filters
from softllama.policy.base import Decision, Moment, Rule, Where
from softllama.policy.discrete import greedy, published_answer, stop_when_cold
from softllama.policy.filters import Support
from softllama.policy.registry import policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.whole import COLDEST, WholeVector


@policy(answer=greedy)
def full(
    temperature: float = 1.0, epsilon: float = 1e-6, where: Where = "thinking", answer: Rule | None = None
) -> Rule:
    """The whole output vector, appended as it is.

    w = softmax(z/T). The readout is argmax w. The least probable tokens are left out while their mass sums to at most
    epsilon; what remains is renormalised and the mass is recorded in `Decision.left_out`. epsilon = 0 leaves out only
    probabilities of 0. Nothing is random. Not a published method: it is the question that this project asks.

    The answer is greedy, unless `answer` is given.

    Args:
        temperature: of the softmax; 0 is greedy.
        epsilon: probability mass that may be left out of the whole vector.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    whole = WholeVector(temperature, epsilon)

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        mixture, left_out = whole.mixture(distribution)
        why = f"n={len(mixture)}, whole vector"
        return Decision.of(mixture, distribution.argmax, "soft", why, left_out=left_out, whole=whole)

    return rule


@policy(answer=published_answer)
def soft_thinking(
    n: int = 10,
    temperature: float = 0.6,
    top_k: int = 30,
    top_p: float = 0.95,
    min_p: float = 0.001,
    tau: float = 0.01,
    k: int = 256,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Soft Thinking: the n most probable of the filtered tokens, until the model is sure for k steps (Cold Stop).

    p = softmax(z/T); top-k, top-p, min-p (relative to the largest p), then the n largest, renormalised each time: w.
    The readout is argmax w. Thinking ends when the readout is the closing tag, or by Cold Stop: after k consecutive
    steps with H < tau (strictly; any other step resets the count), where H is in nats over the whole vocabulary, after
    temperature and before any filter. tau = 0 turns Cold Stop off, tau = inf closes after k steps.

    Zhang et al., arXiv 2505.15778, whose defaults these are. Their scripts search n 5-20, min_p 0-0.005, tau 0-0.1 and k
    256-1024. The authors warn of worse results on models under 7-14B. Where their code differs: its Cold Stop goes on
    counting in the answer, its option for the answer's temperature is not used, and the end of generation inside thinking
    ends everything. Here the answer is sampled with T 0.6, top-k 30, top-p 0.95, whatever the settings of thinking, unless
    `answer` is given, and Cold Stop acts only while thinking.

    Args:
        n: how many tokens are mixed, at most.
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        tau: nats; thinking ends after k steps in a row whose entropy is below it.
        k: steps in a row.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """
    return top_n(as_they_are, n, temperature, top_k, top_p, min_p, tau, k)


@policy(answer=published_answer)
def gumbel(
    n: int = 15,
    temperature: float = 0.6,
    top_k: int = 30,
    top_p: float = 0.95,
    min_p: float = 0.0,
    tau: float = 0.5,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Stochastic Soft Thinking with Gumbel noise: the n most probable tokens, reweighted at random.

    On pi, the weights of `soft_thinking`: w = softmax((ln pi + g)/tau) with g = -ln(-ln u), u uniform in (0, 1). The
    readout is argmax w, an exact sample from pi. tau = 0 feeds that sample alone, tau = inf the plain mean.

    Wu et al., arXiv 2508.03440: tau 0.5 (0.3-0.9 searched), n 15 (10 for some tasks), Cold Stop off; the filters are Soft
    Thinking's without min-p. The answer is sampled with T 0.6, top-k 30, top-p 0.95, unless `answer` is given.

    Args:
        n: how many tokens are mixed, at most.
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        tau: temperature of the noisy weights; 0 feeds one sample, inf the plain mean.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    def weigh(pi: Support, distribution: Distribution, rng: np.random.Generator) -> tuple[Mixture, int]:
        s = np.log(pi.p) + rng.gumbel(size=len(pi))
        best = int(s.argmax())
        w = filters.one_hot(len(pi), best) if tau == 0 else np.exp((s - s[best]) / max(tau, COLDEST))
        return filters.normalised(pi.ids, w), int(pi.ids[best])

    return top_n(weigh, n, temperature, top_k, top_p, min_p)


@policy(answer=published_answer)
def dirichlet(
    n: int = 15,
    temperature: float = 0.6,
    top_k: int = 30,
    top_p: float = 0.95,
    min_p: float = 0.0,
    gamma: float = 4.0,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Stochastic Soft Thinking with a Dirichlet draw: the filtered tokens, reweighted at random, and the n heaviest of them.

    On the filtered p: v ~ Dir(gamma p), so E[v] = p and Var[v_i] = p_i (1 - p_i)/(gamma + 1). w: the n heaviest of v,
    renormalised. The readout is argmax w. A large gamma is Soft Thinking; gamma near 0 is sampling.

    Wu et al., arXiv 2508.03440, and their code for where n cuts: gamma 4 (1-10 searched); n and the filters as in `gumbel`.
    The answer is sampled with T 0.6, top-k 30, top-p 0.95, unless `answer` is given.

    Args:
        n: how many tokens are mixed, at most.
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        gamma: concentration of the Dirichlet distribution.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    def weigh(p: Support, distribution: Distribution, rng: np.random.Generator) -> tuple[Mixture, int]:
        a = gamma * p.p
        # ln of a Gamma(a) draw, as Gamma(a + 1) U^(1/a) in logarithms: draws for a small `a` underflow otherwise
        with np.errstate(divide="ignore", over="ignore"):
            s = np.log(rng.standard_gamma(a + 1)) - rng.standard_exponential(len(p)) / a
        best = int(s.argmax())
        keep = np.sort(np.argsort(-s, kind="stable")[:n])
        return filters.normalised(p.ids[keep], np.exp(s[keep] - s[best])), int(p.ids[best])

    return top_n(weigh, None, temperature, top_k, top_p, min_p)


@policy(answer=greedy)
def soft_noise(
    temperature: float = 0.5,
    sigma: float = 0.33,
    epsilon: float = 1e-6,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Soft tokens with noise: the whole vector at a low temperature, and Gaussian noise on its embedding.

    w = softmax(z/T), e = sum_v w_v E[v] + sigma r N(0, I), r the root mean square of the table's entries. The readout
    is argmax w. Here only `Decision.noise` = sigma is set: the loop, which has the table, adds the noise.

    arXiv 2509.19170: T 0.5, sigma 0.33. The method was made for training; here it is a knob. epsilon as in `full`. The
    answer is greedy, unless `answer` is given.

    Args:
        temperature: of the softmax; 0 is greedy.
        sigma: of the noise, in units of the root mean square of the table's entries.
        epsilon: probability mass that may be left out of the whole vector.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """

    whole = WholeVector(temperature, epsilon)

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        mixture, left_out = whole.mixture(distribution)
        why = f"n={len(mixture)}, noise {sigma:g}"
        return Decision(mixture, distribution.argmax, "soft", why, left_out=left_out, noise=sigma, whole=whole)

    return rule


# (the tokens that passed the filters, the distribution, random numbers) -> what is fed, and its readout
Weigh = Callable[[Support, Distribution, np.random.Generator], tuple[Mixture, int]]


def top_n(
    weigh: Weigh,
    n: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    tau: float = 0.0,
    k: int = 1,
) -> Rule:
    """The rule that Soft Thinking and its variants share: filters, the n most probable (None: all), weights from `weigh`, Cold
    Stop."""

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        pi = filters.support(distribution, temperature, top_k, top_p, min_p, n)
        mixture, token = weigh(pi, distribution, moment.rng)
        decision = Decision.of(mixture, token, "soft", f"n={len(mixture)}")
        return stop_when_cold(decision, distribution, moment, temperature, tau, k) if tau > 0 else decision

    return rule


def as_they_are(pi: Support, distribution: Distribution, rng: np.random.Generator) -> tuple[Mixture, int]:
    """The weights of Soft Thinking: the probabilities of the tokens that passed."""
    return pi.mixture(), pi.argmax
