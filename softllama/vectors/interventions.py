"""What changes the state of a model inside: a vector that is added after a layer, a state that takes another's place.

Knows numbers and how people write them. Does not know a model: engine/control.py and engine/lens.py apply them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.base import arguments
from softllama.errors import UsageError
from softllama.vectors import array_files
from softllama.vectors.vector import Vector

FORM = '"layer=12,scale=4,vector=@v.npy"'


@dataclass(frozen=True, eq=False)
class ControlVector:
    """A vector that is added to every position's state after a layer: a steering vector.

    Attributes:
        layer: from 0; -1 is the last.
        values: (n_embd,) float32, in the scale of the states that `Model.states` gives.
        scale: what the values are multiplied by.
    """

    layer: int
    values: NDArray[np.float32]
    scale: float = 1.0

    def __init__(self, layer: int, values: ArrayLike, scale: float = 1.0) -> None:
        object.__setattr__(self, "layer", arguments.integer("layer", layer))
        object.__setattr__(self, "values", _state(values))
        object.__setattr__(self, "scale", arguments.number("scale", scale))

    @property
    def added(self) -> NDArray[np.float32]:
        """What is added: (n_embd,) float32."""
        return np.asarray(np.float32(self.scale) * self.values, dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        """For a record: where, how much, and a hash of the numbers."""
        digest = hashlib.sha256(np.ascontiguousarray(self.values, dtype="<f4").tobytes()).hexdigest()
        return {"layer": self.layer, "scale": self.scale, "norm": float(np.linalg.norm(self.values)), "sha256": digest}


@dataclass(frozen=True, eq=False)
class Patch:
    """A state that takes the place of a run's own (activation patching).

    Attributes:
        layer: from 0; -1 is the last.
        position: from 0; -1 is the last.
        state: (n_embd,) float32, such as `states[layer, position]` of another run.
    """

    layer: int
    position: int
    state: NDArray[np.float32]

    def __init__(self, layer: int, position: int, state: ArrayLike) -> None:
        object.__setattr__(self, "layer", arguments.integer("layer", layer))
        object.__setattr__(self, "position", arguments.integer("position", position))
        object.__setattr__(self, "state", _state(state))


def _state(values: ArrayLike) -> NDArray[np.float32]:
    """(n_embd,) float32 of an array or a Vector."""
    v = values.values if isinstance(values, Vector) else Vector(values).values
    if v.ndim == 2 and len(v) == 1:
        v = v[0]
    if v.ndim != 1:
        raise UsageError(f"the state of one layer at one position has the shape (n_embd,), not {v.shape}")
    return v


def fields_of(text: str, form: str, needed: tuple[str, ...], others: tuple[str, ...] = ()) -> dict[str, str]:
    """The parts of "layer=12,scale=4,vector=@v.npy". A file's name may hold commas.

    Raises:
        UsageError: a part is missing, twice, or of another name.
    """
    names = "|".join((*needed, *others))
    parts: dict[str, str] = {}
    for part in re.split(rf",\s*(?=(?:{names})\s*=)", text) if text else ():
        m = re.fullmatch(rf"\s*({names})\s*=(.*)", part, re.DOTALL)
        if m is None or m[1] in parts:
            raise UsageError(f"{text!r} is not understood at {part!r}", f"write {form}")
        parts[m[1]] = m[2].strip()
    if missing := [n for n in needed if n not in parts]:
        raise UsageError(f"{text!r} has no {missing[0]}=", f"write {form}")
    return parts


def number_of(text: str, name: str, value: str, kind: type[int] | type[float], form: str) -> Any:
    """A number among the parts. Raises UsageError for other text."""
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{name}={value!r} in {text!r} is no number", f"write {form}") from None


def file_of(text: str, name: str, value: str, form: str) -> str:
    """The file after "@" among the parts. Raises UsageError for other text."""
    if not value.startswith("@") or len(value) < 2:
        raise UsageError(f"{name}={value!r} in {text!r} names no file", f"write {form}")
    return value[1:]


def parse_control(text: str) -> ControlVector:
    """ "layer=12,scale=4,vector=@v.npy": the file is .npy or .safetensors.

    Raises:
        UsageError: the text is not understood.
        MixtureError: the file cannot be read.
    """
    parts = fields_of(text, FORM, ("layer", "vector"), ("scale",))
    layer = number_of(text, "layer", parts["layer"], int, FORM)
    scale = number_of(text, "scale", parts.get("scale", "1"), float, FORM)
    return ControlVector(layer, array_files.read(file_of(text, "vector", parts["vector"], FORM)).values, scale)
