"""Facts of a model file, from its header and without loading it: size, architecture, quantization, whether it can take
mixtures, whether it thinks. That it is damaged is a fact, too.

Knows headers, and keeps facts between runs. Does not know where files lie (caches.py) or how facts are shown (view.py).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from typing import Any

from softllama.base import cache
from softllama.errors import ModelError, SoftLlamaError
from softllama.hub import caches
from softllama.hub.local_model import LocalModel
from softllama.llama import architectures, bindings, gguf, header, thinking_tags
from softllama.llama.bindings import api

KIND = "header-4"  # of the cache's entries; counts up when the fields below change


@dataclass(frozen=True)
class Facts:
    """One model file.

    Attributes:
        files: All files of a split model.
        n_bytes: Of all files together.
        problem: Why it cannot be read; "" where nothing is wrong.
        refusal: Why it cannot take mixtures; "" where nothing is wrong.
        note: What is special about how it takes them.
        table: The type of its embedding table, (n_vocab, n_embd).
        thinking: The tags of a thinking block, if its chat template has some that are known; "" if not.
        thinking_note: What else the template or the vocabulary says about thinking.
        policy: The policy that it was trained with (softllama.policy), "" for most.
    """

    name: str
    source: str
    files: list[str]
    n_bytes: int
    problem: str = ""
    refusal: str = ""
    note: str = ""
    architecture: str = ""
    title: str = ""
    quantization: str = ""
    table: str = ""
    n_vocab: int = 0
    n_embd: int = 0
    n_layer: int = 0
    n_ctx: int = 0
    parameters: int = 0
    chat_template: bool = False
    thinking: str = ""
    thinking_note: str = ""
    policy: str = ""

    @property
    def takes_mixtures(self) -> bool:
        """Whether nothing in the header speaks against mixtures. Loading it measures the rest."""
        return not (self.problem or self.refusal)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**dataclasses.asdict(self), "takes_mixtures": self.takes_mixtures}


def listing() -> list[Facts]:
    """Return the facts of all models on this machine. They are kept, by path, size and time."""
    return describe_all(caches.all_models())


def describe_all(models: list[LocalModel]) -> list[Facts]:
    """Return the facts of each, with one write to the cache for all that are new."""
    known = cache.load_all(KIND)
    new: dict[str, dict[str, Any]] = {}
    facts = [_describe(f, known, new) for f in models]
    if new:
        cache.store_all(KIND, new)
    return facts


def describe(model: LocalModel, *, strict: bool = False) -> Facts:
    """Return the facts of one file, read now.

    Args:
        model: The file.
        strict: Raise ModelError for one that cannot be read.
    """
    if strict and not model.problem:
        header.read(model.path)
    return _describe(model, {}, {})


def _describe(model: LocalModel, known: dict[str, Any], new: dict[str, dict[str, Any]]) -> Facts:
    basic = Facts(model.name, model.source, [str(model.path)], _size(model.path), model.problem)
    if model.problem:
        return basic
    try:
        key = cache.file_key([model.path])
    except OSError as e:
        return dataclasses.replace(basic, problem=f"cannot be read: {e.strerror}")
    entry = known.get(key)
    if isinstance(entry, dict) and _still_there(entry):
        try:
            return dataclasses.replace(basic, **entry)
        except TypeError:
            pass  # not ours
    try:
        h = header.read(model.path)
    except SoftLlamaError as e:
        return dataclasses.replace(basic, problem=e.message.replace(f"{model.path} is ", "", 1))
    new[key] = read(h)
    return dataclasses.replace(basic, **new[key])


def read(h: header.Header) -> dict[str, Any]:
    """Return the fields of Facts that a header holds."""
    try:
        table, refusal = architectures.find_table(h), ""
    except ModelError as e:
        table, refusal = (
            None,
            e.message.replace(f"{h.path} ", "").replace(f"{h.path.name} ({h.arch}) cannot take mixtures: ", ""),
        )
    template = str(h.get("tokenizer.chat_template") or "")
    tags, note = _thinking(h, template)

    def number(key: str) -> int:
        value = h.get(f"{{arch}}.{key}", 0)
        return int(value) if isinstance(value, int) else 0

    return {
        "files": [str(f) for f in h.files],
        "n_bytes": sum(_size(f) for f in h.files),
        "refusal": refusal,
        "note": "" if refusal else _note(h),
        "architecture": h.arch,
        "title": str(h.get("general.name") or ""),
        "quantization": quantization(h),
        "table": bindings.table_type(table.ggml_type).name if table else "",
        "n_vocab": table.shape[1] if table else 0,
        "n_embd": table.shape[0] if table else number("embedding_length"),
        "n_layer": number("block_count"),
        "n_ctx": number("context_length"),
        "parameters": sum(_count(t.shape) for t in h.tensors.values()),
        "chat_template": bool(template),
        "thinking": tags,
        "thinking_note": note,
        "policy": str(h.get("softllama.policy") or ""),
    }


def _thinking(h: header.Header, template: str) -> tuple[str, str]:
    """The tags of the thinking block, and what is to be said about them."""
    found = thinking_tags.known(template, lambda texts: gguf.texts_in_vocabulary(h.path, texts))
    if found is not None and found[1]:
        return " ".join(found[0].pair), f"as {found[0].models}"
    if variable := thinking_tags.unknown(template):
        why = f"unknown: the chat template has {variable!r}, but no tags that softllama knows"
        return "", f"{why}; the vocabulary has {' '.join(found[0].pair)}" if found is not None else why
    if found is not None:
        return "", f"only the vocabulary has {' '.join(found[0].pair)}; --think on uses them"
    return "", ""


def _note(h: header.Header) -> str:
    if architectures.is_diffusion(h):
        return "in probes, and as a diffusion model by diffusion and lrd"
    why = architectures.no_batch(h)
    return f"by overlay, as {why}" if why else ""


def quantization(h: header.Header) -> str:
    """What the file calls itself (general.file_type), else the type that most of its weights have."""
    if (name := _file_types().get(h.get("general.file_type", -1))) is not None:
        return name
    sizes: Counter[int] = Counter()
    for t in h.tensors.values():
        sizes[t.ggml_type] += t.size
    for ggml_type, _ in sizes.most_common(1):
        try:
            return bindings.table_type(ggml_type).name.upper()
        except SoftLlamaError:
            return f"type {ggml_type}"
    return ""


@remember
def _file_types() -> dict[Any, str]:
    """enum llama_ftype, as this llama.cpp knows it: 15 -> "Q4_K_M"."""
    prefix = "LLAMA_FTYPE_"
    return {
        getattr(api, n): n.removeprefix(prefix).removeprefix("ALL_").removeprefix("MOSTLY_")
        for n in dir(api)
        if n.startswith(prefix)
    }


def _count(shape: tuple[int, ...]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _still_there(entry: dict[str, Any]) -> bool:
    """Are a split's other files as they were?"""
    files = entry.get("files")
    if not isinstance(files, list):
        return False
    return len(files) == 1 or sum(_size(Path(str(f))) for f in files) == entry.get("n_bytes")
