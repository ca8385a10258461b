"""Passes over the logits of a vocabulary: sums, probabilities, the largest ones, filters, draws. Computed in C.

Knows arrays of logits. Does not know where they are from: Distribution keeps what is computed more than once. Passes over
many logits are shared among threads; the number of threads changes no bit of a result.

Logits are float32 and contiguous: an array, or a C array (`native.floats`). Throughout, x = (logits - peak) / temperature, where
peak is the largest logit, so that e^x is at most 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.errors import NotFiniteError, SoftLlamaError
from softllama.vectors import native
from softllama.vectors.native import F32, ffi, lib

KNOWN = int(lib.SOFTMIX_KNOWN)  # ids that `summary` returns at most


def peak(logits: Any) -> tuple[float, int]:
    """The largest logit and its first index.

    Args:
        logits: (n,).

    Raises:
        NotFiniteError: a logit is NaN or +inf, or all are -inf.
    """
    high, at = ffi.new("float *"), ffi.new("int32_t *")
    rc = lib.softmix_peak(native.floats(logits), len(logits), high, at, native.isa())
    if rc:
        native.fail(rc, "peak", logits)
    return high[0], at[0]


def summary(logits: Any, n_threads: int = 1) -> Any:
    """What every step of a generation needs, in one call.

    Args:
        logits: (n,).

    Returns:
        A `softmix_known *`: the largest logit; `sums` at temperature 1; the k = min(KNOWN, n) most probable ids and their
        probabilities.

    Raises:
        NotFiniteError: a logit is NaN or +inf, or all are -inf.
    """
    known = ffi.new("softmix_known *")
    if rc := lib.softmix_summary(native.floats(logits), len(logits), known, native.team(n_threads), native.isa()):
        native.fail(rc, "summary", logits)
    return known


def summaries(rows: Sequence[Any], n_threads: int = 1) -> list[Any]:
    """`summary` of each of several rows, which threads share among them.

    Args:
        rows: k rows (n,), C arrays or float32 arrays, all of one length.

    Raises:
        NotFiniteError: as in `summary`; `.index` is the row's number.
    """
    if not rows:
        return []
    z, known = [native.floats(row) for row in rows], [ffi.new("softmix_known *") for _ in rows]
    at, to, codes = ffi.new("float *[]", z), ffi.new("softmix_known *[]", known), ffi.new("int32_t[]", len(rows))
    rc = lib.softmix_summaries(at, len(z), len(rows[0]), to, codes, native.team(n_threads), native.isa())
    if rc:
        raise SoftLlamaError(f"softmix_summaries: argument {rc} is not allowed")
    for i, code in enumerate(codes):
        if code:
            try:
                native.fail(code, "summary", rows[i])
            except NotFiniteError as e:
                e.index = i
                raise
    return known


def sums(logits: Any, high: float, temperature: float = 1.0, n_threads: int = 1) -> tuple[float, float]:
    """Σ e^x and Σ x e^x.

    Args:
        logits: (n,).
        high: the largest logit, as from `peak`.
    """
    out, t = ffi.new("double[2]"), native.temperature(temperature)
    z, team = native.floats(logits), native.team(n_threads)
    rc = lib.softmix_sums(z, len(logits), t, high, out, team, native.isa())
    if rc:
        native.fail(rc, "sums", logits)
    return out[0], out[1]


def probs(logits: F32, high: float, total: float, temperature: float = 1.0) -> F32:
    """e^x / total of all or some logits.

    Args:
        logits: (k,) float32, contiguous: all of them or some.
        high: the largest of all logits.
        total: Σ e^x over all logits, as from `sums`.

    Returns:
        Probabilities (k,) float32.
    """
    out = np.empty(len(logits), dtype=np.float32)
    if not len(out):
        return out
    t, z = native.temperature(temperature), native.pointer("float[]", logits)
    rc = lib.softmix_probs(z, len(out), t, high, total, native.pointer("float[]", out), native.isa())
    if rc:
        native.fail(rc, "probs", logits)
    return out


def truncated(
    logits: Any, high: float, total: float, epsilon: float, temperature: float = 1.0, n_threads: int = 1
) -> tuple[NDArray[np.int32], F32, float]:
    """The distribution without its least probable tokens, renormalised.

    Tokens are left out while their probabilities sum to at most epsilon, equal ones together or not at all. So are those
    whose probability is 0 in float32.

    Args:
        logits: (n,).
        high: the largest logit.
        total: Σ e^x, as from `sums` at the same temperature.

    Returns:
        Ids (k,) int32, increasing; their probabilities (k,) float32, summing to 1; the probability mass that epsilon left
        out.
    """
    n = len(logits)
    ids, weights = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.float32)
    count, left = ffi.new("int64_t *"), ffi.new("double *")
    z, t, team = native.floats(logits), native.temperature(temperature), native.team(n_threads)
    to = native.pointer("int32_t[]", ids), native.pointer("float[]", weights), count, left
    rc = lib.softmix_whole(z, n, t, high, total, epsilon * total, *to, team, native.isa())
    if rc:
        native.fail(rc, "whole", logits)
    return ids[: count[0]].copy(), weights[: count[0]].copy(), left[0] / total


def filtered(
    logits: Any,
    likeliest: Any,
    k: int,
    temperature: float = 1.0,
    *,
    total: float = 0.0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    at_most: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The tokens among the k most probable that pass top-p, then min-p, then top-n.

    Args:
        logits: (n,).
        likeliest: the k most probable ids, most probable first: a C array of int32, as from `summary`, or a contiguous
            array (>= k,) int32.
        total: Σ e^x over all logits; 0 makes the probabilities of these k sum to 1 before top-p.
        top_p: keep the fewest whose sum reaches it; 1 keeps all.
        min_p: of these, keep those of at least min_p times the most probable one's probability.
        at_most: of these, keep this many of the most probable.

    Returns:
        Ids (m,) int32, increasing, and their probabilities (m,) float64, summing to 1. m = 0 if a total is given and these
        k do not reach top_p: more are needed.
    """
    if isinstance(likeliest, np.ndarray):
        likeliest = native.pointer("int32_t[]", likeliest)
    ids, p, count = np.empty(k, dtype=np.int32), np.empty(k), ffi.new("int64_t *")
    z, n = native.floats(logits), k if at_most is None else at_most
    to = native.pointer("int32_t[]", ids), native.pointer("double[]", p), count
    rc = lib.softmix_filter(z, len(logits), likeliest, k, temperature, total, top_p, min_p, n, *to)
    if rc:
        raise SoftLlamaError(f"softmix_filter: argument {rc} is not allowed")
    return ids[: count[0]], p[: count[0]]


