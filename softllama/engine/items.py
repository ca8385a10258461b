"""What is fed at positions: token ids, mixtures and vectors, and what a model needs of each.

Knows the calibration's numbers and why an architecture needs ids. Knows no context and evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softllama.engine.rows import PER_LAYER_NODE, Calibration
from softllama.errors import MixtureError
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

Item: TypeAlias = "int | Mixture | Vector"  # what is fed at one position


def stand_in(item: Item) -> Mixture:
    """The mixture whose row is fed, or which stands for a vector."""
    if isinstance(item, Mixture):
        return item
    if isinstance(item, Vector):
        return item.mixture or Mixture.one_hot(0)
    return Mixture.one_hot(item)


def one_each(items: Iterable[Item]) -> list[Item]:
    """The same with an item for each position: a vector of k positions becomes k."""
    return [x for i in items for x in (i.positions() if isinstance(i, Vector) else (i,))]


def vectors_of(items: Sequence[Item]) -> list[Vector]:
    """The vectors among the items; a long prompt without any is passed at once."""
    some = any(issubclass(kind, Vector) for kind in set(map(type, items)))
    return [i for i in items if isinstance(i, Vector)] if some else []


def needs_ids(calibration: Calibration) -> str:
    """Why a model needs token ids beside the embedding, as a clause; "" where it does not."""
    if PER_LAYER_NODE in calibration.nodes:
        return "it looks up a second, per-layer embedding by token id"
    return f"the token id decides {calibration.carrier}" if calibration.carrier not in ("", "any") else ""


class Fed(Protocol):
    """What is known of a model that is fed."""

    calibration: Calibration

    @property
    def name(self) -> str: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_vocab(self) -> int: ...


def check_vector(model: Fed, v: Vector) -> None:
    """Check that a model can be fed a vector.

    Raises:
        MixtureError: its length is another, its scale is not said where that matters, or the architecture needs ids.
    """
    if v.n_embd != model.n_embd:
        raise MixtureError(
            f"a vector of the shape {v.values.shape} does not fit {model.name}",
            f"this model needs the shape ({model.n_vocab},), a vector over the vocabulary, or ({model.n_embd},) or "
            f"(k, {model.n_embd}), vectors in place of embeddings",
        )
    if v.mixture is None and (why := needs_ids(model.calibration)):
        raise MixtureError(
            f"{model.name} cannot be fed a vector alone: {why}",
            "sl.Vector(values, mixture=...) names the tokens that stand for it there; a mixture works as it is",
        )
    if v.scale is None and (factor := model.calibration.multiplier) != 1:
        raise MixtureError(
            f"the vector's scale is not said, and {model.name} multiplies rows of its table by {factor:.6g}",
            'scale="table" (--mix @FILE:table) for vectors like rows of the table, "model" for multiplied ones',
        )


def put_vectors(items: Sequence[Item], embeddings: NDArray[np.float32], multiplier: float) -> None:
    """Write the vectors among items over their rows, or add them to these.

    Args:
        items: n, a position each.
        embeddings: (n, >= n_embd) rows, scaled as the architecture wants them; written in place.
        multiplier: of the table's rows.
    """
    for row, item in enumerate(items):
        if isinstance(item, Vector):
            values = item.values if item.scale == "model" else np.float32(multiplier) * item.values  # (n_embd,)
            if item.added:
                embeddings[row, : len(values)] += values
            else:
                embeddings[row, : len(values)] = values
