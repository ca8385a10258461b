"""Tiny GGUF models of many more architectures than tiny.py spells out. Only their metadata is written down here: which
tensors a file needs, and in which shapes, llama.cpp itself says (llama_model_init_from_user makes a model from metadata
alone and names each tensor that it would read). So each file has all tensors that its architecture may have, the optional
ones too, with random values.

llama.cpp ends the process on metadata that it cannot use, so the files are written by a child process:

    python -m tests.support.tiny_more FOLDER [NAME...]    writes FOLDER/NAME.gguf; prints a line of JSON for each
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support import tiny

Keys = dict[str, Any]

N_EMBD, N_HEAD, N_HEAD_KV, N_FF, N_CTX = 64, 4, 2, 96, 256
HEAD = N_EMBD // N_HEAD
BASE: Keys = {
    "context_length": N_CTX, "embedding_length": N_EMBD, "feed_forward_length": N_FF,
    "attention.head_count": N_HEAD, "attention.head_count_kv": N_HEAD_KV,
    "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5,
}  # fmt: skip
MHA: Keys = {"attention.head_count_kv": N_HEAD}
MOE: Keys = {
    "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32, "expert_shared_count": 1,
    "expert_shared_feed_forward_length": 48, "expert_gating_func": 2, "leading_dense_block_count": 1,
    "expert_weights_scale": 1.5, "expert_weights_norm": True,
}  # fmt: skip
SSM: Keys = {
    "ssm.conv_kernel": 4, "ssm.state_size": 16, "ssm.inner_size": 2 * N_EMBD, "ssm.time_step_rank": 8, "ssm.group_count": 2
}  # fmt: skip
DELTA: Keys = {**SSM, "ssm.inner_size": 32, "ssm.time_step_rank": 2, "full_attention_interval": 2}
MLA: Keys = {  # a latent of 32 and a rotary part of 8; heads of 16 + 8
    "attention.head_count_kv": 1, "attention.q_lora_rank": 24, "attention.kv_lora_rank": 32,
    "attention.key_length": 40, "attention.value_length": 32, "attention.key_length_mla": 24,
    "attention.value_length_mla": 16, "rope.dimension_count": 8,
}  # fmt: skip
LATENT: Keys = {  # keys and values are made from the latent, and kept as for plain attention
    **MLA, **MHA, "attention.key_length": 24, "attention.value_length": 16, "attention.key_length_mla": None,
    "attention.value_length_mla": None,
}  # fmt: skip
KDA: Keys = {"kda.head_dim": 16, "kda.gate_lower_bound": -5.0, "ssm.conv_kernel": 4}
HYPER: Keys = {
    "hyper_connection.count": 4, "hyper_connection.sinkhorn_iterations": 2, "hyper_connection.epsilon": 1e-6
}  # fmt: skip
INDEXER: Keys = {"attention.indexer.head_count": 2, "attention.indexer.key_length": 64, "attention.indexer.top_k": 64}
WINDOW: Keys = {"attention.sliding_window": 8}
TURNS: Keys = {**WINDOW, "attention.sliding_window_pattern": [True, False]}
SECTIONS: Keys = {"rope.dimension_sections": [2, 3, 3, 0]}
SECOND: Keys = {"attention.head_count_kv": [0, N_HEAD_KV]}  # the first layer has a state, the second one attention
GEMMA4: Keys = {
    **TURNS, "attention.key_length_swa": HEAD, "attention.value_length_swa": HEAD, "attention.shared_kv_layers": 0,
    "rope.freq_base_swa": 1e4,
}  # fmt: skip
DS4: Keys = {
    **MOE, **HYPER, **INDEXER, **WINDOW, "attention.head_count_kv": 1, "attention.q_lora_rank": 24,
    "attention.key_length": 64, "attention.value_length": 64, "rope.dimension_count": 8, "expert_gating_func": 4,
    "attention.output_group_count": 2, "attention.output_lora_rank": 16, "attention.compress_ratios": [0, 0, 4, 128],
    "attention.compress_rope_freq_base": 1.6e5, "swiglu_clamp_exp": 10.0,
}  # fmt: skip
WKV: Keys = {
    "wkv.head_size": 64, "time_mix_extra_dim": 8, "time_decay_extra_dim": 8, "attention.decay_lora_rank": 8,
    "attention.iclr_lora_rank": 8, "attention.value_residual_mix_lora_rank": 8, "attention.gate_lora_rank": 8,
    "attention.head_count": 0, "attention.head_count_kv": 0,  # heads of less than 64 are read past their end
}  # fmt: skip
MASK: Keys = {"tokenizer.ggml.mask_token_id": 3}
SCALES: Keys = {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 2.0, "attention.scale": 0.3}


@dataclass(frozen=True)
class Recipe:
    """kv: keys below the architecture's name, over BASE (None leaves one out; a tuple is an array of 64 bits).

    without: a pattern of tensors to leave out, such as optional ones that exclude others.
    """

    kv: Mapping[str, Any] = field(default_factory=dict)
    n_layer: int = 2
    n_vocab: int = 0  # at least; filled up with words that say nothing
    tokenizer: str = "bpe"
    without: str = ""


def _(*groups: Keys, **options: Any) -> Recipe:
    return Recipe({k: v for g in groups for k, v in g.items()}, **options)


def arch_of(name: str) -> str:
    """A recipe is named by its architecture, and by what else it is after a plus."""
    return name.split("+")[0]


RECIPES: dict[str, Recipe] = {
    "afmoe": _(MOE, WINDOW),
    "apertus": _({f"xielu.{k}": [v] * 2 for k, v in (("alpha_n", 1.0), ("alpha_p", 1.0), ("beta", 0.5), ("eps", 1e-6))}),
    "arcee": _(),
    "arctic": _(MOE),
    "arwkv7": _(WKV, {"token_shift_count": 1}),
    "baichuan": _(MHA),
    "bailingmoe": _(MOE),
    "bailingmoe2": _(MOE),
    "bailingmoe3": _(MOE, MLA, KDA, {"attention.head_count_kv": [0, 1]}),
    "bailingmoe3+sections": _(MOE, MLA, KDA, {"attention.head_count_kv": [0, 1], "rope.dimension_sections": [1, 1, 2, 0]}),
    "bitnet": _(),
    "bloom": _(MHA),
    "chameleon": _(n_vocab=9000),
    "chatglm": _(),
    "codeshell": _(),
    "codeshell+tied": _(without="^token_embd"),
    "cogvlm": _(MHA),
    "cohere2": _(WINDOW, {"logit_scale": 0.5}),
    "cohere2moe": _(MOE, TURNS, {"logit_scale": 0.5}),
    "command-r": _({"logit_scale": 0.5}),
    "dbrx": _(MOE, {"attention.clamp_kqv": 8.0}),
    "deci": _(),
    "deepseek": _(MOE),
    "deepseek2": _(MOE, MLA),
    "deepseek2-ocr": _(MOE, MHA),
    "deepseek32": _(MOE, MLA, INDEXER),
    "dots1": _(MOE, MHA),
    "dots3note": _(
        MOE, MLA, INDEXER, TURNS,
        {"attention.key_length_mla_swa": 24, "attention.value_length_mla_swa": 16, "attention.kv_lora_rank_swa": 32,
         "attention.key_length_swa": 40, "attention.value_length_swa": 32, "rope.freq_base_swa": 1e4,
         "rope.dimension_count_swa": 8, "attention.indexer.types": [0, 1]},
    ),
    "deepseek2+lite": _(MOE, MLA, {"attention.q_lora_rank": 0}),
    "deepseek2+nextn": _(MOE, MLA, {"nextn_predict_layers": 1}, n_layer=3),
    "deepseek4": _(DS4, {"hash_layer_count": 0}, n_layer=4, without="exp_probs_b_vl"),
    "deepseek4+hashed": _(DS4, {"hash_layer_count": 2}, n_layer=4, without="exp_probs_b_vl"),
    "deepseek4+vision": _(DS4, {"hash_layer_count": 0}, n_layer=4),
    "dream": _(MASK),
    "ernie4_5": _(),
    "ernie4_5-moe": _(MOE, {"interleave_moe_layer_step": 1}),
    "exaone": _(),
    "exaone4": _(WINDOW),
    "exaone-moe": _(MOE, WINDOW),
    "falcon": _(),
    "falcon-h1": _(SSM),
    "gemma": _(),
    "gemma2": _(WINDOW),
    "gemma3": _(WINDOW),
    "gemma3+full": _(),
    "gemma3n": _(WINDOW, n_layer=22),
    "gemma4": _(GEMMA4, {"embedding_length_per_layer_input": 0}),
    "gemma4+per-layer": _(GEMMA4, {"embedding_length_per_layer_input": 16}),
    "glm4": _(),
    "glm4+sections": _(SECTIONS),
    "glm4moe": _(MOE),
    "glm4moe+sections": _(MOE, SECTIONS),
    "glm4moe+nextn": _(MOE, SECTIONS, {"nextn_predict_layers": 1}, n_layer=3),
    "glm-dsa": _(MOE, MLA, INDEXER),
    "glm5-next": _(MOE, MLA, KDA, INDEXER, {
        **HYPER, "attention.head_count_kv": [0, 1], "attention.indexer.kpool": 4, "attention.key_length": 32,
        "rope.dimension_count": 0}),
    "gpt2": _(MHA),
    "gptneox": _(MHA, {"use_parallel_residual": True}),
    "gptneox+serial": _(MHA, {"use_parallel_residual": False}),
    "granite": _(SCALES),
    "granite+deepstack": _(SCALES, {"deepstack_mapping": [0, 1]}),
    "granite_swa+deepstack": _(TURNS, SCALES, {"deepstack_mapping": [0, 1]}),
    "graniteswitch": _(SCALES, {
        "adapters.count": 1, "adapters.lora_rank": 4, "adapters.token_ids_activate": [20],
        "adapters.token_ids_substitute": [21]}),
    "granitehybrid": _(SSM, SECOND, SCALES),
    "granitemoe": _(MOE, SCALES),
    "granite_swa": _(TURNS, SCALES),
    "grok": _(MOE, {"embedding_scale": 7.0}),
    "grovemoe": _(MOE, {"experts_per_group": 2, "expert_group_scale": 0.5, "expert_chunk_feed_forward_length": 16}),
    "gpt-oss": _(MOE, WINDOW),
    "hrm_text": _({"hrm.layers_per_stack": 1, "hrm.h_cycles": 2, "hrm.l_cycles": 2, "embedding_scale": 8.0}, n_layer=6),
    "hunyuan-dense": _(),
    "hunyuan-moe": _(MOE),
    "hunyuan_vl": _(SECTIONS),
    "hy_v3": _(MOE),
    "hy_v4": _(MOE, MLA, INDEXER, HYPER, {"hyper_connection.magnitude": 2.0, "attention.indexer.types": [1, 0]}),
    "internlm2": _(),
    "jais": _(MHA, {"attention.max_alibi_bias": 8.0}),
    "jais2": _(),
    "jamba": _(SSM, SECOND, {k: MOE[k] for k in ("expert_count", "expert_used_count")}),
    "kimi-k3": _(MOE, MLA, KDA, {"attention.head_count_kv": [0, 1], "attn_res.block_size": 12,
                                 "activation.situ_beta": 4.0, "activation.situ_linear_beta": 25.0}),
    "kimi-linear": _(MOE, MLA, KDA, {"attention.head_count_kv": [0, 1]}),
    "laguna": _(MOE, WINDOW),
    "lfm2": _({"shortconv.l_cache": 3}, SECOND),
    "lfm2moe": _(MOE, {"shortconv.l_cache": 3}, SECOND),
    "llada": _(MASK),
    "llada-moe": _(MOE, MASK),
    "llama": _(),
    "llama+experts": _(MOE),
    "llama+tied": _(without=r"^output\.weight"),
    "llama4": _(MOE, WINDOW, {"interleave_moe_layer_step": 2}, n_layer=4),
    "maincoder": _(),
    "mamba": _(SSM, {"attention.head_count": 0, "attention.head_count_kv": 0, "feed_forward_length": 0}),
    "mamba2": _(SSM, {"attention.head_count": 0, "attention.head_count_kv": 0, "feed_forward_length": 0}),
    "maple": _(MOE, TURNS, {"swiglu_clamp_exp": 7.0}),
    "mellum": _(MOE),
    "mimo2": _(MOE, TURNS),
    "minicpm": _(SCALES),
    "minicpm3": _(LATENT, {k: SCALES[k] for k in ("embedding_scale", "residual_scale")}),
    "minimax-01": _(MOE, {"residual_scale": 1.5, "full_attention_interval": 2}),
    "minimax-m2": _(MOE),
    "minimax-m3": _(MOE, INDEXER, {"attention.indexer.head_count": N_HEAD_KV, "attention.indexer.block_size": 4,
                                   "attention.indexer.local_blocks": 1}),
    "mistral3": _(),
    "mistral4": _(MOE, MLA),
    "mpt": _(MHA, {"attention.max_alibi_bias": 8.0}),
    "muse-glimmer": _(TURNS, {"logit_scale": 0.5}),
    "nanbeige": _(),
    "nemotron": _(),
    "nemotron_h": _(SSM, {"attention.head_count_kv": [0, N_HEAD_KV, 0], "feed_forward_length": [0, 0, N_FF]}, n_layer=3),
    "nemotron_h_moe": _(MOE, SSM, {"attention.head_count_kv": [0, N_HEAD_KV, 0], "feed_forward_length": [0, 0, N_FF]},
                        n_layer=3),
    "olmo": _(),
    "olmo2": _(),
    "olmoe": _(MOE, MHA),
    "openelm": _(),
    "orion": _(),
    "paddleocr": _(SECTIONS),
    "pangu-embedded": _(),
    "phi2": _(),
    "phi3": _(),
    "phimoe": _(MOE),
    "plamo": _(),
    "plamo2": _(SSM, SECOND, {"ssm.group_count": 0}),
    "plamo3": _(),
    "plm": _(LATENT),
    "qwen": _(MHA),
    "qwen2": _(),
    "qwen2moe": _(MOE),
    "qwen2vl": _(SECTIONS),
    "qwen3": _(),
    "qwen3moe": _(MOE),
    "qwen3next": _(MOE, DELTA),
    "qwen3vl": _(SECTIONS, {"n_deepstack_layers": 1}),
    "qwen3vlmoe": _(MOE, SECTIONS, {"n_deepstack_layers": 1}),
    "qwen35": _(DELTA, SECTIONS),
    "qwen35+nextn": _(
        DELTA, SECTIONS, {"nextn_predict_layers": 1, "attention.recurrent_layers": [True, False, False]}, n_layer=3),
    "qwen35moe": _(MOE, DELTA, SECTIONS),
    "qwen4exp": _(MOE, DELTA, SECTIONS, INDEXER, HYPER, {
        "attention.indexer.key_length": HEAD, "hyper_connection.low_rank": 8, "attention.compress_ratios": [4, 4],
        "embedding_length_per_layer_input": 16, "ple.layers": [0], "ple.ngram_size": 3, "ple.heads_per_ngram": 2,
        "ple.conv_kernel": 4, "ple.eos_token_id": 0, "ple.layer_multipliers": (1, 3, 5),
        "ple.head_offsets": (0, 50, 100, 150), "ple.head_vocab_sizes": (50, 50, 50, 50)}),
    "qwen3tts": _(SECTIONS, n_vocab=3072),
    "refact": _(MHA),
    "rnd1": _(MOE, MASK),
    "rwkv6": _(WKV),
    "rwkv6qwen2": _(WKV, {"token_shift_count": 1}, without=r"time_mix_first"),
    "rwkv7": _(WKV),
    "seed_oss": _(),
    "smallthinker": _(MOE, WINDOW),
    "smollm3": _(),
    "spark2_5": _(TURNS),
    "stablelm": _(),
    "starcoder": _(),
    "starcoder2": _(),
    "step35": _(MOE, TURNS),
    "t5": _({"attention.relative_buckets_count": 8}),
    "talkie": _({"logit_scale": 0.5}),
    "xverse": _(),
}  # fmt: skip

# The rest of what llama.cpp 0.3.36 knows: nothing of theirs could be fed, so a header has to do.
REFUSED = (
    "bert", "clip", "dflash", "eagle3", "eurobert", "gemma-embedding", "gemma4-assistant", "gptj", "jina-bert-v2",
    "jina-bert-v3", "llama-embed", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "pockettts", "t5encoder",
    "wavtokenizer-dec",
)  # fmt: skip


# ---- what llama.cpp wants ---------------------------------------------------------------------------------------------

Shapes = dict[str, tuple[int, ...]]  # in ggml's order: the first is the length of a row


class _Gguf(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def shapes(metadata: Path) -> Shapes:
    """The tensors that llama.cpp would read from a file with this metadata. Raises ValueError with its reason."""
    from softllama.llama.bindings import api, clear_log, last_error, lib

    visit = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    read = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p, _Gguf)(("gguf_init_from_file", lib))
    init = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, visit, ctypes.c_void_p, type(params))(
        ("llama_model_init_from_user", lib)
    )
    name_of = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("ggml_get_name", lib))
    count = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(("ggml_nelements", lib))
    found: Shapes = {}

    def note(tensor: int, _: object) -> None:
        ne = tuple((ctypes.c_int64 * 4).from_address(tensor + 16))  # struct ggml_tensor: type, buffer, ne
        assert int(np.prod(ne)) == count(tensor), "struct ggml_tensor has another layout"
        while len(ne) > 1 and ne[-1] == 1:
            ne = ne[:-1]
        found[name_of(tensor).decode()] = ne

    clear_log()
    pointer = init(read(str(metadata).encode(), _Gguf(True, None)), visit(note), None, params)
    if not pointer:
        raise ValueError(last_error())
    return found


def _values(name: str, shape: Sequence[int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random values that keep the size of what they are applied to, roughly."""
    x = rng.standard_normal(shape)
    if name.endswith("ssm_a"):
        x = -np.abs(x)  # a decay
    elif "norm" in name and name.endswith(".weight"):
        x = 1 + 0.1 * x
    elif name == "rope_freqs.weight" or "rope_factors" in name:
        x = 1 + np.abs(x)
    elif name == "token_embd.weight":
        x = 0.5 * x
    elif name == "position_embd.weight":
        x = 0.3 * x
    elif len(shape) > 1:
        x = x * shape[-1] ** -0.5
    else:
        x = 0.3 * x
    return x.astype(np.float32)