def sample(
    logits: Any, high: float, u: float, temperature: float = 1.0, *, known: Any = None, n_threads: int = 1
) -> int:
    """One id of softmax(logits / temperature), by inversion of the cumulative sum.

    Args:
        logits: (n,).
        high: the largest logit.
        u: a uniform random number, 0 <= u < 1.
        known: what `summary` gave; at temperature 1 only a part of the logits is then read again.

    Returns:
        The first id whose cumulative sum of e^x exceeds u times the whole sum; never one of probability 0.
    """
    out, t = ffi.new("int32_t *"), native.temperature(temperature)
    parts = ffi.NULL if known is None or t != 1 else known.parts
    z, team = native.floats(logits), native.team(n_threads)
    if rc := lib.softmix_sample(z, len(logits), t, high, u, parts, out, team, native.isa()):
        native.fail(rc, "sample", logits)
    return int(out[0])


def draw(p: NDArray[np.float64], u: float) -> int:
    """The first index of p (k,) whose cumulative sum exceeds u · Σ p, for a uniform random number 0 <= u < 1."""
    return int(lib.softmix_draw(native.pointer("double[]", p), len(p), u))


def top(values: Any, k: int) -> NDArray[np.int32]:
    """Indices (min(k, n),) of the largest values (n,), largest first; the lower index first among equals.

    Raises:
        SoftLlamaError: a value is NaN, or k < 1.
    """
    v = native.vector("values", values)
    if k < 1:
        raise SoftLlamaError(f"top needs k >= 1, not {k}")
    ids = np.empty(min(int(k), len(v)), dtype=np.int32)
    z = native.pointer("float[]", v)
    rc = lib.softmix_top(z, len(v), len(ids), native.pointer("int32_t[]", ids), native.isa())
    if rc < 0:
        raise SoftLlamaError(f"element {-rc - 1} is {v[-rc - 1]}")
    if rc:
        native.fail(rc, "top", v)
    return ids
