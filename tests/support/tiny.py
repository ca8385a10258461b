"""Tiny GGUF models with random weights, written for the tests: many architectures, table types, tokenizers, and files
that must be refused. Shapes are in numpy's order, so a table is (n_vocab, n_embd). Seeded: the same call writes the same
bytes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

PLAIN_TYPES = ("F32", "F16", "BF16")
SMALL_BLOCKS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4", "NVFP4", "Q2_0")  # blocks of 32 or 64
LARGE_BLOCKS = (  # blocks of 256, or 128
    "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS",
    "TQ1_0", "TQ2_0", "Q1_0",
)  # fmt: skip
TABLE_TYPES = PLAIN_TYPES + SMALL_BLOCKS + LARGE_BLOCKS  # all that ggml can read
NO_TABLES = ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64")  # of which it can look up no rows
NEWER = {"NVFP4": 40, "Q1_0": 41, "Q2_0": 42}  # that the gguf package may not know yet

WORDS = ("dog", "cat", "ball", "bone", "the", "The", "says", "sees", "and", "woof", "meow", "a", "b")
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # gguf.TokenType
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)

Tensors = dict[str, NDArray[np.float32]]


# ---- tokenizers ------------------------------------------------------------------------------------------------------


@dataclass
class Vocab:
    """What goes into tokenizer.ggml.*; kv holds what is beside the lists."""

    model: str
    tokens: list[str]
    types: list[int]
    scores: list[float] = field(default_factory=list)
    merges: list[str] | None = None
    kv: dict[str, Any] = field(default_factory=dict)


def byte_chars() -> dict[int, str]:
    """GPT-2's spelling of the 256 bytes: printable ones are themselves, the others follow from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def bpe(drop: str = "") -> Vocab:
    """Byte-level BPE: 256 bytes without those in `drop`, words with and without a space before, four control tokens."""
    spelt = byte_chars()
    tokens = [spelt[b] for b in range(256) if chr(b) not in drop]
    merges: list[str] = []
    for word in [*(" " + w for w in WORDS), *WORDS]:
        units = [spelt[b] for b in word.encode()]
        for i in range(1, len(units)):
            left = "".join(units[:i])
            if left + units[i] not in tokens:
                tokens.append(left + units[i])
                merges.append(f"{left} {units[i]}")
    control = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
    n = len(tokens)
    kv = {"pre": "gpt-2", "bos_token_id": n, "eos_token_id": n + 1, "add_bos_token": True}
    return Vocab("gpt2", tokens + control, [NORMAL] * n + [CONTROL] * 4, merges=merges, kv=kv)


def overlapping() -> Vocab:
    """BPE with control tokens that begin and end inside others, so that what comes later decides which of them it is."""
    v = bpe()
    more = [
        "<|im_end|><|im_start|>",
        "s|><|im_end|>y",
        "x<|im_end|>y",
        "<|im_start|>dog",
        "dog<|im_end|>",
        "<|im",
        "|><|",
    ]
    v.tokens += more
    v.types += [CONTROL] * len(more)
    return v


def spm(*, with_bytes: bool = True, prefix: bool = True) -> Vocab:
    """SentencePiece BPE: letters, words (longer ones score higher), and byte tokens if asked for."""
    tokens, types = ["<unk>", "<s>", "</s>"], [UNKNOWN, CONTROL, CONTROL]
    if with_bytes:
        tokens += [f"<0x{b:02X}>" for b in range(256)]
        types += [BYTE] * 256
    pieces = ["▁", *dict.fromkeys(c for w in WORDS for c in w), ".", ","]
    for word in [*WORDS, *("▁" + w for w in WORDS)]:
        pieces += [word[:i] for i in range(2, len(word) + 1)]
    pieces = list(dict.fromkeys(pieces))
    scores = [0.0] * len(tokens) + [float(len(p)) for p in pieces]
    tokens += pieces
    types += [NORMAL] * len(pieces)
    kv = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, "add_space_prefix": prefix}
    return Vocab("llama", tokens, types, scores, kv=kv)


