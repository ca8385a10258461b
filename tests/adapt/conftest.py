"""A tiny Llama with an adapter, in PyTorch. All tests of this folder are skipped where PyTorch is not installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

for name in ("torch", "transformers", "peft"):
    pytest.importorskip(name, reason=f"{name} is not installed: pip install 'softllama[adapt]'")


@pytest.fixture(scope="session")
def base(write: Callable[..., Path]) -> Path:
    """A Llama with grouped queries, whose rows of queries and keys are in another order in the GGUF than in transformers."""
    return write("llama", n_layer=3)


@pytest.fixture
def load(base: Path) -> Callable[..., Any]:
    """load(rank=2, half=False, ...): the network of `base` with a new adapter."""

    def make(*, path: Path = base, rank: int = 4, layers: int | None = None, **options: Any) -> Any:
        from softllama.adapt import network

        shape = network.Shape(rank=rank, alpha=2.0 * rank, layers=layers)
        return network.load(path, shape, **{"half": False, "n_threads": 1, **options})

    return make
