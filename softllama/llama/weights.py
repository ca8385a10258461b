"""A model that llama.cpp has loaded.

Knows files and llama.cpp's model. Does not know mixtures: architectures.py says what a header means for them, and
engine/calibration.py measures whether feeding rows equals feeding tokens.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from softllama.base import cache, signals
from softllama.errors import ModelError, UsageError
from softllama.llama import architectures, bindings, devices, gguf, header
from softllama.llama import lora as adapters
from softllama.llama.bindings import api
from softllama.llama.handle import Handle
from softllama.llama.runtime import Runtime, without_vocabulary

FORKED = "this process was forked from one that had used a model, and llama.cpp's threads do not survive that"
HOW_TO_FORK = "start it with multiprocessing.get_context('spawn'), or load no model before"


class LoadedModel:
    """llama.cpp's model, freed when nothing refers to this any more.

    Contexts refer to it: whichever of a model and its contexts the garbage collector takes first, llama.cpp's contexts are
    freed before its model.
    """

    def __init__(self, pointer: Any, lock: Any) -> None:
        self.handle = Handle(pointer, api.llama_model_free, lock)
        weakref.finalize(self, self.handle.free)


class Weights:
    """A loaded model.

    Args:
        path: of the GGUF, or of the first of its parts.
        n_gpu_layers: None for all if this build of llama.cpp has a GPU back end, 0 for none.
        lora: (path, scale) of each adapter.
        any_base: take adapters that were trained on another fine-tune of the model, too.
        runtime: llama.cpp's options.
        beside: a context manager of what goes on while llama.cpp loads the file. It is entered with what the header says, and
            gives what is called once the file is loaded, before it is used. It checks the vocabulary, too.
        vocabulary: False for a model that knows ids and no texts, which loads sooner.

    Raises:
        ModelError: the file does not load (with llama.cpp's cause), or the model cannot take mixtures.
        UsageError: n_gpu_layers or a scale is not allowed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        n_gpu_layers: int | None = None,
        lora: list[tuple[str, float]] | None = None,
        any_base: bool = False,
        runtime: Runtime | None = None,
        beside: Callable[[Weights], AbstractContextManager[Callable[[], None]]] | None = None,
        vocabulary: bool = True,
    ) -> None:
        if signals.forked():
            raise ModelError(FORKED, HOW_TO_FORK)
        self.runtime = runtime or Runtime()
        self.runtime.prepare()
        self.header = header.read(path)
        self.table = architectures.find_table(self.header)
        self.alone, self.no_flash = self.header.arch in architectures.ALONE, self.header.arch in architectures.NO_FLASH
        self._choose_device(n_gpu_layers)
        self._reads_vocabulary = vocabulary
        if beside is None:
            self.check_vocabulary()
        self.lock = threading.RLock()  # over what uses the model itself, such as its vocabulary
        with contextlib.nullcontext(lambda: None) if beside is None else beside(self) as loaded:
            pointer = self._load()
            self.model = LoadedModel(pointer, self.lock)
            loaded()
        self.contexts: set[Handle] = set()  # llama.cpp's, to be freed before it
        self._closed = False
        self._alone: LoadedModel | None = None  # the vocabulary of a closed model
        self._describe(pointer)
        self.lora = tuple(adapters.load(p, s, pointer, self.header, any_base=any_base) for p, s in lora or ())

    def _choose_device(self, n_gpu_layers: int | None) -> None:
        """Set n_gpu_layers, on_gpu, device and the reason for it, which the user reads."""
        gpus = devices.gpus()
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
            self.device = devices.cpu_name()
            if gpus:
                self.device_reason = "as --n-gpu-layers 0 asks"
            elif n_gpu_layers:
                self.device_reason = (
                    f"this build of llama.cpp has no GPU back end, so {n_gpu_layers} GPU layers were ignored"
                )
            else:
                self.device_reason = "this build of llama.cpp has no GPU back end"

    def _load(self) -> Any:
        """llama.cpp's pointer. Ctrl-C ends the loading."""
        params = api.llama_model_default_params()
        params.n_gpu_layers = self.n_gpu_layers
        self.runtime.set_model(params)
        if devices.amx() and hasattr(params, "use_extra_bufts"):
            params.use_extra_bufts = False  # keeps the weights out of the AMX buffer, whose matrix product may crash
        if (overrides := self._overrides()) is not None:
            params.kv_overrides = overrides
        bindings.clear_log()
        with signals.deferred() as interrupted:
            progress = api.llama_progress_callback(lambda share, _: not interrupted())
            params.progress_callback = progress  # which is False where it shall stop
            pointer = api.llama_model_load_from_file(os.fsencode(self.header.path), params)
        if not pointer:
            raise ModelError(
                f"llama.cpp cannot load {self.header.path}: {bindings.last_error()}",
                "the file may be damaged, or need a newer llama-cpp-python",
            )
        return pointer

    def _overrides(self) -> Any | None:
        return None if self._reads_vocabulary else without_vocabulary(self.header.arch, self.table.shape[1])

    def _describe(self, pointer: Any) -> None:
        """Set what llama.cpp and the header say about the model."""
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
        self.no_hidden = self._hidden_refusal()
        if self.n_embd_inp < self.n_embd or self.n_vocab != self.table.shape[1]:
            raise ModelError(
                f"{self.header.path.name} ({self.header.arch}) cannot take mixtures: its table is "
                f"{self.table.shape[:2]}, and llama.cpp expects ({self.n_embd_inp}, {self.n_vocab})",
                "fetch the file again, or another conversion of it",
            )

    def _hidden_refusal(self) -> str | None:
        """Why hidden states cannot be had, as a clause; llama.cpp would end the process for some."""
        if self.header.arch in architectures.NO_HIDDEN:
            return "llama.cpp gives other logits beside hidden states"
        n = (
            api.llama_model_n_embd_out(self.model.handle.pointer)
            if hasattr(api, "llama_model_n_embd_out")
            else self.n_embd
        )
        return f"its hidden states are {n} numbers long, and its embeddings {self.n_embd}" if n != self.n_embd else None

    def check_vocabulary(self, *, passed: bool = False) -> None:
        """Once per file: what llama.cpp would end the process for, and what takes a moment to find out.

        passed: llama.cpp has read it in another process.
        """
        key = cache.file_key(self.header.files)
        if not self._reads_vocabulary or cache.load("vocabulary", key):
            return
        if not passed and (text := gguf.twice_in_vocabulary(self.header.path)) is not None:
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

    @property
    def closed(self) -> bool:
        return self._closed or self.model.handle.pointer is None

    def check(self) -> None:
        """Check that the model can be used.

        Raises:
            ModelError: it is closed, or belongs to the process that this one was forked from.
        """
        if self.closed:
            raise ModelError(f"the model {self.header.path.name} is closed", "load it again")
        if signals.forked():
            raise ModelError(FORKED, HOW_TO_FORK)

    def vocab_for_texts(self) -> Any:
        """llama.cpp's vocabulary, also of a closed model: its results can still be read.

        For a closed model the vocabulary alone is loaded again, once. To be called under the lock.

        Raises:
            ModelError: the model is closed, and its vocabulary cannot be loaded again.
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
            self._alone = LoadedModel(pointer, self.lock)
        if self._alone.handle.pointer is None:  # as Python ends
            raise ModelError(f"the model {self.header.path.name} is closed", "load it again")
        return api.llama_model_get_vocab(self._alone.handle.pointer)

    def check_files(self, *, same: bool = False) -> None:
        """Check that the files of the model are those that were loaded.

        llama.cpp and the table read a file through mappings of their own. One that was deleted, or replaced by another,
        stays as it was for whoever has it open.

        Args:
            same: refuse a file that was replaced, too, for a time when not all have it open yet.

        Raises:
            ModelError: a file has changed.
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
                    self.model.handle.free()
                    return
            for context in left:  # not under it: a session's fork takes the locks in the other order
                context.free()
