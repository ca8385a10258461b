"""numpy arrays in, numpy arrays out, computed by the C module `_shim` (csrc/softmix.h has the contract).

Shapes and types are checked here, once, and a return code becomes a sentence. Knows nothing of models: a table is bytes
and a function pointer. The GIL is released during each call. Mixtures of many rows and passes over many logits are shared
among threads: OpenMP's, which llama.cpp has just used and which are still awake, where `use_openmp` was told of them.

SOFTLLAMA_ISA = scalar, avx2, avx512 or neon forces an instruction set; all of them give the same results to the bit.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama._shim import ffi, lib
from softllama.errors import MixtureError, ModelError, NotFiniteError, SoftLlamaError, UsageError

F32 = NDArray[np.float32]
MANY = 1024  # rows of a mixture from which on threads share it; part of the result's rounding
KNOWN = int(lib.SOFTMIX_KNOWN)  # likeliest ids that `summary` finds
ISAS = {"scalar": lib.SOFTMIX_SCALAR, "avx2": lib.SOFTMIX_AVX2, "avx512": lib.SOFTMIX_AVX512, "neon": lib.SOFTMIX_NEON}


@dataclass(frozen=True)
class Rows:
    """Rows of a matrix, as a file holds them.

    data: (n_rows, row_bytes) uint8. block: values in a block of the type. to_float: address of the C function that
    dequantizes a multiple of `block` values, 0 where the rows are float32. type: ggml's number of the type; -1 where only
    to_float knows how to read it.
    """

    data: NDArray[np.uint8]
    n_embd: int
    block: int = 1
    to_float: int = 0
    type: int = -1

    @cached_property
    def table(self) -> tuple[Any, ...]:
        """The arguments that describe a table to C."""
        n_rows, row_bytes = self.data.shape
        start, read = _pointer("char[]", self.data), ffi.cast("softmix_to_float", self.to_float)
        return start, n_rows, row_bytes, self.n_embd, self.block, read


@cache
def isa() -> int:
    """The instruction set in use: the best of this machine, or what SOFTLLAMA_ISA names."""
    name = os.environ.get("SOFTLLAMA_ISA", "")
    if not name:
        return int(lib.softmix_isa())
    runs = [n for n, i in ISAS.items() if lib.softmix_has(i)]
    if name not in runs:
        raise UsageError(f"SOFTLLAMA_ISA={name}: this machine cannot run that", f"it can run {', '.join(runs)}")
    return int(ISAS[name])


def isa_name() -> str:
    """Its name: "avx2"."""
    return next(n for n, i in ISAS.items() if i == isa())


_openmp = ffi.NULL  # GOMP_parallel


def use_openmp(address: int) -> None:
    """Share work among the threads of the OpenMP whose GOMP_parallel is there: llama.cpp's, if it was built with one."""
    global _openmp
    _openmp = ffi.cast("void (*)(void (*)(void *), void *, unsigned, unsigned)", address)
    _team.cache_clear()


def _no_openmp() -> None:
    """A forked child has none of its parent's threads."""
    if _openmp:
        use_openmp(0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_no_openmp)


@cache
def _team(n_threads: int, start: bool = False) -> Any:
    """So many threads; without OpenMP none, or such as are started for the call (`start`), which takes some 30 us."""
    run = _openmp or (ffi.addressof(lib, "softmix_spawn") if start else ffi.NULL)
    return ffi.new("softmix_team *", (run, n_threads)) if run and n_threads > 1 else ffi.NULL


def _pointer(ctype: str, a: NDArray[Any]) -> Any:
    """To the first element of a contiguous array, which it keeps alive. ctype: as in "float[]"."""
    return ffi.from_buffer(ctype, a)


def _vector(name: str, a: Any) -> F32:
    v = np.ascontiguousarray(a, dtype=np.float32)
    if v.ndim != 1 or not v.size:
        raise SoftLlamaError(f"{name} must have the shape (n,) with n > 0, not {v.shape}")
    return v


def _temperature(t: float) -> float:
    """A positive, finite temperature that float32 can hold: one below or above is as good as its smallest or largest."""
    try:
        positive = 0 < t < np.inf
    except TypeError:
        positive = False
    if not positive:
        raise SoftLlamaError(f"the temperature must be a positive number, not {t!r}")
    return min(max(float(t), float(np.finfo(np.float32).tiny)), float(np.finfo(np.float32).max))


def _fail(rc: int, function: str, a: NDArray[Any], b: NDArray[Any] | None = None) -> None:
    """Turn a return code into an error that names the element."""
    if rc > 0:
        raise SoftLlamaError(f"softmix_{function}: argument {rc} is not allowed")
    i = -rc - 1
    if np.isneginf(a).all() or (b is not None and np.isneginf(b).all()):
        raise NotFiniteError("the logits are all -inf: no probability is left for any token")
    value = a[i] if b is None or not a[i] < np.inf else b[i]
    raise NotFiniteError(f"element {i} is {value}: logits must be numbers or -inf", "the model may be damaged")


