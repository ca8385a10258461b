"""A model that llama.cpp has loaded, and its adapters.

What its header tells is in architectures.py. Does not know mixtures: whether feeding rows equals feeding tokens is
measured afterwards, in calibration.py.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import cache, signals
from softllama.errors import ModelError, UsageError
from softllama.llama import architectures, gguf, header, library
from softllama.llama.header import Header, Tensor
from softllama.llama.library import Held, api

FORKED = "this process was forked from one that had used a model, and llama.cpp's threads do not survive that"
MERGE = "merge it into the model first, with llama.cpp's llama-export-lora"
HOW_TO_FORK = "start it with multiprocessing.get_context('spawn'), or load no model before"


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter that is active in every context of a model."""

    path: Path
    scale: float
    pointer: ctypes.c_void_p
    a: Tensor | None = None  # what it adds to the embedding table: (rank, n_vocab) and
    b: Tensor | None = None  # (rank, n_embd); the row of token i grows by factor * b @ a[i]
    factor: float = 0.0


class Loaded:
    """llama.cpp's model, given back when nobody has this any more. Contexts do: whichever of a model and its contexts the
    garbage collector takes first, llama.cpp's contexts go before its model.
    """

    def __init__(self, pointer: Any, lock: Any) -> None:
        self.held = Held(pointer, api.llama_model_free, lock)
        weakref.finalize(self, self.held.free)


