"""numpy arrays in, numpy arrays out, computed by the C module `_shim` (csrc/softmix.h has the contract).

Shapes and types are checked here, once, and a return code becomes a sentence. Knows nothing of models: a table is bytes
and a function pointer. The GIL is released during each call; mixtures of many rows are shared among threads.

SOFTLLAMA_ISA = scalar, avx2, avx512 or neon forces an instruction set; all of them give the same results to the bit.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from softllama._shim import ffi, lib
from softllama.errors import MixtureError, ModelError, NotFiniteError, SoftLlamaError, UsageError

F32 = NDArray[np.float32]
T = TypeVar("T")
CHUNK, PIECES = 1024, 32  # a thread takes so many rows at a time, or a piece of so many; part of the result's rounding
PER_NAT = 32  # bins in a nat, of `tail`
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


def mix(rows: Rows, offsets: Any, ids: Any, weights: Any, out: F32, scale: float = 1.0, threads: int = 1) -> None:
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
    if len(ids) <= CHUNK or n < 2 or int((offsets[1:] - offsets[:-1]).max()) <= CHUNK:
        if len(ids) > CHUNK and n == 1:
            _mix_many(rows, ids, weights, out[0], scale, threads)
        else:
            _mix_few(rows, offsets, ids, weights, out, scale)
        return
    ends = offsets.tolist()
    if ends[0] or any(b <= a for a, b in itertools.pairwise(ends)):
        raise SoftLlamaError("softmix_mix: argument 7 is not allowed")
    for r, (start, end) in enumerate(itertools.pairwise(ends)):
        mix(rows, [0, end - start], ids[start:end], weights[start:end], out[r : r + 1], scale, threads)


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


def damaged_rows(rows: Rows, threads: int = 1) -> NDArray[np.int64]:
    """Ids of the rows that hold NaN or infinity: (k,). Reads the whole table, as fast as a mixture of all rows."""
    start, n_rows, row_bytes, n_embd, *rest = rows.table
    table, ones = ffi.cast("char *", start), np.ones(CHUNK, dtype=np.float32)
    w, todo, found = _pointer("float[]", ones), iter(range(0, n_rows, CHUNK)), list[int]()

    def work() -> None:
        total = ffi.new("double[]", n_embd)
        for at in todo:
            k = min(CHUNK, n_rows - at)
            if lib.softmix_add(
                table + at * row_bytes, k, row_bytes, n_embd, *rest, ffi.NULL, w, k, total, rows.type, isa()
            ):
                found.extend(i for i in range(at, at + k) if not _finite(rows, i))
            ffi.memmove(total, bytes(8 * n_embd), 8 * n_embd)

    _share(work, threads)
    return np.array(sorted(found), dtype=np.int64)


def _mix_many(rows: Rows, ids: NDArray[Any], weights: F32, out: F32, scale: float, threads: int) -> None:
    """One mixture of more than CHUNK rows: fixed pieces, by whichever thread is free, added up in their order."""
    start, n_rows, row_bytes, n_embd, *rest = rows.table
    k, kind, best = len(ids), rows.type, isa()
    if not n_embd <= len(out):
        raise SoftLlamaError("softmix_mix: argument 13 is not allowed")
    whole = k == n_rows and ids[0] == 0 and ids[-1] == k - 1 and bool((ids[1:] > ids[:-1]).all())
    piece = max(CHUNK, -(-k // PIECES))
    starts = range(0, k, piece)
    sums = np.zeros((len(starts), n_embd))  # float64
    codes = [0] * len(starts)
    table, w, s = ffi.cast("char *", start), _pointer("float[]", weights), _pointer("double[]", sums)
    which = ffi.NULL if whole else _pointer("int32_t[]", ids)
    todo = iter(range(len(starts)))  # next() is one step of the interpreter, so threads may share it

    def work() -> None:
        for c in todo:
            at = starts[c]
            first, have = (at, n_rows - at) if whole else (0, n_rows)
            codes[c] = lib.softmix_add(
                table + first * row_bytes, have, row_bytes, n_embd, *rest, which if whole else which + at, w + at,
                min(piece, k - at), s + c * n_embd, kind, best,
            )  # fmt: skip

    _share(work, min(threads, len(starts)))
    for c, rc in enumerate(codes):
        if rc:
            _fail_mix(rc if rc > 0 else rc - starts[c], rows, ids, weights)
    with np.errstate(over="ignore"):
        out[:n_embd] = sums.sum(axis=0).astype(np.float32) * np.float32(scale)  # rows in order, on any machine
    out[n_embd:] = 0
    if not np.isfinite(out).all():
        _fail_mix(-1, rows, ids, weights)


_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _no_pool() -> None:
    """A forked child has the pool's object, and none of its threads."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_no_pool)


def _share(work: Any, threads: int) -> None:
    """Run work() in this thread and in threads - 1 others, and wait for all."""
    global _pool
    if threads > 1:
        with _pool_lock:
            if _pool is None:
                _pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "softllama")
        others = [_pool.submit(work) for _ in range(threads - 1)]
        work()
        for f in others:
            f.result()
    else:
        work()


