"""N-grams of token ids, counted from a text, and their interpolation. Knows ids only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

# of bigrams to sixgrams, as Superposed Decoding's authors set them (arXiv 2405.18400); they need not sum to 1
WEIGHTS = (0.01, 0.04, 0.15, 0.18, 0.12)


class NGrams:
    """Counts of what follows the last 1, 2, ... ids.

    Args:
        ids: the text.
        weights: of what follows the last id, the last two, ...
    """

    def __init__(self, ids: Sequence[int], weights: Sequence[float] = WEIGHTS) -> None:
        self.weights = tuple(weights)
        self._after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for i in range(1, len(ids)):
            for n in range(1, min(len(self.weights), i) + 1):
                self._after[tuple(ids[i - n : i])][ids[i]] += 1
        self._totals = {key: c.total() for key, c in self._after.items()}

    def score(self, before: Sequence[int], token: int) -> float:
        """Σ weight_n · count(last n ids, token)/count(last n ids); 0 where none of them was seen."""
        total = 0.0
        for n, weight in enumerate(self.weights, 1):
            key = tuple(before[-n:])
            if len(key) == n and (seen := self._totals.get(key)):
                total += weight * self._after[key][token] / seen
        return total