def unigram() -> Vocab:
    """T5's tokenizer: one log-probability a piece, an unknown token for the rest."""
    base = spm(with_bytes=False)
    kv = {**base.kv, "unknown_token_id": 0, "add_bos_token": False, "add_eos_token": False}
    return Vocab("t5", base.tokens, base.types, [s - 20 for s in base.scores], kv=kv)


def no_tokenizer() -> Vocab:
    """A model of ids only."""
    return Vocab("no_vocab", [], [])


VOCABS: dict[str, Callable[[], Vocab]] = {
    "bpe": bpe,
    "bpe-partial": lambda: bpe(drop="~\x00"),
    "bpe-overlap": overlapping,
    "spm": spm,
    "spm-noprefix": lambda: spm(prefix=False),
    "spm-nobytes": lambda: spm(with_bytes=False),
    "ugm": unigram,
    "none": no_tokenizer,
}
N_VOCAB_NONE = 64


# ---- architectures ---------------------------------------------------------------------------------------------------


class Shape:
    """Sizes, and a source of random weights."""

    def __init__(self, n_embd: int, n_vocab: int, n_layer: int, seed: int, n_head: int = 4, n_head_kv: int = 2) -> None:
        self.n_embd, self.n_vocab, self.n_layer = n_embd, n_vocab, n_layer
        self.n_head, self.n_head_kv = n_head, n_head_kv
        self.head, self.n_ff, self.n_ctx = n_embd // n_head, 96, 256
        self.rng = np.random.default_rng(seed)

    def w(self, *shape: int, scale: float | None = None) -> NDArray[np.float32]:
        """A weight matrix; keeps the size of what it is applied to, roughly."""
        scale = shape[-1] ** -0.5 if scale is None else scale
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def norm(self, n: int | None = None) -> NDArray[np.float32]:
        return (1 + 0.1 * self.rng.standard_normal(n or self.n_embd)).astype(np.float32)


def attention_of(s: Shape, p: str, *, bias: bool = False, qk_norm: bool = False, gate: int = 1) -> Tensors:
    q, kv = s.n_head * s.head, s.n_head_kv * s.head
    t = {
        f"{p}attn_q.weight": s.w(q * gate, s.n_embd), f"{p}attn_k.weight": s.w(kv, s.n_embd),
        f"{p}attn_v.weight": s.w(kv, s.n_embd), f"{p}attn_output.weight": s.w(s.n_embd, q),
    }  # fmt: skip
    if bias:
        t |= {f"{p}attn_{x}.bias": s.w(n, scale=0.1) for x, n in (("q", q), ("k", kv), ("v", kv))}
    if qk_norm:
        t |= {f"{p}attn_q_norm.weight": s.norm(s.head), f"{p}attn_k_norm.weight": s.norm(s.head)}
    return t


def ffn_of(s: Shape, p: str, up: int = 1, gate: bool = True) -> Tensors:
    t = {f"{p}ffn_up.weight": s.w(s.n_ff * up, s.n_embd), f"{p}ffn_down.weight": s.w(s.n_embd, s.n_ff)}
    return t | ({f"{p}ffn_gate.weight": s.w(s.n_ff, s.n_embd)} if gate else {})


def norms_of(s: Shape, p: str, *names: str) -> Tensors:
    return {f"{p}{n}.weight": s.norm() for n in names}


def transformer(s: Shape, *, post: bool = False, **attention: Any) -> Tensors:
    t: Tensors = {"output_norm.weight": s.norm()}
    names = ["attn_norm", "ffn_norm", *(["post_attention_norm", "post_ffw_norm"] if post else [])]
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, *names) | attention_of(s, p, **attention) | ffn_of(s, p)
    return t