def metadata(name: str, recipe: Recipe) -> tuple[Keys, tiny.Vocab]:
    """All keys with their full names, and the vocabulary."""
    arch = arch_of(name)
    vocab = tiny.VOCABS[recipe.tokenizer]()
    extra = max(0, recipe.n_vocab - len(vocab.tokens))
    vocab.tokens += [f"<{i}>" for i in range(extra)]
    vocab.types += [tiny.NORMAL] * extra
    own = {**BASE, "block_count": recipe.n_layer, "vocab_size": len(vocab.tokens), **recipe.kv}
    plain = ("general.", "tokenizer.", "xielu.")
    kv = {k if k.startswith(plain) else f"{arch}.{k}": v for k, v in own.items() if v is not None}
    return {"general.name": "tiny", **kv}, vocab  # some names make llama.cpp look for tokens


def _start(path: Path, arch: str, kv: Keys, vocab: tiny.Vocab) -> gguf.GGUFWriter:
    w = gguf.GGUFWriter(path, arch)
    for key, value in kv.items():
        if isinstance(value, tuple):
            w.add_key_value(key, list(value), gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT64)
        else:
            tiny.add_value(w, key, value)
    tiny.add_vocab(w, vocab, kv)
    return w


def write(folder: Path, name: str) -> Path:
    """Write RECIPES[name] and return its path. Raises ValueError with llama.cpp's reason."""
    recipe = RECIPES[name]
    arch, path = arch_of(name), folder / f"{name}.gguf"
    kv, vocab = metadata(name, recipe)
    plain = {k: v for k, v in kv.items() if not k.endswith(".nextn_predict_layers")}
    tiny.finish(_start(path, arch, plain, vocab))  # llama.cpp makes no draft layers from metadata alone
    wanted = shapes(path)
    if plain != kv:
        last = f"blk.{recipe.n_layer - 1}.nextn."
        wanted |= {f"{last}{n}.weight": (N_EMBD,) for n in ("enorm", "hnorm", "shared_head_norm")}
        wanted[f"{last}eh_proj.weight"] = (2 * N_EMBD, N_EMBD)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    w = _start(path, arch, kv, vocab)
    for tensor, ne in sorted(wanted.items()):
        if re.search(recipe.without or r"^$", tensor) or tensor.endswith(("scale", ".scale")):
            continue  # .scale: of weights in NVFP4
        if "tid2eid" in tensor:  # the experts of each token
            w.add_tensor(tensor, rng.integers(0, MOE["expert_count"], ne[::-1], dtype=np.int32))
        else:
            w.add_tensor(tensor, _values(tensor, ne[::-1], rng))
    tiny.finish(w)
    return path


def main() -> None:
    """One line of JSON for each file, flushed, so that a crash shows which one it was."""
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or RECIPES:
        try:
            print(json.dumps({"name": name, "path": str(write(folder, name))}), flush=True)
        except ValueError as e:
            print(json.dumps({"name": name, "error": str(e)}), flush=True)


if __name__ == "__main__":
    main()
