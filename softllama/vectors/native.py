"""The C module `_shim`: its instruction sets, its threads, and how arrays reach it (csrc/softmix.h has the contract).

Knows pointers and return codes. Does not know what the functions compute: kernels.py mixes rows, passes.py reads logits,
divergence.py compares them. The GIL is released during each call.

SOFTLLAMA_ISA = scalar, avx2, avx512 or neon forces an instruction set; all of them give the same results to the bit.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama._shim import ffi as ffi  # and no other module of this package imports it
from softllama._shim import lib as lib
from softllama.errors import NotFiniteError, SoftLlamaError, UsageError

F32 = NDArray[np.float32]
ISAS = {"scalar": lib.SOFTMIX_SCALAR, "avx2": lib.SOFTMIX_AVX2, "avx512": lib.SOFTMIX_AVX512, "neon": lib.SOFTMIX_NEON}


@cache
def isa() -> int:
    """The number of the instruction set in use: the best of this machine, or what SOFTLLAMA_ISA names.

    Raises:
        UsageError: SOFTLLAMA_ISA names one that this machine cannot run.
    """
    name = os.environ.get("SOFTLLAMA_ISA", "")
    if not name:
        return int(lib.softmix_isa())
    supported = [n for n, i in ISAS.items() if lib.softmix_has(i)]
    if name not in supported:
        raise UsageError(f"SOFTLLAMA_ISA={name}: this machine cannot run that", f"it can run {', '.join(supported)}")
    return int(ISAS[name])


def isa_name() -> str:
    """The name of the instruction set in use, such as "avx2"."""
    return next(n for n, i in ISAS.items() if i == isa())


# ---- threads

_openmp = ffi.NULL  # GOMP_parallel
_fork_is_watched = False


def use_openmp(address: int) -> None:
    """Share work among the threads of llama.cpp's OpenMP, which llama.cpp has just used and which are still awake.

    Args:
        address: of GOMP_parallel; 0 for no OpenMP.
    """
    global _openmp, _fork_is_watched
    _openmp = ffi.cast("void (*)(void (*)(void *), void *, unsigned, unsigned)", address)
    team.cache_clear()
    if address and not _fork_is_watched and hasattr(os, "register_at_fork"):
        _fork_is_watched = True
        os.register_at_fork(after_in_child=lambda: use_openmp(0))  # a forked child has none of its parent's threads


def openmp_address() -> int:
    """The address that `use_openmp` was called with last; 0 if it was not called."""
    return int(ffi.cast("intptr_t", _openmp))


@cache
def team(n_threads: int, start: bool = False) -> Any:
    """Threads for one call of C, as a `softmix_team *`.

    Args:
        n_threads: how many. 1 is the caller alone.
        start: without OpenMP, start threads for the call, which takes some 30 us; otherwise the caller works alone.
    """
    run = _openmp or (ffi.addressof(lib, "softmix_spawn") if start else ffi.NULL)
    return ffi.new("softmix_team *", (run, n_threads)) if run and n_threads > 1 else ffi.NULL


# ---- arguments

pointer = ffi.from_buffer  # ("float[]", array): the first element of a contiguous array, which the pointer keeps alive


def vector(name: str, a: Any) -> F32:
    """Numbers as a contiguous array (n,) float32, n > 0.

    Raises:
        SoftLlamaError: they have another shape.
    """
    v = np.ascontiguousarray(a, dtype=np.float32)
    if v.ndim != 1 or not v.size:
        raise SoftLlamaError(f"{name} must have the shape (n,) with n > 0, not {v.shape}")
    return v


def temperature(t: float) -> float:
    """A positive temperature that float32 can hold: one below or above is as good as its smallest or largest.

    Raises:
        SoftLlamaError: the temperature is not positive, or not finite.
    """
    try:
        positive = 0 < t < np.inf
    except TypeError:
        positive = False
    if not positive:
        raise SoftLlamaError(f"the temperature must be a positive number, not {t!r}")
    return min(max(float(t), float(np.finfo(np.float32).tiny)), float(np.finfo(np.float32).max))


def floats(a: Any) -> Any:
    """Floats (n,), an array or a C array, as a C array that keeps them alive."""
    return pointer("float[]", a) if isinstance(a, np.ndarray) else a


def view(a: Any) -> F32:
    """A C array of floats (n,) as an array of the same memory: while that is there."""
    return np.frombuffer(ffi.buffer(a), dtype=np.float32)


def fail(rc: int, function: str, a: Any, b: NDArray[Any] | None = None) -> None:
    """Raise the error that a return code means, and name the element.

    Args:
        rc: not 0. -(i+1): element i of a, or else of b, is not allowed. p > 0: argument p is not allowed.
        function: which returned it, without "softmix_".
        a, b: (n,) the logits that it was called with; a may be a C array.

    Raises:
        NotFiniteError: a logit is NaN or +inf, or all are -inf.
        SoftLlamaError: an argument is not allowed.
    """
    if rc > 0:
        raise SoftLlamaError(f"softmix_{function}: argument {rc} is not allowed")
    i = -rc - 1
    a = a if isinstance(a, np.ndarray) else view(a)
    if np.isneginf(a).all() or (b is not None and np.isneginf(b).all()):
        raise NotFiniteError("the logits are all -inf: no probability is left for any token")
    value = a[i] if b is None or not a[i] < np.inf else b[i]
    raise NotFiniteError(f"element {i} is {value}: logits must be numbers or -inf", "the model may be damaged")