def mix(rows: Rows, offsets: Any, ids: Any, weights: Any, out: F32, scale: float = 1.0, n_threads: int = 1) -> None:
    """out[r, :n_embd] = scale · Σ weights[i] · row(ids[i]) for i in [offsets[r], offsets[r+1]); other columns become 0.

    offsets: (n+1,) int64 from 0, increasing. ids: (k,) int32. weights: (k,) float32. out: (n, stride) float32,
    C-contiguous, stride >= n_embd, written in place. Up to 256 rows are summed in double, in the order given; more in
    float32, 32 rows at a time, and those sums in double. threads: shared by mixtures of more than 1,024 rows; the
    results do not depend on it.

    Raises SoftLlamaError for an id outside the table or a weight that is not finite, ModelError for a row of the table
    that is not, MixtureError for a sum that float32 cannot hold.
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
            _mix_few(rows, offsets, ids, weights, out, scale)
        return
    ends = offsets.tolist()
    if ends[0] or any(b <= a for a, b in itertools.pairwise(ends)):
        raise SoftLlamaError("softmix_mix: argument 7 is not allowed")
    for r, (start, end) in enumerate(itertools.pairwise(ends)):
        mix_one(rows, ids[start:end], weights[start:end], out[r : r + 1], scale, n_threads)


def mix_one(rows: Rows, ids: NDArray[np.int32], weights: F32, out: F32, scale: float = 1.0, n_threads: int = 1) -> None:
    """`mix` of one mixture, without a look at the types and shapes of its arrays: each step of a generation comes here."""
    k = len(ids)
    if k > MANY:
        _mix_many(rows, ids, weights, out[0], scale, n_threads)
        return
    rc = lib.softmix_mix(
        *rows.table, ffi.new("int64_t[2]", (0, k)), 1, _pointer("int32_t[]", ids), _pointer("float[]", weights), scale,
        _pointer("float[]", out), out.shape[1], rows.type, isa(),
    )  # fmt: skip
    if rc:
        _fail_mix(rc, rows, ids, weights)


def _mix_few(rows: Rows, offsets: NDArray[Any], ids: NDArray[Any], weights: F32, out: F32, scale: float) -> None:
    rc = lib.softmix_mix(
        *rows.table, _pointer("int64_t[]", offsets), len(offsets) - 1, _pointer("int32_t[]", ids),
        _pointer("float[]", weights), scale, _pointer("float[]", out), out.shape[1], rows.type, isa(),
    )  # fmt: skip
    if rc:
        _fail_mix(rc, rows, ids, weights)


def _fail_mix(rc: int, rows: Rows, ids: NDArray[Any], weights: F32) -> None:
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
    return not lib.softmix_mix(*rows.table, offsets, 1, ids, weights, 1.0, out, rows.n_embd, -1, isa())


def damaged_rows(rows: Rows, n_threads: int = 1) -> NDArray[np.int64]:
    """Ids of the rows that hold NaN or infinity: (k,). Reads the whole table, as fast as a mixture of all rows."""
    size = 8 * MANY
    found, out, ones = list[int](), np.empty(rows.n_embd, dtype=np.float32), np.ones(size, dtype=np.float32)
    for at in range(0, len(rows.data), size):
        part = Rows(rows.data[at : at + size], rows.n_embd, rows.block, rows.to_float, rows.type)
        if _add_up(part, None, ones[: len(part.data)], out, 1.0, n_threads):
            found.extend(i for i in range(at, at + len(part.data)) if not _finite(rows, i))
    return np.array(found, dtype=np.int64)


def _mix_many(rows: Rows, ids: NDArray[Any], weights: F32, out: F32, scale: float, n_threads: int) -> None:
    k = len(ids)
    whole = k == len(rows.data) and ids[0] == 0 and ids[-1] == k - 1 and bool((ids[1:] > ids[:-1]).all())
    if rc := _add_up(rows, None if whole else ids, weights, out, scale, n_threads):
        _fail_mix(rc, rows, ids, weights)


def _add_up(rows: Rows, ids: NDArray[Any] | None, weights: F32, out: F32, scale: float, n_threads: int) -> int:
    """One mixture of many rows; ids None for all in order. Returns the code."""
    sums = np.empty((lib.SOFTMIX_PIECES, rows.n_embd))  # float64
    which = ffi.NULL if ids is None else _pointer("int32_t[]", ids)
    rc = lib.softmix_mix_many(
        *rows.table, which, _pointer("float[]", weights), len(weights), scale, _pointer("double[]", sums),
        _pointer("float[]", out), len(out), rows.type, _team(n_threads, True), isa(),
    )  # fmt: skip
    return int(rc)


def peak(logits: F32) -> tuple[float, int]:
    """The largest logit and its first index. logits: (n,) float32, contiguous. Raises for NaN, +inf, or all -inf."""
    high, at = ffi.new("float *"), ffi.new("int32_t *")
    rc = lib.softmix_peak(_pointer("float[]", logits), len(logits), high, at, isa())
    if rc:
        _fail(rc, "peak", logits)
    return high[0], at[0]


def summary(logits: F32, n_threads: int = 1) -> tuple[float, tuple[float, float], Any, Any]:
    """The largest logit, `sums` at temperature 1, the min(KNOWN, n) likeliest ids and their probabilities: in one call.

    ids, probabilities: C arrays, int32 and float. logits: (n,) float32, contiguous.
    """
    k = min(KNOWN, len(logits))
    high, s, ids, p = ffi.new("float *"), ffi.new("double[2]"), ffi.new("int32_t[]", k), ffi.new("float[]", k)
    rc = lib.softmix_summary(_pointer("float[]", logits), len(logits), k, high, s, ids, p, _team(n_threads), isa())
    if rc:
        _fail(rc, "summary", logits)
    return high[0], (s[0], s[1]), ids, p


def sums(logits: F32, high: float, temperature: float = 1.0, n_threads: int = 1) -> tuple[float, float]:
    """Σ e^x and Σ x e^x, x = (logits - high)/temperature, high being `peak(logits)`'s."""
    out, t = ffi.new("double[2]"), _temperature(temperature)
    rc = lib.softmix_sums(_pointer("float[]", logits), len(logits), t, high, out, _team(n_threads), isa())
    if rc:
        _fail(rc, "sums", logits)
    return out[0], out[1]


