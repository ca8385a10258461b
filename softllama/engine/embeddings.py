"""Which rows of a model's embedding table are near to a vector. Knows a table and a vocabulary, no context."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import MixtureError, UsageError
from softllama.vectors.vector import Vector

BY = ("cosine", "dot")


class Near(NamedTuple):
    """A token near to a vector. score: the cosine, or the dot product of the vector and the token's row."""

    id: int
    text: str
    score: float


def nearest(model: Engine, vector: Vector, n: int, by: str) -> list[list[Near]]:
    """The n tokens whose rows are nearest to each position of a vector, the nearest first.

    Args:
        by: "cosine" or "dot". Both are of the vector in the table's scale.

    Raises:
        MixtureError: the vector has another length, or its scale is not said where it matters.
        UsageError: another argument is not allowed.
    """
    arguments.integer("n", n, 1)
    if by not in BY:
        raise UsageError(f"by = {by!r} is not allowed", f"use one of {', '.join(BY)}")
    factor = model.calibration.multiplier
    if vector.n_embd != model.n_embd:
        raise MixtureError(
            f"a vector of the shape {vector.values.shape} does not fit {model.name}", f"({model.n_embd},)"
        )
    if vector.scale is None and factor != 1 and by == "dot":
        raise MixtureError("the vector's scale is not said", 'sl.Vector(values, scale="table")')
    values = np.atleast_2d(vector.values).astype(np.float64) / (factor if vector.scale == "model" else 1.0)
    found = model.table.nearest(values, n, cosine=by == "cosine")
    return [[Near(i, model.spell(i), score) for i, score in one] for one in found]
