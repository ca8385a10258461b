"""Vectors of one's own that are fed in place of rows of the embedding table: n_embd numbers a position. Knows no model.

A `Mixture` is a vector over the vocabulary; a `Vector` is what such a mixture becomes when it is multiplied by the table.
"""

from __future__ import annotations

import os
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.base import arguments
from softllama.errors import MixtureError
from softllama.vectors import array_files
from softllama.vectors.mixture import Mixture

Scale: TypeAlias = Literal["table", "model"]
SCALES: tuple[str, ...] = get_args(Scale)


class Vector:
    """What is fed at one position or at several, where that is no mixture of rows. A value: it is not changed.

    Attributes:
        values: (n_embd,), or (k, n_embd) for k positions in a row: float32, read-only.
        scale: "table", as rows of the embedding table: the architecture's multiplier is applied. "model", as the first layer
            gets them: it is not. None where that was not said; then only models without a multiplier take the vector.
        mixture: what stands for the vector where an architecture needs token ids beside the embedding; None for nothing.
        added: whether `values` are added to the mixture's row, rather than fed in its place.
    """

    __slots__ = ("added", "mixture", "scale", "values")
    values: NDArray[np.float32]
    scale: Scale | None
    mixture: Mixture | None
    added: bool

    def __init__(
        self, values: ArrayLike, *, scale: Scale | None = None, mixture: Mixture | None = None, added: bool = False
    ) -> None:
        """Make a vector.

        Args:
            values: (n_embd,) or (k, n_embd) numbers of float32, float16, bfloat16 or float64.

        Raises:
            MixtureError: they have another shape, or one is not finite in float32; or an argument is not allowed.
        """
        if scale is not None and scale not in SCALES:
            raise MixtureError(f"{scale!r} is no scale of a vector", 'use scale="table" or scale="model"')
        if not isinstance(mixture, Mixture | None):
            raise MixtureError(f"what stands for a vector is a Mixture, not {type(mixture).__name__}")
        set_ = object.__setattr__
        set_(self, "values", _checked(values))
        set_(self, "scale", scale)
        set_(self, "mixture", mixture)
        set_(self, "added", added)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Vector is not changed: {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self.values, self.scale, self.mixture, self.added)

    @property
    def n_embd(self) -> int:
        """How many numbers a position has."""
        return int(self.values.shape[-1])

    def positions(self) -> tuple[Vector, ...]:
        """A vector (n_embd,) for each position."""
        if self.values.ndim == 1:
            return (self,)
        return tuple(Vector(v, scale=self.scale, mixture=self.mixture, added=self.added) for v in self.values)

    @property
    def norms(self) -> NDArray[np.float64]:
        """The Euclidean norm of each position: (k,)."""
        return np.asarray(np.linalg.norm(np.atleast_2d(self.values).astype(np.float64), axis=1))

    def with_norm(self, norm: float) -> Vector:
        """The same directions, each position with this Euclidean norm: `model.table.mean_norm` is that of a usual row.

        Raises:
            UsageError: the norm is not a positive number.
            MixtureError: a position is 0, and so has no direction.
        """
        if arguments.number("norm", norm, 0.0) == 0:
            raise MixtureError("a vector of norm 0 has no direction", "use a positive norm")
        before = self.norms
        if not before.all():
            raise MixtureError(f"position {int(before.argmin())} of the vector is 0, and so has no direction")
        scaled = np.atleast_2d(self.values).astype(np.float64) * (norm / before)[:, None]
        return Vector(scaled.reshape(self.values.shape), scale=self.scale, mixture=self.mixture, added=self.added)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, scale: Scale | None = None, tensor: str = "") -> Vector:
        """Read a vector, such as a soft prompt that was trained elsewhere, from .npy or .safetensors.

        Args:
            path: the file. Nothing in it is run: no pickles.
            scale: as in `Vector`. None for what the file says, as one of `save` does.
            tensor: its name in a file of several.

        Raises:
            MixtureError: the file cannot be read, or holds something else.
        """
        stored = array_files.read(path, tensor)
        return cls(stored.values, scale=scale or scale_of(stored))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .npy (the numbers alone) or .safetensors (with the scale): float32, (n_embd,) or (k, n_embd).

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written.
        """
        array_files.write(path, self.values, "a vector", {SCALE_KEY: self.scale} if self.scale else {})

    def __len__(self) -> int:
        return 1 if self.values.ndim == 1 else len(self.values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vector):
            return NotImplemented
        same = (self.scale, self.added, self.mixture) == (other.scale, other.added, other.mixture)
        return self is other or (same and np.array_equal(self.values, other.values))

    def __hash__(self) -> int:
        return hash((self.values.tobytes(), self.scale, self.added))

    def __repr__(self) -> str:
        where = f"{len(self)} positions of " if self.values.ndim == 2 else ""
        scale = "no scale said" if self.scale is None else f"in the {self.scale}'s scale"
        return f"Vector({where}{self.n_embd} numbers, norm {float(self.norms.mean()):.4g}, {scale})"


SCALE_KEY = "softllama.scale"  # of a .safetensors file's metadata


def scale_of(stored: array_files.Stored) -> Scale | None:
    """The scale that a file says its vector has."""
    scale: Any = stored.metadata.get(SCALE_KEY)
    return scale if scale in SCALES else None


def _made(values: NDArray[np.float32], scale: Scale | None, mixture: Mixture | None, added: bool) -> Vector:
    return Vector(values, scale=scale, mixture=mixture, added=added)


def _checked(values: ArrayLike) -> NDArray[np.float32]:
    """A read-only copy in float32."""
    form = "a vector has the shape (n_embd,), or (k, n_embd) for k positions"
    try:
        a = array_files.floats(np.asarray(values))
    except (TypeError, ValueError, RuntimeError) as e:  # RuntimeError: a tensor of torch that needs a gradient
        raise MixtureError(f"{form}: {e}", "of torch's: tensor.detach().float().numpy()") from None
    if a.ndim not in (1, 2) or not a.size:
        raise MixtureError(f"{form}, not {a.shape}")
    with np.errstate(over="ignore"):
        v = a.astype(np.float32)  # a copy
    finite = np.isfinite(v)
    if not finite.all():
        i = tuple(int(x) for x in np.argwhere(~finite)[0])
        raise MixtureError(f"entry {i if len(i) > 1 else i[0]} of the vector is {a[i]}", "it must be finite in float32")
    v.flags.writeable = False
    return v