def probs(logits: F32, high: float, total: float, temperature: float = 1.0) -> F32:
    """e^((logits - high)/temperature) / total of all or some logits: (k,) float32."""
    out = np.empty(len(logits), dtype=np.float32)
    if not len(out):
        return out
    t = _temperature(temperature)
    rc = lib.softmix_probs(_pointer("float[]", logits), len(out), t, high, total, _pointer("float[]", out), isa())
    if rc:
        _fail(rc, "probs", logits)
    return out


def whole(
    logits: F32, high: float, total: float, epsilon: float, temperature: float = 1.0, n_threads: int = 1
) -> tuple[NDArray[np.int32], F32, float]:
    """The whole distribution as (ids (k,), weights (k,), mass left out).

    total: `sums(logits, high, temperature)[0]`. The least probable tokens are left out while their probabilities sum to
    at most epsilon (equal ones together or not at all), and those of probability 0 in float32; the rest is renormalised.
    """
    n = len(logits)
    ids, weights = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.float32)
    count, left = ffi.new("int64_t *"), ffi.new("double *")
    rc = lib.softmix_whole(
        _pointer("float[]", logits), n, _temperature(temperature), high, total, epsilon * total, _pointer("int32_t[]", ids),
        _pointer("float[]", weights), count, left, _team(n_threads), isa(),
    )  # fmt: skip
    if rc:
        _fail(rc, "whole", logits)
    return ids[: count[0]].copy(), weights[: count[0]].copy(), left[0] / total


