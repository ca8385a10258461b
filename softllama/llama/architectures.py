"""What a GGUF's header means for mixtures: why a model is refused, how rows reach it, which tensors must be there.

Knows architectures by name. Does not know a loaded model: engine/calibration.py measures whether feeding rows equals feeding
tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from softllama.errors import ModelError
from softllama.llama import bindings, gguf
from softllama.llama.header import Header, Tensor

_ENCODERS = {
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
    "llama-embed",
    "t5encoder",
}
_BESIDE = "it looks up a second, per-layer embedding by token id"
_ABORTS = "llama.cpp ends the process on embedding input for it"
# What the token id decides beside its embedding. The token with the largest weight in a mixture decides it.
_BY_ID = {
    "graniteswitch": "which adapter is active",
    "deepseek4": "the experts of the hash layers",
    "qwen4exp": "the n-grams that are looked up",
}
_DRAFT = {"eagle3", "dflash", "gemma4-assistant"}
_VOCODERS = {"wavtokenizer-dec", "pockettts"}
# What llama.cpp 0.3.36 does with a number that fits no tensor was measured for each architecture of tests/support. Most numbers it
# compares with the tensors and refuses by itself. These it dies of, or takes all memory for, where an architecture reads them.
_SIZES = ("attention.head_count", "attention.head_count_kv", "attention.key_length")  # but for:
_NO_ATTENTION = {"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
_SIZES_OF_SOME = {
    "attention.head_count_kv": {"rwkv6"},
    "attention.key_length_swa": {"cohere2", "gpt-oss", "laguna", "smallthinker"},
    "attention.value_length_swa": {"deepseek4", "exaone-moe", "gpt-oss", "laguna", "maple", "smallthinker"},
    "ssm.group_count": {"plamo2"},
    "ssm.inner_size": {"granitehybrid", "jamba", "qwen35", "qwen35moe", "qwen3next", "qwen4exp"},
    "wkv.head_size": {"arwkv7", "rwkv6", "rwkv6qwen2", "rwkv7"},
}
# Rotation is not read, or not by these: any number is harmless
_NO_ROTATION = {
    *_NO_ATTENTION, "bloom", "deepseek2-ocr", "dots3note", "gpt2", "jais", "jamba", "mpt", "nemotron_h", "nemotron_h_moe",
    "starcoder",
}  # fmt: skip
_MAY_NOT_TURN = {*_NO_ROTATION, "deepseek4", "glm5-next"}  # 0 is harmless
_LAYER_NORM = {  # and no RMS norm
    "bloom", "codeshell", "cohere2", "command-r", "dbrx", "falcon", "gpt2", "gptneox", "jais", "jais2", "mpt",
    "nemotron", "olmo", "orion", "phi2", "rwkv6", "rwkv7", "stablelm", "starcoder", "starcoder2",
}  # fmt: skip
_BOTH_NORMS = {"glm5-next"}
_NO_FLOATS = "ffn_gate_tid2eid"  # a table of expert numbers; every other tensor is multiplied with
ALIGNMENT = 32  # of tensors in memory, and so of the first in a file that is mapped
_DIFFUSION = {"dream", "llada", "llada-moe", "rnd1"}
# Measured in llama-cpp-python 0.3.36, and worked around in context.py:
ALONE = {"plamo2"}  # sequences beside each other in a batch get each other's numbers
NO_FLASH = {"plm"}  # llama.cpp aborts with flash attention
NO_HIDDEN = {"lfm2", "lfm2moe"}  # the logits change when hidden states are asked for


def refusal(h: Header) -> str | None:
    """Why a model with this header cannot take mixtures, as a clause; None if nothing speaks against it.

    Some of these would end the process inside llama.cpp, so they are never tried.
    """
    a = h.arch
    if a in _ENCODERS:
        return "it is an encoder, which has no next-token distribution"
    if a == "t5":
        return "it is an encoder-decoder, and softllama feeds decoders only"
    if a == "clip":
        return "it is an image or audio projector (mmproj), not a language model"
    if a in _DRAFT:
        return "it is a draft head, which works only beside its main model"
    if a in _VOCODERS:
        return "it turns codes into sound and has no vocabulary of text"
    return None


def no_batch(h: Header) -> str | None:
    """Why llama.cpp's embedding batch is not tried for this header, as a clause; None if it may be tried.

    Some would end the process. The others were measured to give other logits than the token, without an error.
    """
    a = h.arch
    if a in ("glm4", "glm4moe") and f"{a}.rope.dimension_sections" not in h.metadata:
        return _ABORTS
    if a == "graniteswitch":
        return _ABORTS
    if a == "gemma3n" or (a == "gemma4" and h.get("{arch}.embedding_length_per_layer_input", 0)):
        return _BESIDE
    if a == "cogvlm":
        return "it takes every embedding for an image"
    if a == "qwen4exp":
        return "it looks up n-grams of token ids"
    if a == "deepseek4" and h.get("{arch}.hash_layer_count", 0):
        return "its first layers choose their experts by token id"
    return None


def by_id(h: Header) -> str:
    """What the token id decides beside its embedding, as a noun; "" for nothing that is known."""
    if h.arch == "deepseek4" and not h.get("{arch}.hash_layer_count", 0):
        return ""
    return _BY_ID.get(h.arch, "")


def is_diffusion(h: Header) -> bool:
    """Does the model fill in masked positions, seeing what is before and behind them?"""
    return h.arch in _DIFFUSION


def per_layer(h: Header) -> Tensor | None:
    """The table of per-layer embeddings, (n_embd_per_layer * n_layer, n_vocab); None if tokens are not looked up in one."""
    t, table = h.tensors.get("per_layer_token_embd.weight"), h.tensors.get("token_embd.weight")
    width = per_layer_width(h)
    if t is None or table is None or width < 1:
        return None
    # qwen4exp has a table of this name whose rows are those of n-grams
    return t if t.shape[1] == table.shape[1] and t.shape[0] % width == 0 and t.shape[0] > width else None


def per_layer_width(h: Header) -> int:
    """Length of a per-layer embedding; 0 if there is none."""
    width = h.get("{arch}.embedding_length_per_layer_input", 256 if h.arch == "gemma3n" else 0)
    return width if isinstance(width, int) else 0


def damage(h: Header) -> str | None:
    """A number in the header at which llama.cpp is known to end the process or not to come to an end, as "key = value".

    None if there is none. A key that the architecture does not read is not looked at, nor is one that llama.cpp compares with
    the tensors by itself: such a file is tried in a child process (engine/first_load.py). Nor are arrays, a number for each layer.
    """

    def number(key: str, default: float) -> float:
        value = h.get(f"{{arch}}.{key}", default)
        return value if isinstance(value, int | float) else default

    bad = {**_wrong_sizes(h, number), **_wrong_experts(h, number), **_wrong_rotation(h, number)}
    rms, plain = (number(f"attention.layer_norm{x}_epsilon", 0) for x in ("_rms", ""))
    bad["attention.layer_norm_rms_epsilon"] = h.arch not in _LAYER_NORM and not rms >= 0
    bad["attention.layer_norm_epsilon"] = h.arch in _LAYER_NORM | _BOTH_NORMS and not plain >= 0
    if h.arch == "deepseek4":
        bad["hyper_connection.count"] = number("hyper_connection.count", 4) != 4
        bad["attention.indexer.key_length"] = number("attention.indexer.key_length", 64) % 64 != 0
        ratios = gguf.integers(h.path, f"{h.arch}.attention.compress_ratios")
        if ratios and not {4, 128} <= set(ratios):
            return f"{h.arch}.attention.compress_ratios = {str(ratios)[:60]}, without 4 or without 128"
    return next((f"{h.arch[:60]}.{key} = {h.get(f'{{arch}}.{key}')}" for key, wrong in bad.items() if wrong), None)


_Number = Callable[[str, float], float]


def _wrong_sizes(h: Header, number: _Number) -> dict[str, bool]:
    """Nothing is larger than what it describes: memory is set aside by these numbers, before anything is compared."""
    longest = max((max(t.shape) for t in h.tensors.values()), default=math.inf)
    layers = number("block_count", 1)
    keys = [] if h.arch in _NO_ATTENTION else [*_SIZES]
    if keys and h.get("{arch}.attention.key_length_mla") is None:
        keys.append("attention.value_length")  # which latent attention has in another key
    keys += [key for key, read_by in _SIZES_OF_SOME.items() if h.arch in read_by]
    return {
        "embedding_length": number("embedding_length", 0) > longest,
        **{key: number(key, 0) > longest for key in keys},
        "vocab_size": "tokenizer.ggml.tokens" not in h.metadata and number("vocab_size", 0) > longest,
        "block_count": not 1 <= layers <= 512,
        "nextn_predict_layers": number("nextn_predict_layers", 0) > layers,
    }


def _wrong_experts(h: Header, number: _Number) -> dict[str, bool]:
    """llama.cpp asserts these for every architecture, with experts or without."""
    experts, used, groups = (number(f"expert_{x}count", 0) for x in ("", "used_", "group_"))
    used_value = h.get("{arch}.expert_used_count", 0)  # an array in some models
    single = h.arch.startswith("hunyuan")  # llama.cpp itself forgets a single expert of these, and how many are used
    return {
        "expert_count": experts > 1024 or (experts > single and used_value == 0),
        "expert_used_count": used > experts and not (single and experts <= 1),
        "expert_group_count": groups > 0 and (groups >= experts or experts % groups != 0),
        "expert_group_used_count": groups > 1 and not 0 < number("expert_group_used_count", 0) < groups,
    }


def _wrong_rotation(h: Header, number: _Number) -> dict[str, bool]:
    """Half a pair cannot be turned, nor more than a head; where 0 is turned, llama.cpp does not come to an end."""
    if h.arch in _NO_ROTATION:
        return {}
    heads, rotary = number("attention.head_count", 0), number("rope.dimension_count", 0)
    head = number("attention.key_length", number("embedding_length", 0) // heads if heads > 0 else math.inf)
    nothing = h.get("{arch}.rope.dimension_count") == 0 and h.arch not in _MAY_NOT_TURN
    return {"rope.dimension_count": rotary % 2 != 0 or (heads > 0 and rotary > head) or nothing}


def find_table(h: Header) -> Tensor:
    """The token-embedding table of a model.

    Raises:
        ModelError: the file is not a language model, cannot take mixtures, or is damaged.
    """
    if h.kind == "adapter":
        raise ModelError(f"{h.path} is a LoRA adapter, not a model", "load its base model and add --lora FILE")
    if h.kind == "imatrix":
        raise ModelError(f"{h.path} is an importance matrix, not a model", "name the model that it was made for")
    if not h.arch:
        raise ModelError(f"{h.path} does not name its architecture", "fetch the file again")
    if (why := refusal(h)) is not None:
        hint = "name the model beside it" if h.arch in {"clip", *_DRAFT} else "name a model that continues text"
        raise ModelError(f"{h.path.name} ({h.arch}) cannot take mixtures: {why}", hint)
    if (wrong := damage(h)) is not None:
        raise ModelError(f"{h.path} is damaged: its header says {wrong}", "fetch the file again")
    names = ["token_embd.weight", *(["output.weight"] if h.arch == "codeshell" else [])]
    table = next((h.tensors[n] for n in names if n in h.tensors), None)
    if table is None:
        what = "a vocabulary without weights" if not h.tensors else "no token_embd.weight tensor"
        raise ModelError(f"{h.path} holds {what}", "name a complete model")
    t = bindings.table_type(table.ggml_type)
    check_tensors(h)
    n_embd, n_vocab = table.shape[:2]
    if (
        table.shape[2:] not in ((), (1, 1))
        or n_embd % t.block
        or table.size != n_embd // t.block * t.block_bytes * n_vocab
    ):
        raise ModelError(
            f"{h.path}: {table.name} has the shape {table.shape}, which does not fit its type {t.name}",
            "fetch the file again",
        )
    return table


def check_tensors(h: Header) -> None:
    """Check what llama.cpp would end the process for.

    Raises:
        ModelError: a tensor does not hold floats, or tensors begin at a wrong byte.
    """
    for t in h.tensors.values():
        if _NO_FLOATS not in t.name and not bindings.has_floats(t.ggml_type):
            raise ModelError(
                f"{h.path} is damaged: its tensor {t.name[:60]!r} does not hold floats", "fetch the file again"
            )
    for file in h.files:
        first = min((t.offset for t in h.tensors.values() if t.path == file), default=0)
        if first % ALIGNMENT:
            raise ModelError(
                f"{file} is damaged: its tensors begin at byte {first:,}, which is no multiple of {ALIGNMENT}",
                "fetch the file again",
            )
