"""Tiny models of the architectures that llama.cpp's embedding batch cannot serve, and of diffusion models; see tiny.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.support import tiny
from tests.support.tiny import Arch, Shape, Tensors, attention_of, ffn_of, glm4_layers, n_rope, norms_of, transformer

EXPERTS, USED = 4, 2
STREAMS = 4  # of hyper-connections


def _moe(s: Shape, p: str, n_ff: int) -> Tensors:
    return {
        f"{p}ffn_gate_inp.weight": s.w(EXPERTS, s.n_embd), f"{p}ffn_gate_exps.weight": s.w(EXPERTS, n_ff, s.n_embd),
        f"{p}ffn_up_exps.weight": s.w(EXPERTS, n_ff, s.n_embd), f"{p}ffn_down_exps.weight": s.w(EXPERTS, s.n_embd, n_ff),
    }  # fmt: skip


def _shared_expert(s: Shape, p: str, n_ff: int) -> Tensors:
    return {
        f"{p}ffn_gate_shexp.weight": s.w(n_ff, s.n_embd), f"{p}ffn_up_shexp.weight": s.w(n_ff, s.n_embd),
        f"{p}ffn_down_shexp.weight": s.w(s.n_embd, n_ff),
    }  # fmt: skip


def _per_layer(s: Shape, p: str, width: int) -> Tensors:
    return {f"{p}inp_gate.weight": s.w(width, s.n_embd), f"{p}proj.weight": s.w(s.n_embd, width)} | norms_of(
        s, p, "post_norm"
    )


def _per_layer_tables(s: Shape, width: int) -> Tensors:
    return {
        "per_layer_token_embd.weight": s.w(s.n_vocab, width * s.n_layer, scale=0.5),
        "per_layer_model_proj.weight": s.w(width * s.n_layer, s.n_embd), "per_layer_proj_norm.weight": s.norm(width),
    }  # fmt: skip


def _gemma3n(s: Shape) -> Tensors:
    """llama.cpp takes 4 AltUp inputs, a LAuReL rank of 64 and 256 per-layer numbers for granted."""
    n_altup, rank, width = 4, 64, 256
    t = norms_of(s, "", "output_norm") | _per_layer_tables(s, width)
    t |= {f"altup_{n}.weight": s.w(n_altup - 1, s.n_embd, s.n_embd) for n in ("proj", "unembd_proj")}
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm", "altup_router_norm")
        t |= norms_of(s, p, "laurel_post_norm", "altup_correct_scale")
        t |= attention_of(s, p, qk_norm=True) | ffn_of(s, p) | _per_layer(s, p, width)
        t |= {
            f"{p}altup_correct_coef.weight": s.w(n_altup, n_altup), f"{p}laurel_l.weight": s.w(rank, s.n_embd),
            f"{p}altup_predict_coef.weight": s.w(n_altup * n_altup, n_altup), f"{p}laurel_r.weight": s.w(s.n_embd, rank),
            f"{p}altup_router.weight": s.w(n_altup, s.n_embd),
        }  # fmt: skip
    return t


def _gemma4(s: Shape, width: int = 0) -> Tensors:
    """Layer 0 with a sliding window, layer 1 without."""
    t = norms_of(s, "", "output_norm") | (_per_layer_tables(s, width) if width else {})
    t["rope_freqs.weight"] = s.norm(s.head // 2)
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")
        t |= attention_of(s, p, qk_norm=True) | ffn_of(s, p) | (_per_layer(s, p, width) if width else {})
    return t


def _cogvlm(s: Shape) -> Tensors:
    s.n_head_kv = s.n_head
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | ffn_of(s, p)
        t |= {f"{p}{v}attn_qkv.weight": s.w(3 * s.n_embd, s.n_embd) for v in ("", "vis_")}
        t |= {f"{p}{v}attn_output.weight": s.w(s.n_embd, s.n_embd) for v in ("", "vis_")}
        t |= {f"{p}vis_{n}.weight": s.w(s.n_ff, s.n_embd) for n in ("gate", "up")}
        t[f"{p}vis_down.weight"] = s.w(s.n_embd, s.n_ff)
    return t


def _glm4moe(s: Shape) -> Tensors:
    """Layer 0 is dense."""
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "post_attention_norm") | attention_of(s, p, bias=True, qk_norm=True)
        t |= (_moe(s, p, 32) | _shared_expert(s, p, 32) | {f"{p}exp_probs_b.bias": s.w(EXPERTS)}) if i else ffn_of(s, p)
    return t


ADAPTER_TOKENS, SUBSTITUTES, RANK = [50, 51], [7, 60], 4


def _graniteswitch(s: Shape) -> Tensors:
    """Two adapters beside the plain weights, whose own slot 0 is zero."""
    q, kv, slots = s.n_head * s.head, s.n_head_kv * s.head, len(ADAPTER_TOKENS) + 1
    sizes = {
        "attn_q": (s.n_embd, q), "attn_k": (s.n_embd, kv), "attn_v": (s.n_embd, kv), "attn_output": (q, s.n_embd),
        "ffn_gate": (s.n_embd, s.n_ff), "ffn_up": (s.n_embd, s.n_ff), "ffn_down": (s.n_ff, s.n_embd),
    }  # fmt: skip
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | ffn_of(s, p)
        t |= {f"{p}attn_qkv.weight": s.w(q + 2 * kv, s.n_embd), f"{p}attn_output.weight": s.w(s.n_embd, q)}
        for name, (n_in, n_out) in sizes.items():
            a, b = s.w(slots, RANK, n_in), s.w(slots, n_out, RANK)
            a[0] = b[0] = 0
            t |= {f"{p}{name}.lora_a": a, f"{p}{name}.lora_b": b}
    return t


RATIOS, INDEXER = (0, 0, 4, 128), 64  # positions that compressed attention puts into one, by layer


def _deepseek4(s: Shape, hashed: int = 1) -> Tensors:
    """Layer 0 has its experts chosen by token id. Layers 2 and 3 have compressed attention, of 4 and 128 positions."""
    s.n_head_kv, groups, o_rank, q_rank, n_ff = 1, 2, 16, 16, 32
    wide, mix = STREAMS * s.n_embd, (2 + STREAMS) * STREAMS
    t = norms_of(s, "", "output_norm")
    t |= {"output_hc_fn.weight": s.w(STREAMS, wide), "output_hc_base.weight": s.w(STREAMS)}
    t["output_hc_scale.weight"] = s.norm(1)
    t["output.weight"] = s.w(s.n_vocab, s.n_embd)
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | _moe(s, p, n_ff) | _shared_expert(s, p, n_ff)
        t |= {
            f"{p}attn_sinks.weight": s.w(s.n_head), f"{p}attn_q_a.weight": s.w(q_rank, s.n_embd),
            f"{p}attn_q_a_norm.weight": s.norm(q_rank), f"{p}attn_q_b.weight": s.w(s.n_head * s.head, q_rank),
            f"{p}attn_kv.weight": s.w(s.head, s.n_embd), f"{p}attn_kv_a_norm.weight": s.norm(s.head),
            f"{p}attn_output_a.weight": s.w(o_rank * groups, s.n_head * s.head // groups),
            f"{p}attn_output_b.weight": s.w(s.n_embd, groups * o_rank),
        }  # fmt: skip
        for x in ("attn", "ffn"):
            t |= {f"{p}hc_{x}_fn.weight": s.w(mix, wide), f"{p}hc_{x}_base.weight": s.w(mix)}
            t[f"{p}hc_{x}_scale.weight"] = s.norm(3)
        if ratio := RATIOS[i % 4]:
            cache = {"attn": s.head, "indexer": INDEXER} if ratio == 4 else {"attn": s.head}
            for x, n in cache.items():
                wide_n = n * (2 if ratio == 4 else 1)
                t |= {
                    f"{p}{x}_compressor_kv.weight": s.w(wide_n, s.n_embd), f"{p}{x}_compressor_ape.weight": s.w(ratio, wide_n),
                    f"{p}{x}_compressor_gate.weight": s.w(wide_n, s.n_embd), f"{p}{x}_compressor_norm.weight": s.norm(n),
                }  # fmt: skip
            if ratio == 4:
                t |= {
                    f"{p}indexer.proj.weight": s.w(2, s.n_embd),
                    f"{p}indexer.attn_q_b.weight": s.w(2 * INDEXER, q_rank),
                }
        if i < hashed:
            t[f"{p}ffn_gate_tid2eid.weight"] = np.array(  # type: ignore[assignment]
                [s.rng.choice(EXPERTS, USED, replace=False) for _ in range(s.n_vocab)], dtype=np.int32
            )
        else:
            t[f"{p}exp_probs_b.bias"] = s.w(EXPERTS)
    return t


NGRAM_HEADS, NGRAM_WIDTH = 4, 16


def _qwen4exp(s: Shape) -> Tensors:
    """Layer 0 is a gated delta net and reads n-grams of ids, layer 1 is attention with an indexer."""
    state, groups, rank, kernel, low = 16, 2, 2, 4, 8
    key, value, wide = state * groups, state * rank, STREAMS * s.n_embd
    t = {
        "output_hc_norm.weight": s.norm(wide), "output_hc_down.weight": s.w(low, wide), "output_hc_up.weight": s.w(wide, low),
        "per_layer_token_embd.weight": s.w(NGRAM_HEADS * s.n_vocab, NGRAM_WIDTH, scale=1.0),
    }  # fmt: skip
    for i in range(s.n_layer):
        p = f"blk.{i}."
        for x in ("attn", "ffn"):
            t |= {
                f"{p}hc_{x}_norm.weight": s.norm(wide), f"{p}hc_{x}_down.weight": s.w(low, wide),
                f"{p}hc_{x}_up.weight": s.w(wide, low), f"{p}hc_{x}_inject.weight": s.w(STREAMS, wide),
            }  # fmt: skip
        if i % 2:
            t |= attention_of(s, p, qk_norm=True, gate=2)
            t |= {
                f"{p}indexer.q_proj.weight": s.w(2 * s.head, s.n_embd), f"{p}indexer.k_proj.weight": s.w(s.head, s.n_embd),
                f"{p}indexer.q_norm.weight": s.norm(s.head), f"{p}indexer.k_norm.weight": s.norm(s.head),
            }  # fmt: skip
        else:
            t |= {
                f"{p}attn_qkv.weight": s.w(2 * key + value, s.n_embd), f"{p}attn_gate.weight": s.w(value, s.n_embd),
                f"{p}ssm_conv1d.weight": s.w(2 * key + value, kernel), f"{p}ssm_dt.bias": s.w(rank, scale=0.1),
                f"{p}ssm_a": -np.abs(s.w(rank, scale=1.0)), f"{p}ssm_beta.weight": s.w(rank, s.n_embd),
                f"{p}ssm_alpha.weight": s.w(rank, s.n_embd), f"{p}ssm_norm.weight": s.norm(state),
                f"{p}ssm_out.weight": s.w(s.n_embd, value),
            }  # fmt: skip
        if i == 0:
            t |= {
                f"{p}ple_key.weight": s.w(wide, s.n_embd), f"{p}ple_value.weight": s.w(s.n_embd, s.n_embd),
                f"{p}ple_conv1d.weight": s.w(wide, kernel), f"{p}ple_norm_conv.weight": s.norm(wide),
                f"{p}ple_norm_key.weight": s.norm(wide), f"{p}ple_norm_query.weight": s.norm(wide),
            }  # fmt: skip
        t |= _moe(s, p, 32) | _shared_expert(s, p, 32) | {f"{p}ffn_gate_inp_shexp.weight": s.w(s.n_embd)}
    return t


def _rnd1(s: Shape) -> Tensors:
    s.n_head_kv = s.n_head
    t = norms_of(s, "", "output_norm")
    for i in range(s.n_layer):
        p = f"blk.{i}."
        t |= norms_of(s, p, "attn_norm", "ffn_norm") | attention_of(s, p, qk_norm=True) | _moe(s, p, 32)
    return t


MOE = {"expert_count": EXPERTS, "expert_used_count": USED, "expert_feed_forward_length": 32, "expert_shared_count": 1}
GEMMA4 = {
    "attention.sliding_window": 8, "attention.sliding_window_pattern": lambda s: [True] + [False] * (s.n_layer - 1),
    "attention.key_length_swa": n_rope, "attention.value_length_swa": n_rope, "attention.key_length": n_rope,
    "attention.value_length": n_rope, "rope.freq_base_swa": 10000.0, "rope.dimension_count": n_rope,
    "rope.dimension_count_swa": n_rope, "final_logit_softcapping": 30.0,
}  # fmt: skip
DEEPSEEK4 = {
    **MOE, "attention.head_count_kv": 1, "attention.key_length": n_rope, "attention.value_length": n_rope,
    "rope.dimension_count": lambda s: s.head // 2, "attention.q_lora_rank": 16, "attention.sliding_window": 8,
    "expert_weights_scale": 1.0, "expert_weights_norm": True, "expert_gating_func": 4, "swiglu_clamp_exp": 10.0,
    "attention.indexer.head_count": 2, "attention.indexer.key_length": INDEXER, "attention.indexer.top_k": 1024,
    "attention.output_group_count": 2, "attention.output_lora_rank": 16, "hash_layer_count": 1,
    "attention.compress_rope_freq_base": 160000.0, "attention.compress_ratios": lambda s: [RATIOS[i % 4] for i in range(s.n_layer)],
    "hyper_connection.count": STREAMS, "hyper_connection.sinkhorn_iterations": 2, "hyper_connection.epsilon": 1e-6,
}  # fmt: skip
QWEN4EXP = {
    **MOE, **tiny.SSM35, "full_attention_interval": 2, "rope.dimension_sections": tiny.sections,
    "expert_shared_feed_forward_length": 32, "hyper_connection.count": STREAMS, "hyper_connection.low_rank": 8,
    "attention.indexer.head_count": 2, "attention.indexer.key_length": n_rope, "attention.indexer.top_k": 1024,
    "attention.compress_ratios": lambda s: [4] * s.n_layer, "attention.key_length": n_rope, "attention.value_length": n_rope,
    "ple.layers": [0], "ple.ngram_size": 3, "ple.heads_per_ngram": NGRAM_HEADS // 2, "ple.conv_kernel": 4,
    "ple.eos_token_id": 0, "embedding_length_per_layer_input": NGRAM_WIDTH,
    "ple.layer_multipliers": np.array([1, 3, 5], dtype=np.uint64),
    "ple.head_offsets": lambda s: np.arange(NGRAM_HEADS, dtype=np.uint64) * s.n_vocab,
    "ple.head_vocab_sizes": lambda s: np.full(NGRAM_HEADS, s.n_vocab, dtype=np.uint64),
}  # fmt: skip
SWITCH = {
    **tiny.SCALES, "attention.scale": 0.3, "rope.dimension_count": n_rope, "adapters.count": len(ADAPTER_TOKENS),
    "adapters.lora_rank": RANK, "adapters.router_gain": 20.0, "adapters.token_ids_activate": ADAPTER_TOKENS,
    "adapters.token_ids_substitute": SUBSTITUTES,
}  # fmt: skip

SPECIAL: dict[str, Arch] = {
    "gemma3n": Arch(_gemma3n, {"attention.sliding_window": 8, "final_logit_softcapping": 30.0}),
    "gemma4": Arch(_gemma4, {**GEMMA4, "embedding_length_per_layer_input": 0}, multiplier="sqrt"),
    "gemma4-e2b": Arch(lambda s: _gemma4(s, 16), {**GEMMA4, "embedding_length_per_layer_input": 16}, name="gemma4"),
    "cogvlm": Arch(_cogvlm, {"rope.dimension_count": n_rope}),
    "glm4": Arch(glm4_layers, {"rope.dimension_count": n_rope}),
    "glm4moe": Arch(_glm4moe, {**MOE, "rope.dimension_count": n_rope, "leading_dense_block_count": 1}),
    "graniteswitch": Arch(_graniteswitch, SWITCH, multiplier="embedding_scale"),
    "deepseek4": Arch(_deepseek4, DEEPSEEK4),
    "deepseek4-plain": Arch(lambda s: _deepseek4(s, 0), {**DEEPSEEK4, "hash_layer_count": 0}, name="deepseek4"),
    "qwen4exp": Arch(_qwen4exp, QWEN4EXP, recurrent=True),
    "dream": Arch(lambda s: transformer(s, bias=True)),
    "rnd1": Arch(_rnd1, {**MOE, "rope.dimension_count": n_rope}),
    "llada": Arch(transformer, {"rope.dimension_count": n_rope}),
}


def write(path: Path, name: str, **options: Any) -> Path:
    """Write one of SPECIAL; options as tiny.write_model's."""
    spec = SPECIAL[name]
    if name.startswith("deepseek4"):
        options = {"n_layer": 4, "n_embd": 256, **options}
    return tiny.write_model(path, spec.name or name, spec=spec, **options)
