"""`NoiseFloor`: how much a model's output moves when its input does not, and what that leaves of numbers that are shown.

Knows numbers. Does not measure: `softllama.engine.noise` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

COMMON = 0.5  # the part of the variance that copies of an input have in common


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """What rounding makes of one input that is moved by 1e-5 of its size. All 0 where four digits show nothing of it.

    llama.cpp rounds activations to 8 bits on quantized models, so that the smallest change of an input may turn over many
    roundings, each by a step.

    Attributes:
        js, js_median: Jensen-Shannon divergence between two such copies, the largest and the median, nats.
        logit, logit_median: for a pair of copies the largest difference of a logit; of these the largest and the median.
        log_odds: the largest difference of ln(p / (1 - p)) among the likeliest tokens.
        copies: how many copies of the input were compared.
    """

    js: float = 0.0
    js_median: float = 0.0
    logit: float = 0.0
    logit_median: float = 0.0
    log_odds: float = 0.0
    copies: int = 0

    def averaged(self, n: int) -> NoiseFloor:
        """The floor of averages over n copies: JS goes with the variance that is left, differences with its square root.

        Of the variance, about half is common to all copies, as they share the prompt's other rows and most roundings:
        measured against the same weights in F32, see docs/trust.md. Averages leave that half, and 1/n of the other.
        """
        left = COMMON + (1 - COMMON) / n
        root = math.sqrt(left)
        return NoiseFloor(
            js=self.js * left,
            js_median=self.js_median * left,
            logit=self.logit * root,
            logit_median=self.logit_median * root,
            log_odds=self.log_odds * root,
            copies=self.copies,
        )

    def of_probability(self, p: ArrayLike) -> NDArray[np.float64]:
        """How far a probability p may be moved by rounding: p (1 - p) · log_odds, the slope of the logistic curve."""
        x = np.asarray(p, dtype=np.float64)
        return np.asarray(x * (1 - x) * self.log_odds)

    def digits_of(self, p: float) -> int:
        """Decimals of a probability whose last is not smaller than a tenth of its noise, 1 to 3."""
        return _digits(float(self.of_probability(p)), 3)

    def js_text(self, js: float) -> str:
        """A JS with as many decimals as mean something; "<0.0016" below the floor."""
        return f"<{self.js:.2g}" if js < self.js else f"{js:.{_digits(self.js, 4)}f}"


def _digits(noise: float, most: int) -> int:
    return most if noise <= 0 else min(most, max(1, math.ceil(-math.log10(noise))))


NO_NOISE = NoiseFloor()
