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
from softllama.llama import adapter_facts, architectures, bindings, header
from softllama.llama.adapter_facts import AdapterFacts
from softllama.llama.bindings import api
from softllama.llama.header import Header, Tensor

ANY_BASE = (
    "load the model that it was trained on, or use it on this one all the same: --any-base, or load(..., any_base=True)"
)
MERGE = "merge it into the model first, with llama.cpp's llama-export-lora"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA adapter that is active in every context of a model.

    Attributes:
        scale: 1 is the adapter's full effect.
        pointer: llama.cpp's adapter, which is freed with the model.
        a, b: what it adds to the embedding table, (rank, n_vocab) and (rank, n_embd): the row of token i grows by
            factor * b @ a[i]. None if it leaves the table as it is.
        facts: what it says of itself; None for one that `softllama adapt` did not make.
        fits: was it trained on this model, or on another quantization of it? None if it does not say.
    """

    path: Path
    scale: float
    pointer: ctypes.c_void_p
    a: Tensor | None = None
    b: Tensor | None = None
    factor: float = 0.0
    facts: AdapterFacts | None = None
    fits: bool | None = None

    @property
    def text(self) -> str:
        """What it was trained for and on, as a line for people; "" if it does not say."""
        if self.facts is None:
            return ""
        return f"{self.facts}{', of which this model is another fine-tune' if self.fits is False else ''}"


def load(path: str, scale: float, model: Any, model_header: Header, *, any_base: bool = False) -> Lora:
    """Load an adapter into a model.

    Args:
        path: of the adapter's GGUF.
        scale: 1 is its full effect.
        model: llama.cpp's pointer.
        model_header: of the model's file.
        any_base: take an adapter that was trained on another fine-tune of the model, too.

    Raises:
        UsageError: the scale is not finite.
        ModelError: the file is not an adapter of this model, was trained on another fine-tune of it, or changes the embedding
            table in a way that mixtures cannot follow.
    """
    if not math.isfinite(scale):
        raise UsageError(f"the scale of the adapter {path} is {scale}", "1 is its full effect")
    h = header.read(path)
    if h.kind != "adapter":
        raise ModelError(
            f"{h.path} is not a LoRA adapter (general.type is {h.kind[:60]!r})", "-m names models, --lora adapters"
        )
    architectures.check_tensors(h)
    facts = AdapterFacts.read(h)
    _check_shapes(h, model_header, facts)
    fits = _fits(facts, model_header)
    if fits is False and not any_base:
        raise ModelError(
            f"the adapter {h.path.name} was {facts}, and {model_header.path.name} is not that model: its norms differ",
            ANY_BASE,
        )
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
        return Lora(path=h.path, scale=scale, pointer=pointer, facts=facts, fits=fits)
    alpha = h.get("adapter.lora.alpha", 0.0)
    factor = float(np.float32(scale * alpha / b.shape[0] if alpha else scale))
    return Lora(path=h.path, scale=scale, pointer=pointer, a=a, b=b, factor=factor, facts=facts, fits=fits)


def _fits(facts: AdapterFacts | None, model_header: Header) -> bool | None:
    """Are the norms those of the base that the adapter was trained on? None if it does not say."""
    if facts is None or not facts.base_norms_sha256:
        return None
    return facts.base_norms_sha256 == adapter_facts.norms_digest(model_header)


def _check_shapes(h: Header, model_header: Header, facts: AdapterFacts | None) -> None:
    """Refuse an adapter whose base is of other sizes, by name. llama.cpp looks at the matrices of any adapter itself."""
    if facts is None:
        return
    hint = f"load the model that it was trained on: {facts.base_name}" if facts.base_name else "it must fit the model"
    said = f"the adapter {h.path.name} was {facts}, and {model_header.path.name}"
    if h.arch and h.arch != model_header.arch:
        raise ModelError(f"{said} is of another architecture: {model_header.arch}, not {h.arch}", hint)
    for name, a in h.tensors.items():
        if not name.endswith(".lora_a") or name.startswith("token_embd"):
            continue
        own, b = model_header.tensors.get(name[:-7]), h.tensors.get(f"{name[:-1]}b")
        if own is None:
            raise ModelError(f"{said} has no {name[:-7]}", hint)
        if b is not None and (a.shape[0], b.shape[1]) != own.shape[:2]:
            sizes = f"{name[:-7]} is {own.shape[1]} x {own.shape[0]}, not {b.shape[1]} x {a.shape[0]}"
            raise ModelError(f"{said} is of another size: {sizes}", hint)


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
