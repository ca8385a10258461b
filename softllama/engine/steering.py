"""A model with vectors added to its states. Which of them llama.cpp adds itself is measured, not looked up.

Knows an engine and its contexts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import closing
from typing import TypeVar

import numpy as np

from softllama.base import arguments
from softllama.engine.control import Controls
from softllama.engine.engine import Engine
from softllama.engine.layers import F32
from softllama.engine.lens import Lens
from softllama.errors import ContextError, UsageError
from softllama.llama.context_setup import Control
from softllama.vectors.interventions import ControlVector

E = TypeVar("E", bound=Engine)
SIZE = 100.0  # of each number of the vector that is tried: no layer's output is left as it is by that


def with_control(model: E, vectors: Sequence[ControlVector]) -> E:
    """The same model, in whose new contexts the vectors are added after their layers. Weights are shared.

    Vectors that the model has already are replaced; none leaves it without.

    Raises:
        UsageError: there is no such layer, or a vector has another length.
        ContextError: llama.cpp neither adds to a layer itself nor names it.
    """
    result = copy.copy(model)
    result.controls = Controls()
    sums: dict[int, F32] = {}
    for v in vectors:
        v = arguments.instance("a control vector", v, ControlVector, "sl.ControlVector(layer=12, values=v, scale=4)")
        layer = _layer(model, v.layer)
        if len(v.values) != model.n_embd:
            raise UsageError(
                f"the vector for layer {v.layer} has {len(v.values)} numbers", f"states have {model.n_embd}"
            )
        sums[layer] = sums.get(layer, np.zeros(model.n_embd, dtype=np.float32)) + v.added
    if not sums:
        return result
    served = {i: values for i, values in sums.items() if i > 0 and _serves(result, i)}
    others = tuple((i, values) for i, values in sorted(sums.items()) if i not in served)
    if others:
        _check_named(result, [i for i, _ in others])
    result.controls = Controls(vectors=tuple(vectors), served=_control(served, model.n_embd), by_callback=others)
    return result


def _layer(model: Engine, layer: int) -> int:
    n = model.n_layer
    if not -n <= layer < n:
        raise UsageError(f"there is no layer {layer}", f"{model.name} has {n}: 0 to {n - 1}, and -1 for the last")
    return layer % n


def _control(of: dict[int, F32], n_embd: int) -> Control | None:
    """As llama.cpp takes vectors: a row for each layer from 1 to the last that has one."""
    if not of:
        return None
    data = np.zeros((max(of), n_embd), dtype=np.float32)
    for layer, values in of.items():
        data[layer - 1] = values
    return Control(min(of), max(of), data)


def _serves(model: Engine, layer: int) -> bool:
    """Does a vector change what the model says, when llama.cpp is asked to add it after this layer?"""
    results = []
    tried = _control({layer: np.full(model.n_embd, SIZE, dtype=np.float32)}, model.n_embd)
    for control in (None, tried):
        asked = copy.copy(model)
        asked.controls = Controls(served=control)
        try:
            with closing(asked.new_context(64)) as context:
                results.append(context.decode([0], [0], [True], rows=model.rows([0])))
        except ContextError:
            if control is None:
                raise
            return False  # llama.cpp refuses it
    return not np.array_equal(results[0], results[1])


def _check_named(model: Engine, layers: Sequence[int]) -> None:
    with Lens(model, 1) as lens:
        lens.layers(layers)
