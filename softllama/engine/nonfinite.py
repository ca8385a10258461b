"""Logits or states that are not finite: after which step, and in which layer of the model.

Looks only once something has gone wrong. Knows what was fed. Does not know how: whoever fed it names the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softllama.engine.engine import Engine, Item
from softllama.engine.lens import Lens
from softllama.errors import NotFiniteError, SoftLlamaError

MOST = 512  # positions that are fed again
HEAD = "all layers give numbers, so it is the output head"


def located(
    model: Engine, error: NotFiniteError, where: str, items: Sequence[Item | None], *, exact: bool = True
) -> NotFiniteError:
    """The error with the name of its step, and the first layer that is not finite, as far as that can be found again.

    Args:
        where: the step, as the beginning of a message.
        items: all that was fed up to there; None for what cannot be fed again.
        exact: are they what was fed, rather than the heaviest entries of it?
    """
    layer = first_layer(model, items)
    if not exact and layer == HEAD:  # what was fed may have led to another layer
        layer = ""
    result = NotFiniteError(
        f"{where}: {error.message}{f'; {layer}' if layer else ''}",
        f"the model may be damaged: softllama doctor -m {model.path} looks at it",
    )
    result.index = error.index
    return result


def first_layer(model: Engine, items: Sequence[Item | None]) -> str:
    """The first layer whose output is not finite after these items, as a clause; "" where it cannot be found."""
    known = [i for i in items if i is not None]
    if not known or len(known) < len(items) or len(known) > MOST:
        return ""
    try:
        with Lens(model, len(known)) as lens:
            states, _ = lens.states(known, range(len(known)))  # (n_layer, len(known), n_embd)
    except SoftLlamaError:  # some models do not name their layers
        return ""
    bad = np.flatnonzero(~np.isfinite(states).all(axis=(1, 2)))
    if not len(bad):
        return HEAD
    return f"the first layer that gives none is {bad[0]} (blk.{bad[0]}, of {len(states)})"
