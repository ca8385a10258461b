"""Write a GGUF of a published model's dimensions with random weights: for measuring speed without that model's file.

    python scripts/bench/shape_model.py qwen3-0.6b --out shape.gguf [--mix Q4_K_M] [--entropy 2] [--layers N]

Speed does not depend on the values of weights, nor on the texts of tokens, which are made up ("w17"). The final norm is
scaled so that the logits, which are normally distributed, have the stated entropy in nats: the support of a mixture then
has a size that means something. Layers are one random block of rows over and over; the embedding table, which is also the
output layer of these models, is random throughout.
"""

from __future__ import annotations

import argparse
import ctypes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from softllama.llama.bindings import lib

BLOCK = 64  # rows of a layer's matrix that are really random
SIGMA = 0.02  # of a weight


@dataclass(frozen=True)
class Shape:
    """Dimensions as the model's config.json gives them."""

    arch: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head: int
    n_ff: int
    n_vocab: int
    rope_base: float
    qk_norm: bool = False
    post_norm: bool = False
    window: int = 0


SHAPES = {
    "qwen3-0.6b": Shape("qwen3", 28, 1024, 16, 8, 128, 3072, 151_936, 1e6, qk_norm=True),
    "llama-3.2-1b": Shape("llama", 16, 2048, 32, 8, 64, 8192, 128_256, 5e5),
    "gemma-3-1b": Shape("gemma3", 26, 1152, 4, 1, 256, 6912, 262_144, 1e6, qk_norm=True, post_norm=True, window=512),
}


def more_bits(i: int, n: int) -> bool:
    """Layers whose attn_v and ffn_down are Q6_K in llama.cpp's Q4_K_M."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def kind_of(name: str, i: int, s: Shape, mix: str, n_in: int) -> str:
    """The type of a matrix, as llama-quantize would choose it; rows that 256 does not divide fall back as there."""
    if mix != "Q4_K_M":
        return mix
    kind = "Q6_K" if name == "token_embd" or (name in ("attn_v", "ffn_down") and more_bits(i, s.n_layer)) else "Q4_K"
    return kind if n_in % 256 == 0 else {"Q6_K": "Q8_0", "Q4_K": "Q5_0"}[kind]


def quantized(values: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """(rows, n) float32 as ggml's own quantizer writes them: (rows, bytes) uint8."""
    if kind in ("F32", "F16"):
        return np.ascontiguousarray(values, dtype=np.float32 if kind == "F32" else np.float16)
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    out = np.empty((len(values), values.shape[1] // block * size), dtype=np.uint8)
    f = lib.ggml_quantize_chunk
    f.restype = ctypes.c_size_t
    f.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    f(number.value, values.ctypes.data, out.ctypes.data, 0, *values.shape, None)
    return out


def random_rows(n: int, n_in: int, kind: str, seed: int) -> np.ndarray[Any, Any]:
    """n rows, all different, by two threads."""

    def part(start: int) -> np.ndarray[Any, Any]:
        r = np.random.default_rng([seed, start])
        return quantized(r.standard_normal((min(4096, n - start), n_in), dtype=np.float32) * np.float32(SIGMA), kind)

    with ThreadPoolExecutor(2) as pool:
        return np.concatenate(list(pool.map(part, range(0, n, 4096))))


def sigma_for(entropy: float, n: int) -> float:
    """The standard deviation of n normally distributed logits whose softmax has this entropy in nats, in the mean of 8."""
    z = np.random.default_rng(0).standard_normal((8, n))
    z -= z.max(axis=1, keepdims=True)
    low, high = 1e-3, 100.0
    for _ in range(20):
        middle = (low + high) / 2
        e = np.exp(middle * z)
        total = e.sum(axis=1)
        h = np.log(total) - (middle * z * e).sum(axis=1) / total
        low, high = (middle, high) if h.mean() > entropy else (low, middle)
    return low


def write(path: Path, shape: str, mix: str = "Q4_K_M", entropy: float = 2.0, layers: int | None = None) -> Path:
    """Write the model. layers: fewer than the shape has, for a quick look."""
    s = SHAPES[shape]
    n_layer = layers or s.n_layer
    w = gguf.GGUFWriter(path, s.arch)
    w.add_name(f"{shape} with random weights")
    w.add_block_count(n_layer)
    w.add_context_length(32_768)
    w.add_embedding_length(s.n_embd)
    w.add_feed_forward_length(s.n_ff)
    w.add_head_count(s.n_head)
    w.add_head_count_kv(s.n_head_kv)
    w.add_key_length(s.head)
    w.add_value_length(s.head)
    w.add_rope_freq_base(s.rope_base)
    w.add_rope_dimension_count(s.head)
    w.add_layer_norm_rms_eps(1e-6)
    if s.window:
        w.add_sliding_window(s.window)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    spelt = [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]
    w.add_token_list([*spelt, *(f"Ġw{i}" for i in range(256, s.n_vocab - 1)), "<|eos|>"])
    w.add_token_types([1] * (s.n_vocab - 1) + [3])
    w.add_token_merges(["a b"])
    w.add_eos_token_id(s.n_vocab - 1)

    def add(name: str, n_out: int, n_in: int, i: int = 0) -> None:
        kind = kind_of(name.rsplit(".", 1)[-1], i, s, mix, n_in)
        if name == "token_embd":
            data = random_rows(n_out, n_in, kind, 1)
        else:
            data = np.tile(random_rows(BLOCK, n_in, kind, i + 2), (n_out // BLOCK, 1))
        raw = None if kind in ("F32", "F16") else gguf.GGMLQuantizationType[kind]
        w.add_tensor(f"{name}.weight", data, raw_dtype=raw)

    def ones(name: str, n: int, value: float = 1.0) -> None:
        w.add_tensor(f"{name}.weight", np.full(n, value, dtype=np.float32))

    add("token_embd", s.n_vocab, s.n_embd)
    ones("output_norm", s.n_embd, sigma_for(entropy, s.n_vocab) / (SIGMA * s.n_embd**0.5))
    q, kv = s.n_head * s.head, s.n_head_kv * s.head
    for i in range(n_layer):
        p = f"blk.{i}."
        for name in ("attn_norm", "ffn_norm", *(("post_attention_norm", "post_ffw_norm") if s.post_norm else ())):
            ones(p + name, s.n_embd)
        if s.qk_norm:
            ones(p + "attn_q_norm", s.head)
            ones(p + "attn_k_norm", s.head)
        for name, n_out, n_in in (
            ("attn_q", q, s.n_embd), ("attn_k", kv, s.n_embd), ("attn_v", kv, s.n_embd), ("attn_output", s.n_embd, q),
            ("ffn_gate", s.n_ff, s.n_embd), ("ffn_up", s.n_ff, s.n_embd), ("ffn_down", s.n_embd, s.n_ff),
        ):  # fmt: skip
            add(p + name, n_out, n_in, i)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mix", default="Q4_K_M", help="Q4_K_M, or one type for all matrices, such as Q8_0 or F16")
    parser.add_argument("--entropy", type=float, default=2.0)
    parser.add_argument("--layers", type=int)
    a = parser.parse_args()
    print(write(a.out, a.shape, a.mix, a.entropy, a.layers))
