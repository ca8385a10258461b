"""How a context is set up: llama.cpp's parameters, the check of the memory, adapters.

Everything that can be wrong before the first batch becomes an error message here. Evaluates nothing.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from softllama.base import arguments, signals
from softllama.errors import ContextError, UsageError
from softllama.llama import bindings, memory
from softllama.llama.batch import F32
from softllama.llama.bindings import api
from softllama.llama.handle import Handle
from softllama.llama.overlay import FUNCTIONS, Overlay
from softllama.llama.weights import Weights

MOST = 2**32 - 256  # positions of a context, which llama.cpp counts in 32 bits, rounded up to 256; more would be few


class Wanted(Protocol):
    """The settings of a context, as Context holds them."""

    weights: Weights
    lock: threading.RLock
    n_seq: int
    n_threads: int
    n_batch: int
    n_outputs: int
    embeddings: bool
    precise: bool
    apart: bool


def checked(n_ctx: int, n_seq: int, n_threads: int | None) -> tuple[int, int]:
    """n_ctx and n_seq as numbers. Raises UsageError for what is not allowed."""
    n_ctx, n_seq = arguments.integer("n_ctx", n_ctx), arguments.integer("n_seq", n_seq)
    if n_ctx < 1:
        raise UsageError(f"a context needs room for at least one position, not n_ctx = {n_ctx}")
    if n_threads is not None and not 1 <= n_threads <= 1024:
        raise UsageError(f"n_threads must be between 1 and 1024, not {n_threads}")
    n_seq_limit = api.llama_max_parallel_sequences()
    if not 1 <= n_seq <= n_seq_limit:
        raise UsageError(f"a context holds 1 to {n_seq_limit} sequences, not {n_seq}")
    return n_ctx, n_seq


def params(context: Wanted, n_ctx: int, over: Overlay | None, watch: Any) -> Any:
    """llama.cpp's parameters for a context."""
    values, weights = api.llama_context_default_params(), context.weights
    values.n_ctx = n_ctx
    values.n_batch = values.n_ubatch = context.n_batch
    values.n_seq_max = context.n_seq
    if hasattr(values, "n_outputs_max"):  # newer versions; older ones allow n_batch
        values.n_outputs_max = context.n_outputs
    values.n_threads = values.n_threads_batch = context.n_threads
    values.kv_unified = not context.apart
    values.embeddings = context.embeddings
    values.offload_kqv = values.op_offload = weights.on_gpu
    values.no_perf = True
    if (flag := signals.flag_address()) and not weights.on_gpu:
        values.abort_callback = ctypes.cast(flag, type(values.abort_callback))
    if context.precise:
        values.type_k = values.type_v = api.GGML_TYPE_F32
    if weights.no_flash or (context.precise and hasattr(values, "flash_attn_type")):  # older versions have it off
        values.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if over is not None:
        values.cb_eval = api.ggml_backend_sched_eval_callback(over.callback)
        values.cb_eval_user_data = over.data
    elif watch is not None:
        values.cb_eval = watch
    return values


def overlay(nodes: Sequence[tuple[str, int]], buffers: Sequence[F32], watch: Any) -> Overlay:
    """The overlay that writes buffers (n_batch, width) over nodes; another callback is asked as well."""
    functions = {name: bindings.address(name) for name in FUNCTIONS.values()}
    other = (ctypes.cast(watch, ctypes.c_void_p).value or 0) if watch is not None else 0
    rows = [(name, b) for (name, _), b in zip(nodes, buffers, strict=True)]
    return Overlay(functions, rows, (other, 0))


def allocated(context: Wanted, n_ctx: int, params: Any, n_ends: int) -> tuple[Handle, weakref.finalize[Any, Any]]:
    """llama.cpp's context, and what frees it when `context` is gone.

    Raises:
        ContextError: the memory is not there; the message has the size that it needs.
    """
    weights = context.weights
    fits = partial(memory.fitting, weights.header, partial(_footprint, weights, params), n_ctx, context.n_batch)
    if not weights.on_gpu:  # a GPU's driver says by itself what does not fit
        memory.check(weights.header, n_ctx, n_ends, context.n_batch, context.n_outputs, fits)
    if n_ctx > MOST:
        raise ContextError(
            f"a context has at most {MOST:,} positions, not {n_ctx:,} for {context.n_seq} sequences",
            memory.hint(MOST, n_ends),
        )
    bindings.clear_log()
    with weights.lock, signals.deferred():  # llama.cpp's log calls Python
        weights.check()
        pointer = api.llama_init_from_model(weights.model.handle.pointer, params)
        if pointer:
            own = Handle(pointer, api.llama_free, context.lock, weights.model, weights.contexts)
            finalizer = weakref.finalize(context, own.free)  # here, where no interrupt comes between
    if not pointer:
        message = f"llama.cpp cannot make a context of {n_ctx:,} positions: {bindings.last_error()}"
        smaller = f"try a smaller one, such as --n-ctx {max(256, n_ctx // 4)}"  # a GPU's memory is not looked at
        raise ContextError(message, smaller if weights.on_gpu else memory.hint(fits(), n_ends))
    return own, finalizer


def apply_adapters(weights: Weights, pointer: Any) -> None:
    """Apply the LoRA adapters of the weights."""
    lora = weights.lora
    if not lora:
        return
    adapters = (api.llama_adapter_lora_p_ctypes * len(lora))(*[a.pointer for a in lora])
    scales = (ctypes.c_float * len(lora))(*[a.scale for a in lora])
    if api.llama_set_adapters_lora(pointer, adapters, len(lora), scales):
        raise ContextError("llama.cpp cannot apply the LoRA adapter")


class Control(NamedTuple):
    """Vectors that llama.cpp adds to the states after layers `first` to `last`.

    data: (last, n_embd) float32: of layer 1, 2, ..., `last`.
    """

    first: int
    last: int
    data: F32


def apply_control(control: Control | None, pointer: Any) -> None:
    """Let a context add vectors to its states. Raises ContextError where llama.cpp refuses them."""
    if control is None:
        return
    data = np.ascontiguousarray(control.data, dtype=np.float32)
    to = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    # older versions have it under another name
    apply = getattr(api, "llama_set_adapter_cvec", None) or api.llama_apply_adapter_cvec
    if apply(pointer, to, data.size, data.shape[1], control.first, control.last):
        raise ContextError("llama.cpp cannot add the control vector", "leave out --add")


def _footprint(weights: Weights, params: Any, n_ctx: int) -> tuple[int, int] | None:
    """Bytes that llama.cpp says it sets aside for a context of n_ctx positions, and those by which the process grows, as
    some architectures' graphs take more; None if it cannot."""
    with weights.lock, signals.deferred(), bindings.capture_log() as log:
        weights.check()
        before_n_ctx, params.n_ctx, before = params.n_ctx, n_ctx, memory.address_space()
        pointer = api.llama_init_from_model(weights.model.handle.pointer, params)
        grown, params.n_ctx = memory.address_space() - before, before_n_ctx
        if pointer:
            api.llama_free(pointer)
    return (bindings.buffer_bytes(log), grown) if pointer else None
