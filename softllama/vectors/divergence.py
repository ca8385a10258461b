"""Divergences between distributions that are held as logits: Kullback-Leibler and Jensen-Shannon, in nats. Computed in C.

Knows pairs of arrays of logits. Does not know where they are from: Distribution has methods for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.errors import SoftLlamaError
from softllama.vectors import native
from softllama.vectors.native import F32, ffi, lib


def _pair(a: Any, b: Any, ln_totals: tuple[float, float] | None) -> tuple[F32, F32, Any]:
    p, q = native.vector("logits", a), native.vector("logits", b)
    if p.shape != q.shape:
        raise SoftLlamaError(f"distributions over {len(p)} and {len(q)} tokens cannot be compared")
    return p, q, ffi.new("double[2]", ln_totals) if ln_totals else ffi.NULL


def kl(a: Any, b: Any, ln_totals: tuple[float, float] | None = None) -> float:
    """KL(p ‖ q) = Σ p ln(p/q) in nats, p = softmax(a), q = softmax(b) (Kullback and Leibler 1951).

    Args:
        a, b: logits (n,) float32.
        ln_totals: ln Σ e^a and ln Σ e^b, for logits that were checked before; None: they are computed.

    Returns:
        0 or more; inf if q gives no probability to a token that has some in p.

    Raises:
        SoftLlamaError: the sizes differ.
        NotFiniteError: a logit is NaN or +inf, or all are -inf.
    """
    p, q, ln = _pair(a, b, ln_totals)
    out = ffi.new("double *")
    z = native.pointer("float[]", p), native.pointer("float[]", q)
    if rc := lib.softmix_kl(*z, len(p), ln, out, native.isa()):
        native.fail(rc, "kl", p, q)
    return float(out[0])


def js(a: Any, b: Any, ln_totals: tuple[float, float] | None = None, n_threads: int = 1) -> float:
    """JS(p, q) = (KL(p ‖ m) + KL(q ‖ m)) / 2 in nats, m = (p + q) / 2 (Lin 1991); between 0 and ln 2.

    Arguments and errors are those of `kl`.
    """
    p, q, ln = _pair(a, b, ln_totals)
    out = ffi.new("double *")
    z = native.pointer("float[]", p), native.pointer("float[]", q)
    if rc := lib.softmix_js(*z, len(p), ln, out, native.team(n_threads), native.isa()):
        native.fail(rc, "js", p, q)
    return float(out[0])


def js_two(
    many: Sequence[F32], ln: Sequence[float], two: Sequence[F32], ln_two: Sequence[float], n_threads: int = 1
) -> NDArray[np.float64]:
    """`js` of each of many distributions to each of two others.

    Args:
        many: k logits (n,) float32, contiguous.
        ln: (k,) ln Σ e^logits of each.
        two: 2 logits (n,) float32, contiguous.
        ln_two: (2,) ln Σ e^logits of each.

    Returns:
        (k, 2) float64, nats.

    Raises:
        SoftLlamaError: the sizes differ.
    """
    n, k = len(two[0]), len(many)
    if any(len(z) != n for z in (*many, *two)):
        raise SoftLlamaError("distributions over different numbers of tokens cannot be compared")
    out, work = np.empty((k, 2)), np.empty((64, k, 2))
    rows = [[native.pointer("float[]", z) for z in some] for some in (many, two)]  # which keep them alive
    a, b = (ffi.new("float *[]", some) for some in rows)
    ln_a, ln_b = ffi.new("double[]", ln), ffi.new("double[]", ln_two)
    to, team = (native.pointer("double[]", x) for x in (work, out)), native.team(n_threads)
    rc = lib.softmix_js_two(a, ln_a, k, b, ln_b, n, *to, team, native.isa())
    if rc:
        raise SoftLlamaError(f"softmix_js_two: argument {rc} is not allowed")
    return out
