"""Controls: policies that differ from a soft one in a single respect, so that its effect can be separated from theirs.

Random tokens and plain means in place of Soft Thinking's weights. Knows distributions.
"""

from __future__ import annotations

import numpy as np

from softllama.policy import filters
from softllama.policy.base import Rule, Where
from softllama.policy.discrete import published_answer
from softllama.policy.filters import Support
from softllama.policy.registry import policy
from softllama.policy.soft import top_n
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture


@policy(answer=published_answer)
def random_mix(
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
    """The weights of Soft Thinking over random tokens (control).

    w as in `soft_thinking`, each weight moved to another id, drawn uniformly without replacement from the vocabulary.
    The readout and Cold Stop stay those of `soft_thinking`, so that only what is fed differs. Settings and answer as
    there.

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

    def weigh(pi: Support, distribution: Distribution, rng: np.random.Generator) -> tuple[Mixture, int]:
        ids = rng.choice(len(distribution), size=len(pi), replace=False)
        return Mixture(ids, pi.p), pi.argmax

    return top_n(weigh, n, temperature, top_k, top_p, min_p, tau, k)


@policy(answer=published_answer)
def top_mean(
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
    """The plain mean of the tokens that Soft Thinking mixes (control).

    w = 1/m on each of the m <= n tokens of `soft_thinking`. The readout and Cold Stop stay those of `soft_thinking`.
    Settings and answer as there.

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

    def weigh(pi: Support, distribution: Distribution, rng: np.random.Generator) -> tuple[Mixture, int]:
        return filters.normalised(pi.ids, np.ones(len(pi))), pi.argmax

    return top_n(weigh, n, temperature, top_k, top_p, min_p, tau, k)
