"""The average of several distributions, which a mixture's output is compared with.

Knows distributions. Does not know mixtures or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from softllama.errors import SoftLlamaError, UsageError
from softllama.vectors.distribution import Distribution


def average(distributions: list[Distribution], weights: ArrayLike) -> Distribution:
    """Σ wᵢ pᵢ: the distribution of first choosing i with probability wᵢ, then drawing from pᵢ. Computed in double.

    Args:
        distributions: k of them, over one vocabulary.
        weights: (k,), non-negative, not all 0; taken as ratios.

    Raises:
        UsageError: an argument is of another type.
        SoftLlamaError: the sizes do not fit, or the weights are not allowed.
    """
    if not isinstance(distributions, Sequence) or not all(isinstance(d, Distribution) for d in distributions):
        raise UsageError(f"average takes a list of Distributions, not {type(distributions).__name__}")
    try:
        w = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"weights must be numbers, not {weights!r}") from None
    if w.shape != (len(distributions),) or not len(w) or not np.isfinite(w).all() or w.min() < 0 or not w.sum() > 0:
        raise SoftLlamaError(f"{len(distributions)} distributions cannot be averaged with the weights {w.tolist()}")
    if len(sizes := {len(d) for d in distributions}) > 1:
        raise SoftLlamaError(f"distributions over {' and '.join(map(str, sorted(sizes)))} tokens cannot be averaged")
    total: Any = sum(x * d.probs.astype(np.float64) for x, d in zip(w / w.sum(), distributions, strict=True))
    return Distribution.from_probs(total / total.sum(), distributions[0].spell)
