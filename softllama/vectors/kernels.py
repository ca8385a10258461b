"""Mixed rows of a table, computed by the C module: the embedding of a mixture is a weighted sum of rows.

Shapes and types are checked here, once, and a return code becomes an error message. Knows bytes and a function that turns
them into floats. Does not know models, nor where a table is from.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.errors import MixtureError, ModelError, SoftLlamaError
from softllama.vectors import native
from softllama.vectors.native import F32, ffi, lib

MANY = 1024  # mixtures of more rows are shared among threads; part of the result's rounding


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix, as a file holds them.

    Attributes:
        data: (n_rows, row_bytes) uint8.
        n_embd: values of a row.
        block: values in a block of the type; 1 for plain floats.
        to_float: address of the C function that dequantizes a multiple of `block` values; 0 if the rows are float32.
        type: ggml's number of the type; -1 if only to_float can read it.
    """

    data: NDArray[np.uint8]
    n_embd: int
    block: int = 1
    to_float: int = 0
    type: int = -1

    @cached_property
    def table(self) -> tuple[Any, ...]:
        """The six arguments that describe a table to C: pointer, n_rows, row_bytes, n_embd, block, to_float."""
        n_rows, row_bytes = self.data.shape
        start, read = native.pointer("char[]", self.data), ffi.cast("softmix_to_float", self.to_float)
        return start, n_rows, row_bytes, self.n_embd, self.block, read


def mix(rows: Rows, offsets: Any, ids: Any, weights: Any, out: F32, scale: float = 1.0, n_threads: int = 1) -> None:
    """out[r, :n_embd] = scale · Σ weights[i] · row(ids[i]) for i in [offsets[r], offsets[r+1]); other columns become 0.

    Up to 256 rows are summed in double, in the order given; more in float32, 32 rows at a time, and those sums in double.

    Args:
        offsets: (n+1,) int64 from 0, increasing.
        ids: (k,) int32, k = offsets[n].
        weights: (k,) float32, of any sign.
        out: (>= n, stride) float32, C-contiguous, stride >= n_embd; written in place.
        scale: applied once, in float32, to the finished sum.
        n_threads: share mixtures of more than 1,024 rows. The results do not depend on it.

    Raises:
        SoftLlamaError: an id is outside the table, a weight is not finite, or an array does not fit.
        ModelError: a row of the table is not finite.
        MixtureError: float32 cannot hold a sum.
    """
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    ids = np.ascontiguousarray(ids, dtype=np.int32)
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    n = len(offsets) - 1
    if out.dtype != np.float32 or out.ndim != 2 or not out.flags.c_contiguous or len(out) < n:
        raise SoftLlamaError(
            f"out must be a contiguous float32 array of at least {n} rows, not {out.dtype} {out.shape}"
        )
    if ids.ndim != 1 or ids.shape != weights.shape or n < 1 or offsets[-1] != len(ids):
        raise SoftLlamaError(f"{len(ids)} ids, {len(weights)} weights and offsets up to {offsets[-1:]} do not fit")
    if len(ids) <= MANY or n < 2 or int((offsets[1:] - offsets[:-1]).max()) <= MANY:
        if n == 1:
            mix_one(rows, ids, weights, out, scale, n_threads)
        else:
            _mix_few(rows, native.pointer("int64_t[]", offsets), n, ids, weights, out, scale)
        return
    ends = offsets.tolist()
    if ends[0] or any(b <= a for a, b in itertools.pairwise(ends)):
        raise SoftLlamaError("softmix_mix: argument 7 is not allowed")
    for r, (start, end) in enumerate(itertools.pairwise(ends)):
        mix_one(rows, ids[start:end], weights[start:end], out[r : r + 1], scale, n_threads)


