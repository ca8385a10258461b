"""A model without its weights, in a child process: llama.cpp reads the header and the vocabulary, and builds the graphs.

Most of what ends a process inside llama.cpp ends it here, after a small part of a load. Imports neither numpy nor
llama_cpp, which would take as long again. So the parent says where the library is, and what its parameters are, as bytes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softllama.llama.weights import Weights

N_CTX = 256


def arguments(weights: Weights) -> dict[str, Any] | None:
    """The arguments of `build` for a model that is not loaded yet; None where this llama.cpp cannot do it."""
    from softllama.llama.bindings import api, lib

    model, context = api.llama_model_default_params(), api.llama_context_default_params()
    if weights.on_gpu or not hasattr(model, "no_alloc") or not hasattr(model, "load_mode"):
        return None
    weights.runtime.set_model(model)
    model.n_gpu_layers, model.no_alloc, model.load_mode = 0, True, api.LLAMA_LOAD_MODE_NONE
    weights.runtime.set_context(context)
    context.n_ctx, context.n_threads, context.n_threads_batch = N_CTX, 1, 1
    if weights.no_flash:
        context.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    path = str(weights.header.path)
    return {"library": lib._name, "path": path, "model": bytes(model).hex(), "context": bytes(context).hex()}


def build(send: Callable[[dict[str, Any]], None], library: str, path: str, model: str, context: str) -> None:
    """Load what has no weights, and make a context. Sends {"whole": whether llama.cpp did both}."""
    lib = ctypes.CDLL(library)
    lib.llama_backend_init()
    load = lib.llama_model_load_from_file
    load.restype, load.argtypes = ctypes.c_void_p, [ctypes.c_char_p, _struct(model)]
    pointer = load(os.fsencode(path), _struct(model).from_buffer_copy(bytes.fromhex(model)))
    if not pointer:
        send({"whole": False})
        return
    make = lib.llama_init_from_model
    make.restype, make.argtypes = ctypes.c_void_p, [ctypes.c_void_p, _struct(context)]
    send({"whole": bool(make(pointer, _struct(context).from_buffer_copy(bytes.fromhex(context))))})


_structs: dict[int, Any] = {}


def _struct(data: str) -> Any:
    """A type for a struct of so many bytes: large ones go by value as memory, whatever their fields are."""
    n = len(data) // 2
    if n not in _structs:
        _structs[n] = type(f"Bytes{n}", (ctypes.Structure,), {"_fields_": [("words", ctypes.c_uint64 * (n // 8))]})
    return _structs[n]
