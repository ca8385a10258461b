"""What every layer would have said after a step of a generation, as a record of it. Knows no model.

softllama.generation.layers makes it, with the logit lens of softllama.engine.lens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerReadout:
    """One layer: the entropy of its readout, and KL(the model's output ‖ the readout), both in nats; its likeliest (id, p)."""

    layer: int
    entropy: float
    kl: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class StepLayers:
    """All layers after what step `step` fed."""

    step: int
    layers: tuple[LayerReadout, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is infinite is None."""
        layers = [
            {"layer": r.layer, "entropy": _json(r.entropy), "kl_to_last": _json(r.kl), "top": [list(t) for t in r.top]}
            for r in self.layers
        ]
        return {"step": self.step, "layers": layers}

    @property
    def ids(self) -> list[int]:
        """Every token id in it."""
        return [i for r in self.layers for i, _ in r.top]


def from_dict(v: Any, integer: Callable[[Any], int], real: Callable[[Any], float]) -> StepLayers:
    """The record that `to_dict` gave. integer, real: what reads numbers.

    Raises:
        ValueError, KeyError, TypeError: the value is none.
    """

    def number(x: Any) -> float:
        return math.inf if x is None else real(x)

    layers = tuple(
        LayerReadout(
            integer(r["layer"]),
            number(r["entropy"]),
            number(r["kl_to_last"]),
            tuple((integer(i), real(p)) for i, p in r["top"]),
        )
        for r in v["layers"]
    )
    return StepLayers(integer(v["step"]), layers)


def _json(x: float) -> float | None:
    return x if math.isfinite(x) else None
