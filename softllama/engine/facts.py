"""What is known of a loaded model: names, sizes, files, device. Evaluates nothing."""

from __future__ import annotations

import contextlib
import re
from functools import cached_property
from typing import Any

from softllama.base import cache
from softllama.errors import ModelError
from softllama.hub import bundled, quants
from softllama.hub import facts as hub_facts
from softllama.llama.pace import Pace
from softllama.llama.runtime import Runtime
from softllama.llama.weights import Weights

_HASH = re.compile(r"(sha256-)?[0-9a-f]{40,}")
NAME = 100  # characters of a model's name: a damaged file's may have thousands


class Facts:
    """The facts of a model, read from its weights and its header."""

    _weights: Weights
    _sha256: str | None = None
    arguments: dict[str, Any]
    n_threads: int

    @property
    def n_ctx_given(self) -> int | None:
        """The positions that the load asked for; None where it left them open."""
        n: int | None = self.arguments["n_ctx"]
        return n

    @cached_property
    def pace(self) -> Pace | None:
        """Decides how many threads go on where the machine is busy; None where the user chose their number."""
        chosen = self.arguments["n_threads"] is not None or self.n_threads == 1 or self._weights.on_gpu
        return None if chosen else Pace(self.n_threads)

    @property
    def runtime(self) -> Runtime:
        """llama.cpp's options."""
        return self._weights.runtime

    @property
    def path(self) -> str:
        """The file (the first of a split)."""
        return str(self._weights.header.path)

    @property
    def arch(self) -> str:
        """The architecture, as the file names it."""
        return self._weights.header.arch

    @property
    def name(self) -> str:
        """The file's name without .gguf, with the quantization where the file's name has none: files of one title differ.

        Ollama and Hugging Face's cache name files by their hashes; those have their title and their quantization. A bundled
        model has its name alone.
        """
        path = self._weights.header.path
        stem = "".join(c for c in re.sub(r"-\d{5}-of-\d{5}$", "", path.stem) if c.isprintable())
        if path.parent == bundled.FOLDER:
            return stem
        stem = self.title if _HASH.fullmatch(stem) and self.title else stem
        return stem if quants.of(stem) or not self.quantization else f"{stem} ({self.quantization})"

    @property
    def title(self) -> str:
        """What the file calls itself, as far as it is one line of text; "" where it does not."""
        name = str(self._weights.header.get("general.name") or "")
        return "".join(c for c in name if c.isprintable())[:NAME]

    @property
    def quantization(self) -> str:
        """What the file calls its quantization, else the type that most of its weights have: "Q4_K_M"."""
        return hub_facts.quantization(self._weights.header)

    @property
    def n_vocab(self) -> int:
        """Size of the vocabulary."""
        return self._weights.n_vocab

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return self._weights.n_bytes

    @property
    def n_embd(self) -> int:
        """Length of an embedding."""
        return self._weights.n_embd

    @property
    def n_layer(self) -> int:
        """How many layers the file says that the model has."""
        n: Any = self._weights.header.get("{arch}.block_count", 0)
        return n if isinstance(n, int) else 0

    @property
    def device(self) -> str:
        """What the model runs on."""
        return self._weights.device

    @property
    def device_reason(self) -> str:
        """Why it runs there."""
        return self._weights.device_reason

    @property
    def recurrent(self) -> bool:
        """Does the model keep a state that cannot go back (recurrent and hybrid architectures)?"""
        return self._weights.recurrent

    @property
    def diffusion(self) -> bool:
        """Does the model fill in masked positions, seeing what is before and behind them? Then no policy decodes it."""
        return self._weights.diffusion

    @property
    def no_hidden_reason(self) -> str | None:
        """Why this model's hidden states cannot be fed back; None if they can."""
        return self._weights.no_hidden

    @property
    def metadata(self) -> dict[str, Any]:
        """The file's metadata, arrays left out."""
        return dict(self._weights.header.metadata)

    @property
    def lora(self) -> list[tuple[str, float]]:
        """Active adapters: path and scale."""
        return [(str(a.path), a.scale) for a in self._weights.lora]

    @property
    def adapters(self) -> list[dict[str, Any]]:
        """Active adapters, ready for JSON: file, hash and scale; and where they say so, what they were trained for and on."""
        found = []
        for a in self._weights.lora:
            record: dict[str, Any] = {"path": str(a.path), "scale": a.scale, "sha256": None}
            with contextlib.suppress(OSError):
                record["sha256"] = cache.file_hash([a.path])
            found.append(record if a.facts is None else {**record, "fits": a.fits, **a.facts.to_dict()})
        return found

    @property
    def adapter_texts(self) -> list[str]:
        """Of the active adapters that say so, what each was trained for and on, a line each."""
        return [f"{a.path.name}, {a.text}" for a in self._weights.lora if a.text]

    @property
    def files(self) -> list[str]:
        """All files of the model."""
        return [str(f) for f in self._weights.header.files]

    @property
    def file_bytes(self) -> int:
        """Size of all files together, when they were loaded."""
        return sum(stamp[2] for stamp in self._weights.header.stamps)

    @property
    def sha256(self) -> str | None:
        """Of the files one after the other; remembered per file, as a large model takes seconds. None where it was not
        taken in time: the files are gone from the disk, or are others by now.
        """
        header = self._weights.header
        if self._sha256 is None and header.changed(same=True) is None:
            with contextlib.suppress(OSError):
                self._sha256 = cache.file_hash(header.files)
        return self._sha256

    @property
    def template_source(self) -> str:
        """The model's own chat template as Jinja text; "" where it has none."""
        return str(self._weights.header.get("tokenizer.chat_template") or "")

    def require_causal(self) -> None:
        """Raise ModelError for a diffusion model, which does not go on from left to right."""
        if self.diffusion:
            raise ModelError(
                f"{self.name} ({self.arch}) is a diffusion model, which fills masked positions in no order, not from left to right",
                "softllama run --policy diffusion, or --policy lrd for soft masks; softllama probe asks about mixtures",
            )
