"""A model twice: without its adapters, and with them. Knows how both are loaded and asked. Does not know what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softllama.api import Model, load
from softllama.engine import branches
from softllama.engine.items import Item
from softllama.vectors.distribution import Distribution

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Models:
    """The same file twice: without the adapter, and with it."""

    plain: Model
    adapted: Model

    def run(
        self, prefix: Sequence[int], tails: Sequence[Sequence[Item]], adapted: slice = slice(None)
    ) -> tuple[list[Distribution], list[Distribution]]:
        """What follows each tail without the adapter, and what follows those of the slice with it."""
        before = [b.next for b in branches.run(self.plain, prefix, tails, n_ctx=self.plain.n_ctx_given)]
        after = branches.run(self.adapted, prefix, tails[adapted], n_ctx=self.adapted.n_ctx_given)
        return before, [b.next for b in after]

    def log_likelihoods(self, prefix: Sequence[int], words: Sequence[int], text: Sequence[int]) -> Floats:
        """ln P(text | prefix, word) of each word without the adapter, (k,); 0 for an empty text."""
        if not text:
            return np.zeros(len(words))
        scores = self.plain.score_pairs([([*prefix, w], list(text)) for w in words])
        return np.array([s.logprob for s in scores])


def without_adapters(model: Model) -> Model:
    """The same file, loaded with the same options, but for the adapters: nothing else may differ between the two."""
    how = {k: v for k, v in model.arguments.items() if k not in ("lora", "any_base")}
    return load(model.path, trial=False, **how)