class Weights:
    """A loaded model. n_gpu_layers: None for all where this build has a GPU, 0 for none. before: is called with what the
    header tells, before llama.cpp opens the file.

    Raises ModelError with llama.cpp's cause for a file that does not load, and for those that cannot take mixtures.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_gpu_layers: int | None = None,
        lora: list[tuple[str, float]] | None = None,
        before: Callable[[Weights], None] | None = None,
    ) -> None:
        if signals.forked():
            raise ModelError(FORKED, HOW_TO_FORK)
        self.header = header.read(path)
        self.table = architectures.find_table(self.header)
        self._check_vocabulary()
        gpus = library.gpus()
        if n_gpu_layers is not None and n_gpu_layers < 0:
            raise UsageError(f"n_gpu_layers must be 0 or more, not {n_gpu_layers}", "leave it out for all layers")
        self.n_gpu_layers = (999 if gpus else 0) if n_gpu_layers is None else n_gpu_layers
        self.on_gpu = bool(gpus) and self.n_gpu_layers > 0
        if self.on_gpu:
            self.device = ", ".join(gpus)
            part = "all layers" if n_gpu_layers is None else f"{n_gpu_layers} layers"
            why = (
                "on what --rpc names"
                if any(g.startswith("RPC") for g in gpus)
                else "as this build of llama.cpp has a GPU back end"
            )
            self.device_reason = f"{part}, {why}; --n-gpu-layers 0 keeps to the CPU"
        else:
            self.device = library.cpu_name()
            if gpus:
                self.device_reason = "as --n-gpu-layers 0 asks"
            elif n_gpu_layers:
                self.device_reason = (
                    f"this build of llama.cpp has no GPU back end, so {n_gpu_layers} GPU layers were ignored"
                )
            else:
                self.device_reason = "this build of llama.cpp has no GPU back end"

        if before is not None:
            before(self)
        params = api.llama_model_default_params()
        params.n_gpu_layers = self.n_gpu_layers
        if library.amx() and hasattr(params, "use_extra_bufts"):
            params.use_extra_bufts = False  # keeps the weights out of the AMX buffer, whose matrix product may crash
        library.clear_log()
        with signals.deferred() as interrupted:
            progress = api.llama_progress_callback(lambda share, _: not interrupted())
            params.progress_callback = progress  # which is False where it shall stop
            pointer = api.llama_model_load_from_file(os.fsencode(self.header.path), params)
        if not pointer:
            raise ModelError(
                f"llama.cpp cannot load {self.header.path}: {library.last_error()}",
                "the file may be damaged, or need a newer llama-cpp-python",
            )
        self.lock = threading.RLock()  # over what uses the model itself, such as its vocabulary
        self.loaded = Loaded(pointer, self.lock)
        self.contexts: set[Held] = set()  # llama.cpp's, to be freed before it
        self._closed = False
        self._alone: Loaded | None = None  # the vocabulary of a closed model
        self.vocab = api.llama_model_get_vocab(pointer)
        self.n_bytes = sum(t.size for t in self.header.tensors.values())
        self.n_vocab: int = api.llama_vocab_n_tokens(self.vocab)
        self.n_embd: int = self.table.shape[0]
        self.n_embd_inp: int = api.llama_model_n_embd_inp(pointer)
        self.n_ctx_train: int = api.llama_model_n_ctx_train(pointer)
        positions = self.header.tensors.get("position_embd.weight")
        self.n_positions = positions.shape[1] if positions else None  # learned ones; llama.cpp aborts beyond them
        self.n_layer: int = api.llama_model_n_layer(pointer)
        self.recurrent: bool = bool(api.llama_model_is_recurrent(pointer) or api.llama_model_is_hybrid(pointer))
        self.per_layer = architectures.per_layer(self.header)
        self.diffusion = architectures.is_diffusion(self.header)
        self.substitutes = self._substitutes()
        mrope = (api.LLAMA_ROPE_TYPE_MROPE, api.LLAMA_ROPE_TYPE_IMROPE)
        self.positions_per_row = 4 if api.llama_model_rope_type(pointer) in mrope else 1
        self.alone, self.no_flash = self.header.arch in architectures.ALONE, self.header.arch in architectures.NO_FLASH
        self.no_hidden = self._hidden_refusal()
        if self.n_embd_inp < self.n_embd or self.n_vocab != self.table.shape[1]:
            raise ModelError(
                f"{self.header.path.name} ({self.header.arch}) cannot take mixtures: its table is "
                f"{self.table.shape[:2]}, and llama.cpp expects ({self.n_embd_inp}, {self.n_vocab})",
                "fetch the file again, or another conversion of it",
            )
        self.lora = tuple(self._load_lora(p, s) for p, s in lora or ())

    def _hidden_refusal(self) -> str | None:
        """Why hidden states cannot be had, as the end of a sentence; llama.cpp would end the process for some."""
        if self.header.arch in architectures.NO_HIDDEN:
            return "llama.cpp gives other logits beside hidden states"
        n = (
            api.llama_model_n_embd_out(self.loaded.held.pointer)
            if hasattr(api, "llama_model_n_embd_out")
            else self.n_embd
        )
        return f"its hidden states are {n} numbers long, and its embeddings {self.n_embd}" if n != self.n_embd else None

    def _check_vocabulary(self) -> None:
        """Once per file: what llama.cpp would end the process for, and what takes a moment to find out."""
        key = cache.file_key(self.header.files)
        if cache.load("vocabulary", key):
            return
        if (text := gguf.twice_in_vocabulary(self.header.path)) is not None:
            raise ModelError(
                f"{self.header.path} is damaged: its vocabulary lists {text[:60]!r} twice", "fetch the file again"
            )
        cache.store("vocabulary", key, True)

    def _substitutes(self) -> dict[int, int]:
        """Tokens whose embedding is another token's row: those that switch an adapter on."""
        if self.header.arch != "graniteswitch":
            return {}
        keys = [f"graniteswitch.adapters.token_ids_{x}" for x in ("activate", "substitute")]
        return dict(zip(*(gguf.integers(self.header.path, k) for k in keys), strict=True))

    def _load_lora(self, path: str, scale: float) -> Lora:
        if not math.isfinite(scale):
            raise UsageError(f"the scale of the adapter {path} is {scale}", "1 is its full effect")
        h = header.read(path)
        if h.kind != "adapter":
            raise ModelError(
                f"{h.path} is not a LoRA adapter (general.type is {h.kind[:60]!r})", "-m names models, --lora adapters"
            )
        architectures.check_tensors(h)
        self._check_embedding(h)
        library.clear_log()
        with signals.deferred():  # its log calls Python
            pointer = api.llama_adapter_lora_init(self.loaded.held.pointer, os.fsencode(h.path))
        if not pointer:
            raise ModelError(
                f"llama.cpp cannot load the adapter {h.path}: {library.last_error()}", "it must fit the model"
            )
        a, b = (h.tensors.get(f"token_embd.weight.lora_{x}") for x in "ab")
        if a is None or b is None:
            return Lora(h.path, scale, pointer)  # freed with the model
        alpha = h.get("adapter.lora.alpha", 0.0)
        return Lora(h.path, scale, pointer, a, b, float(np.float32(scale * alpha / b.shape[0] if alpha else scale)))

    def _check_embedding(self, h: Header) -> None:
        """Adapters that change an embedding table: one form of them is mixed as well."""
        changed = [n for n in h.tensors if n.startswith(("token_embd", "per_layer_token_embd", self.table.name))]
        for name in changed:
            if name.startswith("per_layer"):
                raise ModelError(f"llama.cpp would ignore that the adapter {h.path.name} changes {name}", MERGE)
            if name not in ("token_embd.weight.lora_a", "token_embd.weight.lora_b"):
                raise ModelError(f"the adapter {h.path.name} changes the token-embedding table by {name}", MERGE)
        if changed and "output.weight" not in self.header.tensors:
            raise ModelError(
                f"the adapter {h.path.name} changes the token-embedding table, which is the model's output matrix, too: "
                "llama.cpp would end the process",
                MERGE,
            )
        for name in changed:
            library.table_type(h.tensors[name].ggml_type)

    @property
    def closed(self) -> bool:
        return self._closed or self.loaded.held.pointer is None

    def check(self) -> None:
        """Raise ModelError where the model is closed, or belongs to the process that this one was forked from."""
        if self.closed:
            raise ModelError(f"the model {self.header.path.name} is closed", "load it again")
        if signals.forked():
            raise ModelError(FORKED, HOW_TO_FORK)

    def vocab_for_texts(self) -> Any:
        """The vocabulary, also of a closed model: a result that outlives it is still to be read, and then the vocabulary
        alone is loaded again, once. To be called under the lock. Raises ModelError where that cannot be.
        """
        if not self.closed:  # which may be read in a forked child, too
            return self.vocab
        if self._alone is None:
            if signals.forked() or self.header.changed(same=True) is not None:
                raise ModelError(
                    f"the model {self.header.path.name} is closed, and its file is another by now", "load it again"
                )
            params = api.llama_model_default_params()
            params.vocab_only = True
            with signals.deferred():
                pointer = api.llama_model_load_from_file(os.fsencode(self.header.path), params)
            if not pointer:
                raise ModelError(f"the model {self.header.path.name} is closed", "load it again")
            self._alone = Loaded(pointer, self.lock)
        if self._alone.held.pointer is None:  # as Python ends
            raise ModelError(f"the model {self.header.path.name} is closed", "load it again")
        return api.llama_model_get_vocab(self._alone.held.pointer)

    def check_files(self, *, same: bool = False) -> None:
        """Raise ModelError where a file of the model is another one than at its loading.

        llama.cpp and the table read a file through mappings of their own. One that was deleted, or replaced by another,
        stays as it was for whoever has it open; `same` refuses that too, for a time when not all have it open yet.
        """
        if (changed := self.header.changed(same=same)) is not None:
            raise ModelError(f"{changed} has changed on the disk since it was loaded", "load it again")

    def close(self) -> None:
        """Free the memory: that of the contexts, for which it waits while they compute, and then the model's."""
        if signals.forked():
            return
        while True:
            with self.lock:  # contexts are made under it
                self._closed = True
                left = list(self.contexts)
                if not left:
                    self.loaded.held.free()
                    return
            for context in left:  # not under it: a session's fork takes the locks in the other order
                context.free()
