"""What a prompt holds, as JSON: a token id is a number, a mixture a list of [id, weight], a vector an object. Knows no file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector


def to_json(item: int | Mixture | Vector) -> Any:
    """An item of a prompt, ready for JSON."""
    if isinstance(item, int):
        return item
    if isinstance(item, Mixture):
        return pairs(item)
    beside = {"mixture": pairs(item.mixture)} if item.mixture is not None else {}
    return {"vector": item.values.tolist(), "scale": item.scale, **beside}


def pairs(m: Mixture) -> list[list[float]]:
    """A mixture, ready for JSON."""
    return [[int(i), float(w)] for i, w in zip(m.ids, m.weights, strict=True)]


def from_json(value: Any, mixture: Callable[[Any], Mixture], token: Callable[[Any], int]) -> int | Mixture | Vector:
    """An item of a prompt. mixture, token: what reads a list of pairs, and an id.

    Raises:
        ValueError, KeyError, TypeError, MixtureError: the value is none.
    """
    if isinstance(value, dict):
        beside = mixture(value["mixture"]) if "mixture" in value else None
        return Vector(value["vector"], scale=value["scale"], mixture=beside)
    return mixture(value) if isinstance(value, list) else token(value)
