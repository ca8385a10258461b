"""How much memory a training run takes, told before it starts. Knows a model's header and settings. Measures nothing."""

from __future__ import annotations

import math

from softllama.adapt.settings import Settings
from softllama.api import Model
from softllama.base.text import size
from softllama.llama import header, memory

LOADING = 12  # bytes for each weight: read as F32, checked against the file, and kept in bfloat16 beside it
VOCABULARY = 40  # bytes for each position and token of the vocabulary: logits, logarithms, targets and gradients
STATES = (
    32  # bytes for each position, layer, and number of a state or of the feed-forward layer, which the way back needs
)


def need(path: str, settings: Settings) -> int:
    """Bytes, an estimate."""
    h = header.read(path)
    n_weights = sum(math.prod(t.shape) for t in h.tensors.values())
    n_embd, n_vocab = h.tensors["token_embd.weight"].shape[:2] if "token_embd.weight" in h.tensors else (0, 0)
    layers, width = (_number(h.get("{arch}." + key)) for key in ("block_count", "feed_forward_length"))
    positions = settings.tokens // 2 + 64
    return LOADING * n_weights + positions * (VOCABULARY * n_vocab + STATES * layers * (n_embd + width))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def text(model: Model, settings: Settings) -> str:
    """A line that says it: "about 2.7 GB of memory are needed, 21 GB are free"."""
    needed, free = need(model.path, settings), memory.available()
    beside = "" if free is None else f", {size(free)} are free"
    less = "; a smaller --tokens needs less" if free is not None and needed > free else ""
    return f"about {size(needed)} of memory are needed{beside}{less}"
