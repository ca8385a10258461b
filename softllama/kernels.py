"""numpy arrays in, numpy arrays out, computed by the C module `_shim` (csrc/softmix.h has the contract).

Shapes and types are checked here, once, and a return code becomes a sentence. Knows nothing of models: a table is bytes
and a function pointer. The GIL is released during each call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama._shim import ffi, lib
from softllama.errors import SoftLlamaError

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix, as a file holds them.

    data: (n_rows, row_bytes) uint8. block: values in a block of the type. to_float: address of the C function that
    dequantizes a multiple of `block` values, 0 where the rows are float32.
    """

    data: NDArray[np.uint8]
    n_embd: int
    block: int = 1
    to_float: int = 0


def _pointer(ctype: str, a: NDArray[Any]) -> Any:
    return ffi.cast(ctype, a.ctypes.data)


def _vector(name: str, a: Any) -> F32:
    v = np.ascontiguousarray(a, dtype=np.float32)
    if v.ndim != 1 or not v.size:
        raise SoftLlamaError(f"{name} must have the shape (n,) with n > 0, not {v.shape}")
    return v


def _temperature(t: float) -> float:
    """A positive, finite temperature that float32 can hold: one below or above is as good as its smallest or largest."""
    if not 0 < t < np.inf:
        raise SoftLlamaError(f"the temperature must be a positive number, not {t}")
    return min(max(float(t), float(np.finfo(np.float32).tiny)), float(np.finfo(np.float32).max))


def _fail(rc: int, function: str, a: NDArray[Any], b: NDArray[Any] | None = None) -> None:
    """Turn a return code into an error that names the element."""
    if rc > 0:
        raise SoftLlamaError(f"softmix_{function}: argument {rc} is not allowed")
    i = -rc - 1
    if np.isneginf(a).all() or (b is not None and np.isneginf(b).all()):
        raise SoftLlamaError("the logits are all -inf: no probability is left for any token")
    value = a[i] if b is None or not a[i] < np.inf else b[i]
    raise SoftLlamaError(f"element {i} is {value}: logits must be numbers or -inf", "the model may be damaged")


def mix(rows: Rows, offsets: Any, ids: Any, weights: Any, out: F32, scale: float = 1.0) -> None:
    """out[r, :n_embd] = scale · Σ weights[i] · row(ids[i]) for i in [offsets[r], offsets[r+1]); other columns become 0.

    offsets: (n+1,) int64 from 0, increasing. ids: (k,) int32. weights: (k,) float32. out: (n, stride) float32,
    C-contiguous, stride >= n_embd, written in place. Sums are taken in double, in the order given.

    Raises SoftLlamaError for an id outside the table, a weight or a row of the table that is not finite.
    """
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    ids = np.ascontiguousarray(ids, dtype=np.int32)
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    n = len(offsets) - 1
    n_rows, row_bytes = rows.data.shape
    if out.dtype != np.float32 or out.ndim != 2 or not out.flags.c_contiguous or len(out) < n:
        raise SoftLlamaError(
            f"out must be a contiguous float32 array of at least {n} rows, not {out.dtype} {out.shape}"
        )
    if ids.ndim != 1 or ids.shape != weights.shape or n < 1 or offsets[-1] != len(ids):
        raise SoftLlamaError(f"{len(ids)} ids, {len(weights)} weights and offsets up to {offsets[-1:]} do not fit")
    rc = lib.softmix_mix(
        _pointer("void *", rows.data), n_rows, row_bytes, rows.n_embd, rows.block,
        ffi.cast("softmix_to_float", rows.to_float), _pointer("int64_t *", offsets), n, _pointer("int32_t *", ids),
        _pointer("float *", weights), scale, _pointer("float *", out), out.shape[1],
    )  # fmt: skip
    if rc > 0:
        raise SoftLlamaError(f"softmix_mix: argument {rc} is not allowed")
    if rc < 0:
        i = -rc - 1
        if not 0 <= ids[i] < n_rows:
            raise SoftLlamaError(f"token id {ids[i]} is outside the vocabulary of {n_rows}")
        if not np.isfinite(weights[i]):
            raise SoftLlamaError(f"the weight of token {ids[i]} is {weights[i]}")
        raise SoftLlamaError(
            f"row {ids[i]} of the embedding table holds a number that is not finite, or its mixture overflows",
            "the model file may be damaged",
        )


def softmax(logits: Any, temperature: float = 1.0) -> F32:
    """softmax(logits / temperature), float32 (n,). Logits are finite or -inf (probability 0)."""
    z = _vector("logits", logits)
    out = np.empty_like(z)
    rc = lib.softmix_softmax(_pointer("float *", z), len(z), _temperature(temperature), _pointer("float *", out))
    if rc:
        _fail(rc, "softmax", z)
    return out


def top(values: Any, k: int) -> NDArray[np.int32]:
    """Indices (min(k, n),) of the largest values, largest first; the lower index first among equals."""
    v = _vector("values", values)
    if k < 1:
        raise SoftLlamaError(f"top needs k >= 1, not {k}")
    ids = np.empty(min(int(k), len(v)), dtype=np.int32)
    rc = lib.softmix_top(_pointer("float *", v), len(v), len(ids), _pointer("int32_t *", ids))
    if rc < 0:
        raise SoftLlamaError(f"element {-rc - 1} is {v[-rc - 1]}")
    if rc:
        _fail(rc, "top", v)
    return ids


def entropy(logits: Any, temperature: float = 1.0) -> float:
    """Entropy of softmax(logits / temperature) in nats, between 0 and ln n."""
    z = _vector("logits", logits)
    out = ffi.new("double *")
    rc = lib.softmix_entropy(_pointer("float *", z), len(z), _temperature(temperature), out)
    if rc:
        _fail(rc, "entropy", z)
    return float(out[0])


def _divergence(function: str, a: Any, b: Any) -> float:
    p, q = _vector("logits", a), _vector("logits", b)
    if p.shape != q.shape:
        raise SoftLlamaError(f"distributions over {len(p)} and {len(q)} tokens cannot be compared")
    out = ffi.new("double *")
    rc = getattr(lib, f"softmix_{function}")(_pointer("float *", p), _pointer("float *", q), len(p), out)
    if rc:
        _fail(rc, function, p, q)
    return float(out[0])


def kl(a: Any, b: Any) -> float:
    """KL(softmax(a) || softmax(b)) in nats; inf where b gives no mass to a token that has some in a."""
    return _divergence("kl", a, b)


def js(a: Any, b: Any) -> float:
    """Jensen-Shannon divergence of softmax(a) and softmax(b) in nats, between 0 and ln 2 (Lin 1991)."""
    return _divergence("js", a, b)


def skip_strings(buffer: Any, n: int, pos: int) -> int | None:
    """Where n strings of a GGUF (length, bytes) end that begin at byte `pos`; None if they leave the buffer."""
    view = ffi.from_buffer(buffer)
    out = ffi.new("int64_t *", pos)
    rc = lib.softmix_skip_strings(view, len(view), n, out)
    if rc > 0:
        raise SoftLlamaError(f"skip_strings: argument {rc} is out of range")
    return None if rc else int(out[0])
