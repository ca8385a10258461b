"""Vectors that are added to the states of a model, in every context that it makes.

llama.cpp's own control vectors serve from layer 1 on, at no cost, where an architecture's graph asks for them. Elsewhere the
vector is added by the callback that reads layers. Knows layers. Measures nothing: engine/steering.py does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softllama.engine.layers import F32, Edit, LayerWatch
from softllama.llama.context_setup import Control
from softllama.vectors.interventions import ControlVector


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What is added, and by whom.

    Attributes:
        vectors: all of them.
        served: what llama.cpp adds itself; None for nothing.
        by_callback: of each other layer, the sum of what is added there, (n_embd,).
    """

    vectors: tuple[ControlVector, ...] = ()
    served: Control | None = None
    by_callback: tuple[tuple[int, F32], ...] = ()

    def watch(self, watch: LayerWatch | None, n_embd: int) -> LayerWatch | None:
        """The callback of a context: the one that it has anyway, or one that only adds; None where none is needed."""
        if not self.by_callback:
            return watch
        result = watch or LayerWatch(n_embd)
        for layer, values in self.by_callback:
            result.edits.setdefault(layer, []).append(_add(values))
        return result


def _add(values: F32) -> Edit:
    def edit(rows: F32, positions: Sequence[int]) -> None:
        rows += values

    return edit