def filtered(
    logits: F32,
    likeliest: Any,
    k: int,
    temperature: float = 1.0,
    *,
    total: float = 0.0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    at_most: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Of the k likeliest ids, likeliest first: those that pass, in increasing order, and their p, which sum to 1.

    likeliest: a C array of int32, as from `summary`, or a contiguous numpy array. total: Σ e^x over all logits, or 0 to
    renormalise over these before top_p. at_most: so many of the likeliest. Nothing is left where a total is given and these
    k do not reach top_p.
    """
    if isinstance(likeliest, np.ndarray):
        likeliest = _pointer("int32_t[]", likeliest)
    ids, p, count = np.empty(k, dtype=np.int32), np.empty(k), ffi.new("int64_t *")
    rc = lib.softmix_filter(
        _pointer("float[]", logits), len(logits), likeliest, k, temperature, total, top_p, min_p,
        k if at_most is None else at_most, _pointer("int32_t[]", ids), _pointer("double[]", p), count,
    )  # fmt: skip
    if rc:
        raise SoftLlamaError(f"softmix_filter: argument {rc} is not allowed")
    return ids[: count[0]], p[: count[0]]


def sample(logits: F32, high: float, u: float, temperature: float = 1.0) -> int:
    """The first id whose cumulative sum of e^((logits - high)/temperature) exceeds u times the whole sum, 0 <= u < 1."""
    out = ffi.new("int32_t *")
    rc = lib.softmix_sample(_pointer("float[]", logits), len(logits), _temperature(temperature), high, u, out, isa())
    if rc:
        _fail(rc, "sample", logits)
    return int(out[0])


def draw(p: NDArray[np.float64], u: float) -> int:
    """The first index of p (k,) whose cumulative sum exceeds u · Σ p, 0 <= u < 1."""
    return int(lib.softmix_draw(_pointer("double[]", p), len(p), u))


def softmax(logits: Any, temperature: float = 1.0) -> F32:
    """softmax(logits / temperature), float32 (n,). Logits are finite or -inf (probability 0)."""
    z = _vector("logits", logits)
    out = np.empty_like(z)
    t = _temperature(temperature)
    rc = lib.softmix_softmax(_pointer("float[]", z), len(z), t, _pointer("float[]", out), isa())
    if rc:
        _fail(rc, "softmax", z)
    return out


def top(values: Any, k: int) -> NDArray[np.int32]:
    """Indices (min(k, n),) of the largest values, largest first; the lower index first among equals."""
    v = _vector("values", values)
    if k < 1:
        raise SoftLlamaError(f"top needs k >= 1, not {k}")
    ids = np.empty(min(int(k), len(v)), dtype=np.int32)
    rc = lib.softmix_top(_pointer("float[]", v), len(v), len(ids), _pointer("int32_t[]", ids), isa())
    if rc < 0:
        raise SoftLlamaError(f"element {-rc - 1} is {v[-rc - 1]}")
    if rc:
        _fail(rc, "top", v)
    return ids


def entropy(logits: Any, temperature: float = 1.0) -> float:
    """Entropy of softmax(logits / temperature) in nats, between 0 and ln n."""
    z = _vector("logits", logits)
    out = ffi.new("double *")
    rc = lib.softmix_entropy(_pointer("float[]", z), len(z), _temperature(temperature), out, isa())
    if rc:
        _fail(rc, "entropy", z)
    return float(out[0])


def _pair(a: Any, b: Any, known: tuple[float, float] | None) -> tuple[F32, F32, Any]:
    p, q = _vector("logits", a), _vector("logits", b)
    if p.shape != q.shape:
        raise SoftLlamaError(f"distributions over {len(p)} and {len(q)} tokens cannot be compared")
    return p, q, ffi.new("double[2]", known) if known else ffi.NULL


def kl(a: Any, b: Any, known: tuple[float, float] | None = None) -> float:
    """KL(softmax(a) || softmax(b)) in nats; inf where b gives no mass to a token that has some in a.

    known: ln Σ e^a and ln Σ e^b, of logits that were checked before.
    """
    p, q, ln = _pair(a, b, known)
    out = ffi.new("double *")
    if rc := lib.softmix_kl(_pointer("float[]", p), _pointer("float[]", q), len(p), ln, out, isa()):
        _fail(rc, "kl", p, q)
    return float(out[0])


def js(a: Any, b: Any, known: tuple[float, float] | None = None, n_threads: int = 1) -> float:
    """Jensen-Shannon divergence of softmax(a) and softmax(b) in nats, between 0 and ln 2 (Lin 1991). known: as in `kl`."""
    p, q, ln = _pair(a, b, known)
    out = ffi.new("double *")
    if rc := lib.softmix_js(_pointer("float[]", p), _pointer("float[]", q), len(p), ln, out, _team(n_threads), isa()):
        _fail(rc, "js", p, q)
    return float(out[0])


def js_two(
    many: Sequence[F32], ln: Sequence[float], two: Sequence[F32], ln_two: Sequence[float], n_threads: int = 1
) -> NDArray[np.float64]:
    """`js` of each of many logits (n,) to each of two others: (len(many), 2). All float32 and contiguous.

    ln, ln_two: ln Σ e^logits of each.
    """
    n, k = len(two[0]), len(many)
    if any(len(z) != n for z in (*many, *two)):
        raise SoftLlamaError("distributions over different numbers of tokens cannot be compared")
    out, work = np.empty((k, 2)), np.empty((64, k, 2))
    to = [[_pointer("float[]", z) for z in some] for some in (many, two)]  # which keep them alive
    rc = lib.softmix_js_two(
        ffi.new("float *[]", to[0]), ffi.new("double[]", ln), k, ffi.new("float *[]", to[1]), ffi.new("double[]", ln_two), n,
        _pointer("double[]", work), _pointer("double[]", out), _team(n_threads), isa(),
    )  # fmt: skip
    if rc:
        raise SoftLlamaError(f"softmix_js_two: argument {rc} is not allowed")
    return out