def peak(logits: F32) -> tuple[float, int]:
    """The largest logit and its first index. logits: (n,) float32, contiguous. Raises for NaN, +inf, or all -inf."""
    high, at = ffi.new("float *"), ffi.new("int32_t *")
    rc = lib.softmix_peak(_pointer("float[]", logits), len(logits), high, at, isa())
    if rc:
        _fail(rc, "peak", logits)
    return high[0], at[0]


def summary(logits: F32, k: int) -> tuple[float, tuple[float, float], list[int], list[float]]:
    """The largest logit, `sums` at temperature 1, the min(k, n) likeliest ids and their probabilities: in one call."""
    k = min(k, len(logits))
    high, s, ids, p = ffi.new("float *"), ffi.new("double[2]"), ffi.new("int32_t[]", k), ffi.new("float[]", k)
    rc = lib.softmix_summary(_pointer("float[]", logits), len(logits), k, high, s, ids, p, isa())
    if rc:
        _fail(rc, "summary", logits)
    return high[0], (s[0], s[1]), list(ids), list(p)


def sums(logits: F32, high: float, temperature: float = 1.0) -> tuple[float, float]:
    """Σ e^x and Σ x e^x, x = (logits - high)/temperature, high being `peak(logits)`'s."""
    out = ffi.new("double[2]")
    rc = lib.softmix_sums(_pointer("float[]", logits), len(logits), _temperature(temperature), high, out, isa())
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


def tail(logits: F32, high: float, mass: float, temperature: float = 1.0) -> tuple[NDArray[np.int32], float, int]:
    """What is left when the least probable tokens go, as far as bins of 1/32 nat can tell: (ids, gone, bin).

    mass: how much of Σ e^x may go; gone: how much did. bin: of those left, the farthest; some of it might still go.
    """
    ids = np.empty(len(logits), dtype=np.int32)
    count, below = ffi.new("int64_t *"), ffi.new("double[2]")
    rc = lib.softmix_tail(
        _pointer("float[]", logits), len(logits), _temperature(temperature), high, mass, _pointer("int32_t[]", ids),
        count, below, isa(),
    )  # fmt: skip
    if rc:
        _fail(rc, "tail", logits)
    return ids[: count[0]], below[0], int(below[1])


def filtered(
    logits: F32,
    ids: NDArray[np.int32],
    temperature: float = 1.0,
    *,
    total: float = 0.0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    at_most: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Of the likeliest ids (k,), likeliest first: those that pass, in increasing order, and their p, which sum to 1.

    total: Σ e^x over all logits, or 0 to renormalise over these before top_p. at_most: so many of the likeliest.
    """
    ids, p, count = ids.copy(), np.empty(len(ids)), ffi.new("int64_t *")
    rc = lib.softmix_filter(
        _pointer("float[]", logits), len(logits), _pointer("int32_t[]", ids), len(ids), temperature, total, top_p, min_p,
        len(ids) if at_most is None else at_most, _pointer("double[]", p), count,
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


def _divergence(function: str, a: Any, b: Any, known: tuple[float, float] | None) -> float:
    p, q = _vector("logits", a), _vector("logits", b)
    if p.shape != q.shape:
        raise SoftLlamaError(f"distributions over {len(p)} and {len(q)} tokens cannot be compared")
    out, ln = ffi.new("double *"), ffi.new("double[2]", known) if known else ffi.NULL
    f = lib.softmix_kl if function == "kl" else lib.softmix_js
    rc = f(_pointer("float[]", p), _pointer("float[]", q), len(p), ln, out, isa())
    if rc:
        _fail(rc, function, p, q)
    return float(out[0])


def kl(a: Any, b: Any, known: tuple[float, float] | None = None) -> float:
    """KL(softmax(a) || softmax(b)) in nats; inf where b gives no mass to a token that has some in a.

    known: ln Σ e^a and ln Σ e^b, of logits that were checked before.
    """
    return _divergence("kl", a, b, known)


def js(a: Any, b: Any, known: tuple[float, float] | None = None) -> float:
    """Jensen-Shannon divergence of softmax(a) and softmax(b) in nats, between 0 and ln 2 (Lin 1991). known: as in `kl`."""
    return _divergence("js", a, b, known)


def skip_strings(buffer: Any, n: int, pos: int) -> int | None:
    """Where n strings of a GGUF (length, bytes) end that begin at byte `pos`; None if they leave the buffer."""
    view = ffi.from_buffer(buffer)
    out = ffi.new("int64_t *", pos)
    rc = lib.softmix_skip_strings(view, len(view), n, out)
    if rc > 0:
        raise SoftLlamaError(f"skip_strings: argument {rc} is out of range")
    return None if rc else int(out[0])


def js_each(many: Sequence[F32], other: F32, known: Sequence[tuple[float, float]]) -> list[float]:
    """`js` of each of many logits to one other, in as many threads as there are processors, at most 8."""
    return each(lambda i: js(many[i], other, known[i]), len(many), len(other))


def each(work: Callable[[int], T], n: int, size: int) -> list[T]:
    """[work(0), ..., work(n - 1)], each a pass over `size` numbers: in threads where that is enough to do."""
    out: dict[int, T] = {}
    todo = iter(range(n))

    def some() -> None:
        for i in todo:
            out[i] = work(i)

    _share(some, min(8, os.cpu_count() or 1, max(1, n * size >> 16)))
    return [out[i] for i in range(n)]