def _gpt2(s: Shape) -> Tensors:
    s.n_head_kv = s.n_head
    t = {"position_embd.weight": s.w(s.n_ctx, s.n_embd, scale=0.3)} | norms_of(s, "", "output_norm")
    t["output_norm.bias"] = s.w(s.n_embd, scale=0.1)
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | ffn_of(s, p, gate=False)
        t |= {f"{p}attn_qkv.weight": s.w(3 * s.n_embd, s.n_embd), f"{p}attn_output.weight": s.w(s.n_embd, s.n_embd)}
        sizes = {"attn_norm": s.n_embd, "attn_qkv": 3 * s.n_embd, "attn_output": s.n_embd, "ffn_norm": s.n_embd}
        sizes |= {"ffn_up": s.n_ff, "ffn_down": s.n_embd}
        t |= {f"{p}{n}.bias": s.w(k, scale=0.1) for n, k in sizes.items()}
    return t


def _phi3(s: Shape) -> Tensors:
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | ffn_of(s, p, up=2, gate=False)
        t[f"{p}attn_qkv.weight"] = s.w((s.n_head + 2 * s.n_head_kv) * s.head, s.n_embd)
        t[f"{p}attn_output.weight"] = s.w(s.n_embd, s.n_embd)
    return t


def glm4_layers(s: Shape) -> Tensors:
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
        t |= attention_of(s, p) | ffn_of(s, p, up=2, gate=False)
    return t


def _mamba(s: Shape) -> Tensors:
    inner, state, rank, kernel = 2 * s.n_embd, 8, 4, 4
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm")
        t |= {
            f"{p}ssm_in.weight": s.w(2 * inner, s.n_embd), f"{p}ssm_conv1d.weight": s.w(inner, kernel),
            f"{p}ssm_conv1d.bias": s.w(inner, scale=0.1), f"{p}ssm_x.weight": s.w(rank + 2 * state, inner),
            f"{p}ssm_dt.weight": s.w(inner, rank), f"{p}ssm_dt.bias": s.w(inner, scale=0.1),
            f"{p}ssm_a": -np.abs(s.w(inner, state, scale=1.0)), f"{p}ssm_d": s.w(inner, scale=1.0),
            f"{p}ssm_out.weight": s.w(s.n_embd, inner),
        }  # fmt: skip
    return t


def _lfm2(s: Shape) -> Tensors:
    """Layer 0 is a short convolution, the others are attention."""
    t = norms_of(s, "", "token_embd_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | ffn_of(s, p)
        if i:
            t |= attention_of(s, p, qk_norm=True)
        else:
            t |= {
                f"{p}shortconv.conv.weight": s.w(s.n_embd, 3), f"{p}shortconv.in_proj.weight": s.w(3 * s.n_embd, s.n_embd),
                f"{p}shortconv.out_proj.weight": s.w(s.n_embd, s.n_embd),
            }  # fmt: skip
    return t


def _qwen35(s: Shape) -> Tensors:
    """Layer 0 is a gated delta net, layer 1 attention with an output gate; M-RoPE."""
    state, groups, rank, kernel = 16, 2, 2, 4
    key, value = state * groups, state * rank
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "post_attention_norm") | ffn_of(s, p)
        if i % 2:
            t |= attention_of(s, p, qk_norm=True, gate=2)
        else:
            t |= {
                f"{p}attn_qkv.weight": s.w(2 * key + value, s.n_embd), f"{p}attn_gate.weight": s.w(value, s.n_embd),
                f"{p}ssm_conv1d.weight": s.w(2 * key + value, kernel), f"{p}ssm_dt.bias": s.w(rank, scale=0.1),
                f"{p}ssm_a": -np.abs(s.w(rank, scale=1.0)), f"{p}ssm_beta.weight": s.w(rank, s.n_embd),
                f"{p}ssm_alpha.weight": s.w(rank, s.n_embd), f"{p}ssm_norm.weight": s.norm(state),
                f"{p}ssm_out.weight": s.w(s.n_embd, value),
            }  # fmt: skip
    return t


@dataclass(frozen=True)
class Arch:
    """tensors: all but the table and the head. kv: keys below the architecture's name; a callable is asked with the Shape."""

    tensors: Callable[[Shape], Tensors]
    kv: dict[str, Any] = field(default_factory=dict)
    recurrent: bool = False
    multiplier: str = "1"
    name: str = ""  # general.architecture, if it differs from the key in ARCHS


