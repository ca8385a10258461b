"""The arguments of `load`, checked. Knows no model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias

from softllama.base import arguments
from softllama.errors import UsageError

Lora: TypeAlias = "str | os.PathLike[str] | tuple[str, float] | Sequence[str | tuple[str, float]]"
"""An adapter's path, (path, scale), or several of them."""


def check_load(n_ctx: int | None, n_gpu_layers: int | None, n_threads: int | None, rpc: Sequence[str]) -> None:
    """Raise UsageError for what is not allowed."""
    arguments.integer_or_none("n_ctx", n_ctx)
    arguments.integer_or_none("n_threads", n_threads)
    arguments.integer_or_none("n_gpu_layers", n_gpu_layers)
    if isinstance(rpc, str) or not isinstance(rpc, Sequence) or any(not isinstance(w, str) for w in rpc):
        raise UsageError(f"rpc must be a list of workers, not {rpc!r}", 'rpc=["10.0.0.2:50052"]')
    if n_ctx is not None and not 1 <= n_ctx <= 2**30:
        raise UsageError(f"n_ctx must be between 1 and 2^30, not {n_ctx}")
    if n_threads is not None and not 1 <= n_threads <= 1024:
        raise UsageError(f"n_threads must be between 1 and 1024, not {n_threads}")


def adapters_of(lora: Lora | None) -> list[tuple[str, float]]:
    """Each adapter's path and scale. Raises UsageError for something else."""
    if lora is None:
        return []
    if not isinstance(lora, str | os.PathLike | Sequence):
        raise UsageError(f"an adapter is a path, or a path and its scale, not {lora!r}", 'lora=("adapter.gguf", 0.5)')
    if isinstance(lora, str | os.PathLike):
        return [(os.fspath(lora), 1.0)]
    if isinstance(lora, tuple) and len(lora) == 2 and isinstance(lora[1], int | float):
        return [(os.fspath(lora[0]), float(lora[1]))]
    return [pair for item in lora for pair in adapters_of(item)]
