"""A llama-architecture language model in PyTorch and its way into a GGUF file.

Knows the network, how to run it on token ids or on mixtures, and how to write it for llama.cpp. Does not know what it
is trained on: `train_words.py` and `train_sums.py` bring the data and the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Config:
    """Shape of a model. The head is tied to the embedding table; `d_model / n_heads` must be even."""

    n_vocab: int
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_ff: int = 352
    n_ctx: int = 256
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5


@dataclass(frozen=True)
class Vocab:
    """What llama.cpp needs of a byte-level BPE tokenizer. `types` holds gguf.TokenType values, one per token."""

    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    bos: int
    eos: int
    pad: int | None = None
    chat_template: str | None = None
    pre: str = "gpt-2"


class RMSNorm(nn.Module):
    def __init__(self, d: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # (..., d) -> (..., d)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary embedding on interleaved pairs, as llama.cpp's arch "llama" has it: no permutation on export.

    x: (B, H, T, hd) with position t at index t.
    """
    t, hd = x.shape[-2:]
    freq = theta ** (-torch.arange(0, hd, 2, device=x.device, dtype=torch.float32) / hd)  # (hd/2,)
    angle = torch.arange(t, device=x.device, dtype=torch.float32)[:, None] * freq  # (T, hd/2)
    turn = torch.polar(torch.ones_like(angle), angle)  # (T, hd/2) complex: a pair times e^(i angle) is the rotated pair
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))  # (B, H, T, hd/2)
    return torch.view_as_real(pairs * turn).flatten(-2)


class Block(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.attn_norm = RMSNorm(c.d_model, c.norm_eps)
        self.q = nn.Linear(c.d_model, c.d_model, bias=False)
        self.k = nn.Linear(c.d_model, c.d_model, bias=False)
        self.v = nn.Linear(c.d_model, c.d_model, bias=False)
        self.o = nn.Linear(c.d_model, c.d_model, bias=False)
        self.ffn_norm = RMSNorm(c.d_model, c.norm_eps)
        self.gate = nn.Linear(c.d_model, c.d_ff, bias=False)
        self.up = nn.Linear(c.d_model, c.d_ff, bias=False)
        self.down = nn.Linear(c.d_ff, c.d_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:  # (B, T, d) -> (B, T, d)
        n, t, d = x.shape
        h = self.attn_norm(x)
        q, k, v = (f(h).view(n, t, self.c.n_heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k = rotate(q, self.c.rope_theta), rotate(k, self.c.rope_theta)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        x = x + self.o(a.transpose(1, 2).reshape(n, t, d))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class TinyLlama(nn.Module):
    """Decoder with a tied head. Initialisation: N(0, 0.02), residual projections scaled by 1/sqrt(2 n_layers)."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.embed = nn.Embedding(c.n_vocab, c.d_model)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                scale = (2 * c.n_layers) ** -0.5 if name.endswith(("o.weight", "down.weight")) else 1.0
                nn.init.normal_(p, std=0.02 * scale)

    def forward(
        self, ids: Tensor | None = None, *, embeds: Tensor | None = None, mask: Tensor | None = None, last: int = 0
    ) -> Tensor:
        """Logits (B, T, V) of token ids (B, T), or of input vectors `embeds` (B, T, d), such as `mixture @ table`.

        `mask`, bool (B, 1, T, T), True where a position may look, replaces the causal mask: for several documents in
        a row. `last` > 0: only the logits of the last positions, (B, last, V).
        """
        x = self.embed(ids) if embeds is None else embeds
        for block in self.blocks:
            x = block(x, mask)
        logits: Tensor = F.linear(self.norm(x[:, -last:]), self.embed.weight)
        return logits


def write_gguf(
    model: TinyLlama,
    vocab: Vocab,
    path: Path,
    *,
    name: str,
    description: str,
    quantization: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the model for llama.cpp. Norms stay F32; matrices take `quantization` (row lengths must fit its block).

    `metadata`: further keys of the file, such as "softllama.policy".
    """
    c = model.c
    w = gguf.GGUFWriter(str(path), "llama")
    w.add_name(name)
    w.add_description(description)
    w.add_license("MIT")
    w.add_context_length(c.n_ctx)
    w.add_embedding_length(c.d_model)
    w.add_block_count(c.n_layers)
    w.add_feed_forward_length(c.d_ff)
    w.add_head_count(c.n_heads)
    w.add_head_count_kv(c.n_heads)
    w.add_rope_dimension_count(c.d_model // c.n_heads)
    w.add_rope_freq_base(c.rope_theta)
    w.add_layer_norm_rms_eps(c.norm_eps)
    w.add_vocab_size(c.n_vocab)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(vocab.pre)
    w.add_token_list(list(vocab.tokens))
    w.add_token_types(list(vocab.types))
    w.add_token_merges(list(vocab.merges) or ["a b"])  # llama.cpp does not load an empty list
    w.add_bos_token_id(vocab.bos)
    w.add_eos_token_id(vocab.eos)
    if vocab.pad is not None:
        w.add_pad_token_id(vocab.pad)
    w.add_add_bos_token(True)
    if vocab.chat_template is not None:
        w.add_chat_template(vocab.chat_template)

    for key, value in (metadata or {}).items():
        w.add_string(key, value)

    def add(key: str, p: Tensor) -> None:
        data = p.detach().cpu().numpy().astype(np.float32)
        if p.ndim == 1 or quantization == gguf.GGMLQuantizationType.F32:
            w.add_tensor(key, data)
        else:
            w.add_tensor(key, gguf.quants.quantize(data, quantization), raw_dtype=quantization)

    add("token_embd.weight", model.embed.weight)
    add("output_norm.weight", model.norm.weight)
    for i, b in enumerate(model.blocks):
        assert isinstance(b, Block)
        for key, module in (
            ("attn_norm", b.attn_norm),
            ("attn_q", b.q),
            ("attn_k", b.k),
            ("attn_v", b.v),
            ("attn_output", b.o),
            ("ffn_norm", b.ffn_norm),
            ("ffn_gate", b.gate),
            ("ffn_up", b.up),
            ("ffn_down", b.down),
        ):
            add(f"blk.{i}.{key}.weight", module.weight)
    if quantization == gguf.GGMLQuantizationType.F32:
        w.add_file_type(gguf.LlamaFileType.ALL_F32)
    elif quantization == gguf.GGMLQuantizationType.Q8_0:
        w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