def sections(s: Shape) -> list[int]:
    half = s.head // 2
    return [half // 4, half // 4, half - 2 * (half // 4), 0]


def n_rope(s: Shape) -> int:
    return s.head


SSM = {"ssm.conv_kernel": 4, "ssm.state_size": 8, "ssm.time_step_rank": 4, "ssm.inner_size": lambda s: 2 * s.n_embd}
SSM35 = {**SSM, "ssm.state_size": 16, "ssm.time_step_rank": 2, "ssm.group_count": 2, "ssm.inner_size": 32}
SCALES = {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 2.0}
ARCHS: dict[str, Arch] = {
    "llama": Arch(transformer, {"rope.dimension_count": n_rope}),
    "qwen2": Arch(lambda s: transformer(s, bias=True)),
    "qwen3": Arch(lambda s: transformer(s, qk_norm=True)),
    "gemma2": Arch(
        lambda s: transformer(s, post=True), {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    ),
    "gemma3": Arch(
        lambda s: transformer(s, post=True, qk_norm=True), {"attention.sliding_window": 8}, multiplier="sqrt"
    ),
    "granite": Arch(transformer, {**SCALES, "attention.scale": 0.3, "rope.dimension_count": n_rope}),
    "minicpm": Arch(transformer, {**SCALES, "rope.dimension_count": n_rope}),
    "gpt2": Arch(_gpt2),
    "phi3": Arch(_phi3, {"rope.dimension_count": n_rope}),
    "glm4-vision": Arch(
        glm4_layers, {"rope.dimension_sections": sections, "rope.dimension_count": n_rope}, name="glm4"
    ),
    "qwen2vl": Arch(lambda s: transformer(s, bias=True), {"rope.dimension_sections": sections}),
    "qwen3vl": Arch(
        lambda s: transformer(s, qk_norm=True), {"rope.dimension_sections": sections, "n_deepstack_layers": 1}
    ),
    "mamba": Arch(_mamba, SSM, recurrent=True),
    "lfm2": Arch(
        _lfm2,
        {"shortconv.l_cache": 3, "attention.head_count_kv": lambda s: [0] + [s.n_head_kv] * (s.n_layer - 1)},
        recurrent=True,
    ),
    "qwen35": Arch(
        _qwen35, {"rope.dimension_sections": sections, **SSM35, "full_attention_interval": 2}, recurrent=True
    ),
}


# ---- files -----------------------------------------------------------------------------------------------------------


def type_of(name: str) -> Any:
    """The gguf package's member for a tensor type, or what can stand in for it."""
    if name in gguf.GGMLQuantizationType.__members__:
        return gguf.GGMLQuantizationType[name]
    from softllama.llama.bindings import table_type

    member = IntEnum("Newer", {name: NEWER[name]})[name]  # type: ignore[misc]
    t = table_type(member)
    gguf.GGML_QUANT_SIZES[member] = (t.block, t.block_bytes)
    return member


def quantize(values: NDArray[np.float32], ggml_type: str) -> NDArray[Any]:
    """(rows, n) float32 as ggml's own quantizer writes it: uint8 (rows, bytes), or the values themselves for F32.

    Zeros for types that are no table's.
    """
    if ggml_type == "F32":
        return values
    from softllama.llama.bindings import lib

    number = type_of(ggml_type)
    block, size = gguf.GGML_QUANT_SIZES[number]
    rows, n = values.shape
    out = np.zeros((rows, n // block * size), dtype=np.uint8)
    if ggml_type in NO_TABLES:
        return out
    if ggml_type.startswith(("IQ1", "IQ2")):
        return _any_blocks(ggml_type, out.reshape(-1, size)).reshape(out.shape)
    values = np.ascontiguousarray(values, dtype=np.float32)
    f = lib.ggml_quantize_chunk
    f.restype = ctypes.c_size_t
    f.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    assert f(number, values.ctypes.data, out.ctypes.data, 0, rows, n, None) == out.nbytes
    return out


def _any_blocks(ggml_type: str, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blocks of random bits (all are valid) with scales that give values about 1; ggml's quantizer takes 20 s to start."""
    rng = np.random.default_rng(len(blocks))
    blocks[:] = rng.integers(0, 256, blocks.shape, dtype=np.uint8)
    if ggml_type == "IQ1_M":  # the scale in F16 is spread over the highest four bits of the last four words
        blocks[:, -1] = blocks[:, -1] & 0x0F | 0x20
    else:
        scale = (0.06 if ggml_type == "IQ1_S" else 0.01) * rng.uniform(0.5, 1.5, len(blocks))
        blocks[:, :2] = scale.astype(np.float16)[:, None].view(np.uint8)
    return blocks


def add_value(w: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        w.add_bool(key, value)
    elif isinstance(value, int):
        (w.add_uint32 if value >= 0 else w.add_int32)(key, value)
    elif isinstance(value, float):
        w.add_float32(key, value)
    elif isinstance(value, str):
        w.add_string(key, value)
    elif isinstance(value, np.ndarray):  # of 64-bit numbers, which a list would not become
        w.add_key_value(key, value.tolist(), gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT64)
    else:
        w.add_array(key, value)


def add_vocab(w: gguf.GGUFWriter, v: Vocab, given: Collection[str] = ()) -> None:
    w.add_tokenizer_model(v.model)
    if not v.tokens:
        return
    w.add_token_list(v.tokens)
    w.add_token_types(v.types)
    if v.scores:
        w.add_token_scores(v.scores)
    if v.merges is not None:
        w.add_token_merges(v.merges)
    for key, value in v.kv.items():
        if f"tokenizer.ggml.{key}" not in given:
            add_value(w, f"tokenizer.ggml.{key}", value)


def _add_tensor(w: gguf.GGUFWriter, name: str, data: NDArray[Any], ggml_type: str = "F32") -> None:
    raw = None if data.dtype in (np.float32, np.int32) else type_of(ggml_type)
    w.add_tensor(name, data, raw_dtype=raw)


def write_model(
    path: Path,
    arch: str = "llama",
    *,
    table_type: str = "F32",
    tokenizer: str = "bpe",
    tied: bool = True,
    n_embd: int | None = None,
    n_layer: int = 2,
    n_ctx: int = 256,
    chat_template: str | None = None,
    extra: dict[str, Any] | None = None,
    drop: Sequence[str] = (),
    replace: Tensors | None = None,
    shards: int = 1,
    seed: int = 7,
    spec: Arch | None = None,
    n_vocab: int = N_VOCAB_NONE,
) -> Path:
    """Write a model and return its path: the first shard's if there are several.

    arch: a key of ARCHS, or the name of one that is refused, which gets llama's tensors. n_embd: 64, or 256 where the
    table type needs it. extra: metadata to add or replace ({arch}. stands for the architecture; None removes).
    drop, replace: tensors to leave out, or to write instead. spec: instead of the one in ARCHS. n_vocab: with the
    tokenizer "none", which names no tokens.
    """
    spec = spec or ARCHS.get(
        arch, Arch(glm4_layers if arch == "glm4" else transformer, {"rope.dimension_count": n_rope})
    )
    name = spec.name or arch
    vocab = VOCABS[tokenizer]()
    n_vocab = len(vocab.tokens) or n_vocab
    s = Shape(n_embd or (256 if table_type in (*LARGE_BLOCKS, "Q8_K") else 64), n_vocab, n_layer, seed)
    s.n_ctx = n_ctx
    table = s.w(n_vocab, s.n_embd, scale=0.5)
    tensors: Tensors = spec.tensors(s)
    if not tied:
        tensors["output.weight"] = s.w(n_vocab, s.n_embd)
    tensors |= replace or {}

    heads = not arch.startswith("mamba")
    kv: dict[str, Any] = {
        "general.name": "tiny", f"{name}.context_length": n_ctx, f"{name}.embedding_length": s.n_embd,
        f"{name}.block_count": n_layer, f"{name}.feed_forward_length": s.n_ff if heads else 0,
        f"{name}.attention.head_count": s.n_head if heads else 0, f"{name}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{name}.attention.layer_norm_epsilon": 1e-5, f"{name}.vocab_size": n_vocab,
    }  # fmt: skip
    if heads:
        kv[f"{name}.attention.head_count_kv"] = s.n_head_kv
    kv |= {f"{name}.{k}": v(s) if callable(v) else v for k, v in spec.kv.items()}
    if chat_template is not None:
        kv["tokenizer.chat_template"] = chat_template
    for key, value in (extra or {}).items():
        if key.removeprefix("tokenizer.ggml.") in vocab.kv:
            vocab.kv[key.removeprefix("tokenizer.ggml.")] = value
        else:
            kv[key.replace("{arch}", name)] = value

    data: list[tuple[str, NDArray[Any], str]] = [("token_embd.weight", quantize(table, table_type), table_type)]
    data += [(k, v, "F32") for k, v in tensors.items()]
    if replace and "token_embd.weight" in replace:
        data = data[1:]
    data = [d for d in data if d[0] not in drop]

    paths = [path]
    if shards > 1:
        paths = [path.with_name(f"{path.stem}-{i + 1:05d}-of-{shards:05d}.gguf") for i in range(shards)]
    for i, p in enumerate(paths):
        w = gguf.GGUFWriter(p, name)
        if i == 0:
            for key, value in kv.items():
                if value is not None:
                    add_value(w, key, value)
            add_vocab(w, vocab, kv)
        if shards > 1:
            w.add_uint16("split.no", i)
            w.add_uint16("split.count", shards)
            w.add_int32("split.tensors.count", len(data))
        for item in data[::-1][i::shards]:  # reversed, so that the table is not in the first shard
            _add_tensor(w, *item)
        finish(w)
    return paths[0]


def finish(w: gguf.GGUFWriter) -> None:
    """Write everything and close the file."""
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_adapter(
    path: Path,
    *,
    arch: str = "llama",
    tensor: str = "blk.0.attn_q.weight",
    shape: tuple[int, int] = (64, 64),
    rank: int = 4,
    alpha: float | None = None,
    dtype: str = "F32",
) -> Path:
    """A LoRA adapter on one tensor of the given (n_out, n_in); for the token embedding, of (n_embd, n_vocab)."""
    rng = np.random.default_rng(3)
    w = gguf.GGUFWriter(path, arch)
    w.add_string("general.type", "adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", float(rank) if alpha is None else alpha)
    a = rng.standard_normal((rank, shape[1])).astype(np.float32)
    b = rng.standard_normal((shape[0], rank)).astype(np.float32)
    if "token_embd" in tensor:  # whose rows are looked up
        a = np.ascontiguousarray(a.T)
    for name, values in (("a", a), ("b", b)):
        _add_tensor(w, f"{tensor}.lora_{name}", quantize(values, dtype), dtype)
    finish(w)
    return path


def write_mmproj(path: Path) -> Path:
    """An image projector: architecture clip."""
    w = gguf.GGUFWriter(path, "clip")
    w.add_string("general.type", "mmproj")
    w.add_bool("clip.has_vision_encoder", True)
    w.add_tensor("v.patch_embd.weight", np.zeros((4, 3, 2, 2), dtype=np.float32))
    finish(w)
    return path


def write_vocab_only(path: Path) -> Path:
    """A tokenizer without weights, as llama.cpp keeps them for its own tests."""
    w = gguf.GGUFWriter(path, "llama")
    sizes = {"context_length": 64, "embedding_length": 64, "block_count": 2, "feed_forward_length": 96}
    for key, value in sizes.items():
        w.add_uint32(f"llama.{key}", value)
    w.add_uint32("llama.attention.head_count", 4)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    add_vocab(w, spm())
    finish(w)
    return path
