"""How llama.cpp is to run a model: its options for memory, batches and the loading of files, checked.

The names are llama.cpp's own. Knows which values there are and what they need of each other. Does not know a model.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, fields
from typing import Any, TypedDict

from softllama.base import arguments
from softllama.errors import UsageError
from softllama.llama import bindings
from softllama.llama.bindings import api, lib

FLASH = ("auto", "on", "off")
NUMA = ("distribute", "isolate", "numactl")
_TYPES = {  # ggml's number of each type that llama.cpp's own options have, and its bytes for a number
    "f32": (0, 4.0),
    "f16": (1, 2.0),
    "bf16": (30, 2.0),
    "q8_0": (8, 34 / 32),
    "q5_1": (7, 24 / 32),
    "q5_0": (6, 22 / 32),
    "q4_1": (3, 20 / 32),
    "q4_0": (2, 18 / 32),
    "iq4_nl": (20, 18 / 32),
}
CACHE_TYPES = tuple(_TYPES)
MOST_BATCH = 1 << 16  # positions; more would be a mistake, and their buffers gigabytes

GRAPH = ("cache_type_k", "cache_type_v", "flash_attn")  # that change a model's numbers

logger = logging.getLogger(__name__)


class RuntimeKeywords(TypedDict, total=False):
    """The fields of Runtime that users choose, as keywords of `load`."""

    cache_type_k: str
    cache_type_v: str
    flash_attn: str
    n_batch: int | None
    n_ubatch: int | None
    mmap: bool
    mlock: bool
    numa: str | None
    repack: bool


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Options of llama.cpp.

    Args:
        cache_type_k, cache_type_v: in which type the KV cache keeps keys and values: one of CACHE_TYPES.
        flash_attn: flash attention: "on", "off", or "auto" for llama.cpp's choice.
        n_batch: positions that go to llama.cpp at once; None for 512.
        n_ubatch: positions of them that it computes at once; None for all.
        mmap: whether the file is mapped into memory, and not read into it.
        mlock: whether the memory is kept from being swapped out.
        numa: a strategy for machines with several memory nodes, one of NUMA. It holds for the whole process.
        repack: whether weights may be put into another order for this processor, which takes a copy of them.

    Raises:
        UsageError: a value that there is not, or two that exclude each other.
    """

    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attn: str = "auto"
    n_batch: int | None = None
    n_ubatch: int | None = None
    mmap: bool = True
    mlock: bool = False
    numa: str | None = None
    repack: bool = True

    def __post_init__(self) -> None:
        for name in ("cache_type_k", "cache_type_v"):
            _one_of(name, getattr(self, name), CACHE_TYPES)
        _one_of("flash_attn", self.flash_attn, FLASH)
        if self.numa is not None:
            _one_of("numa", self.numa, NUMA)
        for name in ("mmap", "mlock", "repack"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} must be True or False, not {getattr(self, name)!r}")
        for name in ("n_batch", "n_ubatch"):
            n = arguments.integer_or_none(name, getattr(self, name))
            if n is not None and not 1 <= n <= MOST_BATCH:
                raise UsageError(f"{name} must be between 1 and {MOST_BATCH:,}, not {n:,}")
        if self.flash_attn == "off" and quantized(self.cache_type_v):
            raise UsageError(
                f"values of type {self.cache_type_v} need flash attention, which is off",
                "leave out --flash-attn off (flash_attn=), or quantize the keys alone with --cache-type-k (cache_type_k=)",
            )

    def chosen(self) -> dict[str, Any]:
        """What is not as llama.cpp has it by itself: for records, and as keywords."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default}

    @property
    def graph(self) -> dict[str, Any]:
        """Those chosen that change a model's numbers: results with others are no longer the same."""
        return {k: v for k, v in self.chosen().items() if k in GRAPH}

    @property
    def cell_bytes(self) -> tuple[float, float]:
        """Bytes that a key's number takes in the cache, and a value's."""
        return _TYPES[self.cache_type_k][1], _TYPES[self.cache_type_v][1]

    def set_model(self, params: Any) -> None:
        """Set llama.cpp's parameters of a model."""
        if hasattr(params, "load_mode"):  # newer versions have one field for both
            modes = {
                (True, False): api.LLAMA_LOAD_MODE_MMAP,
                (True, True): api.LLAMA_LOAD_MODE_MMAP_MLOCK,
                (False, False): api.LLAMA_LOAD_MODE_NONE,
                (False, True): api.LLAMA_LOAD_MODE_MLOCK,
            }
            if not self.mmap or self.mlock:
                params.load_mode = modes[self.mmap, self.mlock]
        else:
            params.use_mmap, params.use_mlock = self.mmap, self.mlock
        if not self.repack and hasattr(params, "use_extra_bufts"):
            params.use_extra_bufts = False

    def set_context(self, params: Any) -> None:
        """Set llama.cpp's parameters of a context."""
        if self.cache_type_k != "f16":
            params.type_k = _TYPES[self.cache_type_k][0]
        if self.cache_type_v != "f16":
            params.type_v = _TYPES[self.cache_type_v][0]
        if hasattr(params, "flash_attn_type"):
            if self.flash_attn != "auto":
                kind = "ENABLED" if self.flash_attn == "on" else "DISABLED"
                params.flash_attn_type = getattr(api, f"LLAMA_FLASH_ATTN_TYPE_{kind}")
        else:  # older versions have it off
            params.flash_attn = self.flash_attn == "on" or quantized(self.cache_type_v)

    def prepare(self) -> None:
        """Set the strategy for memory nodes, once in a process. Raises UsageError if it has another one."""
        global _numa
        if self.numa is None or self.numa == _numa:
            return
        if _numa is not None:
            raise UsageError(f"this process has numa={_numa!r} already, not {self.numa!r}", "use one for all models")
        bindings.init()
        lib.llama_numa_init(getattr(api, f"GGML_NUMA_STRATEGY_{self.numa.upper()}"))
        _numa = self.numa

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


_numa: str | None = None


def quantized(cache_type: str) -> bool:
    """Is a type of the cache one of blocks, which llama.cpp reads for values with flash attention only?"""
    return _TYPES[cache_type][1] < 2


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {value!r}", f"one of {', '.join(known)}")


def without_vocabulary(arch: str, n_vocab: int) -> Any | None:
    """What tells llama.cpp to leave a file's vocabulary where it is, which takes most of the time of a load: an array for the
    parameters of a model (kv_overrides). None where it cannot be told."""
    key, kind = f"{arch}.vocab_size".encode("utf-8", "replace"), getattr(api, "llama_model_kv_override", None)
    if kind is None or len(key) > 100:  # there is room for 128 bytes
        return None
    overrides = (kind * 3)()  # the last one is empty
    overrides[0].tag, overrides[0].key = api.LLAMA_KV_OVERRIDE_TYPE_STR, b"tokenizer.ggml.model"
    overrides[0].value.val_str = b"no_vocab"
    overrides[1].tag, overrides[1].key = api.LLAMA_KV_OVERRIDE_TYPE_INT, key
    overrides[1].value.val_i64 = n_vocab
    return overrides