def mix_one(rows: Rows, ids: NDArray[np.int32], weights: F32, out: F32, scale: float = 1.0, n_threads: int = 1) -> None:
    """`mix` of one mixture whose arrays are known to fit: each step of a generation calls it.

    Args:
        ids: (k,) int32, contiguous.
        weights: (k,) float32, contiguous.
        out: (1, stride) float32, C-contiguous.
    """
    if len(ids) > MANY:
        _mix_many(rows, ids, weights, out[0], scale, n_threads)
    else:
        _mix_few(rows, ffi.new("int64_t[2]", (0, len(ids))), 1, ids, weights, out, scale)


def _mix_few(rows: Rows, offsets: Any, n: int, ids: NDArray[Any], weights: F32, out: F32, scale: float) -> None:
    i, w, to = native.pointer("int32_t[]", ids), native.pointer("float[]", weights), native.pointer("float[]", out)
    rc = lib.softmix_mix(*rows.table, offsets, n, i, w, scale, to, out.shape[1], rows.type, native.isa())
    if rc:
        _fail(rc, rows, ids, weights)


def _fail(rc: int, rows: Rows, ids: NDArray[Any], weights: F32) -> None:
    """Raise the error that a return code of mixing means."""
    if rc > 0:
        raise SoftLlamaError(f"softmix_mix: argument {rc} is not allowed")
    i = -rc - 1
    if not 0 <= ids[i] < len(rows.data):
        raise SoftLlamaError(f"token id {ids[i]} is outside the vocabulary of {len(rows.data)}")
    if not np.isfinite(weights[i]):
        raise SoftLlamaError(f"the weight of token {ids[i]} is {weights[i]}")
    if _finite(rows, int(ids[i])):
        raise MixtureError("the mixture overflows float32", "use smaller weights")
    raise ModelError(
        f"row {ids[i]} of the embedding table holds a number that is not finite",
        "the model file is damaged: softllama doctor -m FILE counts such rows",
    )


def _finite(rows: Rows, i: int) -> bool:
    """Does row i hold finite numbers only?"""
    offsets, ids, weights = ffi.new("int64_t[]", [0, 1]), ffi.new("int32_t *", i), ffi.new("float *", 1.0)
    out = ffi.new("float[]", rows.n_embd)
    return not lib.softmix_mix(*rows.table, offsets, 1, ids, weights, 1.0, out, rows.n_embd, -1, native.isa())


def damaged_rows(rows: Rows, n_threads: int = 1) -> NDArray[np.int64]:
    """Ids (k,) of the rows that hold NaN or infinity. Reads the whole table, as fast as a mixture of all rows."""
    size = 8 * MANY
    damaged, out, ones = list[int](), np.empty(rows.n_embd, dtype=np.float32), np.ones(size, dtype=np.float32)
    for at in range(0, len(rows.data), size):
        part = Rows(rows.data[at : at + size], rows.n_embd, rows.block, rows.to_float, rows.type)
        if _add_up(part, None, ones[: len(part.data)], out, 1.0, n_threads):
            damaged.extend(i for i in range(at, at + len(part.data)) if not _finite(rows, i))
    return np.array(damaged, dtype=np.int64)


def _mix_many(rows: Rows, ids: NDArray[Any], weights: F32, out: F32, scale: float, n_threads: int) -> None:
    k = len(ids)
    every = k == len(rows.data) and ids[0] == 0 and ids[-1] == k - 1 and bool((ids[1:] > ids[:-1]).all())
    if rc := _add_up(rows, None if every else ids, weights, out, scale, n_threads):
        _fail(rc, rows, ids, weights)


def _add_up(rows: Rows, ids: NDArray[Any] | None, weights: F32, out: F32, scale: float, n_threads: int) -> int:
    """One mixture of many rows; ids None for all in order. Returns the code."""
    sums = np.empty((lib.SOFTMIX_PIECES, rows.n_embd))  # float64
    i = ffi.NULL if ids is None else native.pointer("int32_t[]", ids)
    w, to = native.pointer("float[]", weights), native.pointer("float[]", out)
    work, team, k = native.pointer("double[]", sums), native.team(n_threads, True), len(weights)
    rc = lib.softmix_mix_many(*rows.table, i, w, k, scale, work, to, len(out), rows.type, team, native.isa())
    return int(rc)
