"""Policies that feed one token a step: the baselines, and Cold Stop without soft input."""

from __future__ import annotations

from softllama.policy import filters
from softllama.policy.base import COLD, Decision, Moment, Policy, Rule, Where, closing, hard
from softllama.policy.registry import policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.whole import COLDEST


@policy(soft=False)
def greedy() -> Rule:
    """The most probable token; the lowest id among equals.

    y = argmax z. The readout is y. Nothing is random.
    """
    return lambda distribution, moment: hard(distribution.argmax)


@policy(soft=False)
def sample(
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    penalty_last_n: int = 64,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    typical_p: float = 1.0,
) -> Rule:
    """One token drawn from the filtered probabilities.

    The penalties change the logits of the last `penalty_last_n` readouts (-1: all of them); then p = softmax(z/T), top-k,
    typical, top-p, min-p, each renormalised (`filters.support`, `filters.typical`); y ~ p. The readout is y. The defaults
    filter nothing; temperature 0 is greedy. penalty_last_n is llama.cpp's name and default; vLLM penalises the whole
    output, which is -1. Only readouts are penalised, never the prompt. One random number is used for each step.

    Args:
        temperature: of the softmax; 0 is greedy.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: then the fewest whose sum reaches it; 1 keeps all.
        min_p: then those of at least min_p times the largest; 0 keeps all.
        repetition_penalty: divides positive logits of recent readouts and multiplies the others; 1 changes nothing.
        penalty_last_n: how many readouts are penalised; -1 for all, 0 for none.
        presence_penalty: is subtracted from the logits of recent readouts.
        frequency_penalty: is subtracted from them as often as they came.
        typical_p: keep the fewest tokens, nearest to the entropy first, whose sum reaches it; 1 keeps all.

    Raises:
        UsageError: a setting is out of range.
    """

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        d = filters.penalised(
            distribution,
            moment.readouts,
            repetition_penalty,
            penalty_last_n,
            presence_penalty,
            frequency_penalty,
            moment.state,
        )
        if nothing and temperature > 0:  # the same, without putting the whole vocabulary into an array
            return hard(d.sample(moment.rng, max(temperature, COLDEST)))
        if typical_p < 1:
            p = filters.typical(filters.support(d, temperature, top_k), typical_p)
            return hard(filters.nucleus(p, top_p, min_p).draw(moment.rng))
        return hard(filters.support(d, temperature, top_k, top_p, min_p).draw(moment.rng))

    nothing = top_k == 0 and top_p == 1 and min_p == 0 and typical_p == 1
    return rule


def published_answer() -> Policy:
    """How Soft Thinking and its descendants decode the answer: ordinary sampling, min-p off."""
    return sample(temperature=0.6, top_k=30, top_p=0.95)


@policy(answer=published_answer, soft=False)
def cold_stop(
    temperature: float = 0.6,
    top_k: int = 30,
    top_p: float = 0.95,
    min_p: float = 0.001,
    tau: float = 0.01,
    k: int = 256,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Cold Stop on discrete tokens: sampling that ends thinking as Soft Thinking does (control).

    y ~ the filtered p, fed as itself. Thinking ends after k consecutive steps with H < tau, H in nats over the whole
    vocabulary after temperature and before the filters (arXiv 2505.15778). At temperature 0, H is 0: thinking then
    ends after k steps. tau = 0 never ends it. Defaults are those of `soft_thinking`.

    The answer is sampled with T 0.6, top-k 30, top-p 0.95, unless `answer` is given.

    Args:
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

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        drawn = hard(filters.support(distribution, temperature, top_k, top_p, min_p).draw(moment.rng))
        return stop_when_cold(drawn, distribution, moment, temperature, tau, k)

    return rule


def stop_when_cold(
    decision: Decision, distribution: Distribution, moment: Moment, temperature: float, tau: float, k: int
) -> Decision:
    """`decision`, or the step that closes thinking if this is the k-th in a row with H < tau (strictly).

    Any other step resets the count. So does closing, whether by this rule or by a readout that is the closing tag.
    """
    if moment.closes(decision.token):
        moment.state.pop(COLD, None)
        return decision
    count = moment.state.get(COLD, 0) + 1 if filters.cold(distribution, temperature, tau) else 0
    moment.state[COLD] = 0 if count >= k else count
    return closing(moment, decision, f"cold stop: k={k} steps with H < {tau:g}") if count >= k else decision
