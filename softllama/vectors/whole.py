"""`WholeVector`: a mixture that is the model's whole distribution, by the numbers that it is computed with.

A mixture of 150,000 tokens is a megabyte. These four numbers and the distribution give the same mixture again, so a record
need not hold it. Knows distributions. Does not know policies or records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture, blend

COLDEST = float(np.finfo(np.float32).tiny)  # a temperature between 0 and this is as cold as this


@dataclass(frozen=True)
class WholeVector:
    """share · softmax(logits / temperature) + (1 - share) · [token].

    Attributes:
        temperature: of the softmax; 0 is one token, the most probable.
        epsilon: the least probable tokens are left out while their sum is at most this, and the rest is renormalised.
        share: of the softmax in the mixture, from 0 to 1.
        token: the id that has the rest; None where share is 1.
    """

    temperature: float = 1.0
    epsilon: float = 0.0
    share: float = 1.0
    token: int | None = None

    def mixture(self, distribution: Distribution) -> tuple[Mixture, float]:
        """The mixture of a distribution, and the probability mass that epsilon left out of it."""
        if self.token is not None and self.share == 0:
            return Mixture.one_hot(self.token), 0.0
        p, left_out = truncated(distribution, self.temperature, self.epsilon)
        if self.token is None or self.share == 1:
            return p, left_out
        return blend([p, Mixture.one_hot(self.token)], [self.share, 1 - self.share]), self.share * left_out

    def gives(self, mixture: Mixture, distribution: Distribution) -> bool:
        """Does the distribution give this very mixture, to the last bit?"""
        return self.mixture(distribution)[0] == mixture


def truncated(distribution: Distribution, temperature: float = 1.0, epsilon: float = 0.0) -> tuple[Mixture, float]:
    """The whole output vector as a mixture, without its least probable tokens.

    They are left out while their sum is at most epsilon (equal logits together or not at all), and the rest is renormalised.
    Probabilities that are 0 in float32 are left out anyway.

    Returns:
        The mixture, and the probability mass that epsilon left out.
    """
    if temperature == 0:
        return Mixture.one_hot(distribution.argmax), 0.0
    ids, weights, left_out = distribution._truncated(max(temperature, COLDEST), epsilon)
    return Mixture.trusted(ids, weights), left_out
