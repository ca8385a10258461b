"""Numbers that are none: which step, and which layer of the model. Looks only once something has gone wrong.

Knows what was fed. Does not know how: whoever fed it says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine
from softllama.errors import NotFiniteError, SoftLlamaError
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture


def explained(
    model: Engine, e: NotFiniteError, where: str, items: Sequence[int | Mixture | NDArray[np.float32] | None]
) -> NotFiniteError:
    """The error with the name of its step, and the first layer that gave no numbers, as far as that can be found again.

    where: the step, as the beginning of a sentence. items: all that was fed up to there, None for what cannot be fed again.
    """
    layer = first_layer(model, items)
    error = NotFiniteError(
        f"{where}: {e.message}{f'; {layer}' if layer else ''}",
        f"the model may be damaged: softllama doctor -m {model.path} looks at it",
    )
    error.index = e.index
    return error


def first_layer(model: Engine, items: Sequence[int | Mixture | NDArray[np.float32] | None]) -> str:
    """The first layer whose output is not finite after these items, as a sentence; "" where it cannot be told."""
    from softllama.engine.lens import Readout

    known = [i for i in items if i is not None]
    if not known or len(known) < len(items) or len(known) > 512:
        return ""
    try:
        with Readout(model, len(known)) as readout:
            states, _ = readout.states(known, range(len(known)))  # (n_layer, len(known), n_embd)
    except SoftLlamaError:  # some models do not name their layers
        return ""
    bad = np.flatnonzero(~np.isfinite(states).all(axis=(1, 2)))
    if not len(bad):
        return "all layers give numbers, so it is the output head"
    return f"the first layer that gives none is {bad[0]} (blk.{bad[0]}, of {len(states)})"


def after(
    model: Engine, logits: NDArray[np.float32], where: str, items: Sequence[int | Mixture | NDArray[np.float32] | None]
) -> Distribution:
    """`Model.after`, with an error that says where it was."""
    try:
        return model.after(logits)
    except NotFiniteError as e:
        raise explained(model, e, where, items) from None
