"""LoRA adapters: files that llama.cpp adds to a loaded model.

Knows an adapter's header, and whether it changes the embedding table. Does not know contexts: those apply it.
"""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import signals
from softllama.errors import ModelError, UsageError
from softllama.llama import architectures, bindings, header
from softllama.llama.bindings import api
from softllama.llama.header import Header, Tensor

MERGE = "merge it into the model first, with llama.cpp's llama-export-lora"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA adapter that is active in every context of a model.

    Attributes:
        scale: 1 is the adapter's full effect.
        pointer: llama.cpp's adapter, which is freed with the model.
        a, b: what it adds to the embedding table, (rank, n_vocab) and (rank, n_embd): the row of token i grows by
            factor * b @ a[i]. None if it leaves the table as it is.
    """

    path: Path
    scale: float
    pointer: ctypes.c_void_p
    a: Tensor | None = None
    b: Tensor | None = None
    factor: float = 0.0


def load(path: str, scale: float, model: Any, model_header: Header) -> Lora:
    """Load an adapter into a model.

    Args:
        path: of the adapter's GGUF.
        scale: 1 is its full effect.
        model: llama.cpp's pointer.
        model_header: of the model's file.

    Raises:
        UsageError: the scale is not finite.
        ModelError: the file is not an adapter of this model, or changes the embedding table in a way that mixtures cannot
            follow.
    """
    if not math.isfinite(scale):
        raise UsageError(f"the scale of the adapter {path} is {scale}", "1 is its full effect")
    h = header.read(path)
    if h.kind != "adapter":
        raise ModelError(
            f"{h.path} is not a LoRA adapter (general.type is {h.kind[:60]!r})", "-m names models, --lora adapters"
        )
    architectures.check_tensors(h)
    _check_embedding(h, model_header)
    bindings.clear_log()
    with signals.deferred():  # its log calls Python
        pointer = api.llama_adapter_lora_init(model, os.fsencode(h.path))
    if not pointer:
        raise ModelError(
            f"llama.cpp cannot load the adapter {h.path}: {bindings.last_error()}", "it must fit the model"
        )
    a, b = (h.tensors.get(f"token_embd.weight.lora_{x}") for x in "ab")
    if a is None or b is None:
        return Lora(path=h.path, scale=scale, pointer=pointer)
    alpha = h.get("adapter.lora.alpha", 0.0)
    factor = float(np.float32(scale * alpha / b.shape[0] if alpha else scale))
    return Lora(path=h.path, scale=scale, pointer=pointer, a=a, b=b, factor=factor)


def _check_embedding(h: Header, model_header: Header) -> None:
    """Refuse adapters that change an embedding table, but for the one form that is mixed as well."""
    table = architectures.find_table(model_header).name
    changed = [n for n in h.tensors if n.startswith(("token_embd", "per_layer_token_embd", table))]
    for name in changed:
        if name.startswith("per_layer"):
            raise ModelError(f"llama.cpp would ignore that the adapter {h.path.name} changes {name}", MERGE)
        if name not in ("token_embd.weight.lora_a", "token_embd.weight.lora_b"):
            raise ModelError(f"the adapter {h.path.name} changes the token-embedding table by {name}", MERGE)
    if changed and "output.weight" not in model_header.tensors:
        raise ModelError(
            f"the adapter {h.path.name} changes the token-embedding table, which is the model's output matrix, too: "
            "llama.cpp would end the process",
            MERGE,
        )
    for name in changed:
        bindings.table_type(h.tensors[name].ggml_type)
