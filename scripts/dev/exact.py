"""llama.cpp against PyTorch, with the same F32 weights: how far apart are the logits?

Knows how to read a GGUF file back into `tiny_llama`'s network and how to make llama.cpp keep F32 throughout: KV cache
in F32 and no flash attention, whose defaults alone move logits by 3e-3. Does not know what the models are for. It
uses llama_cpp itself, since softllama keeps llama.cpp's defaults here.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import llama_cpp.llama_cpp as api
import numpy as np
import torch
from numpy.typing import NDArray

from scripts.dev.tiny_llama import Block, Config, TinyLlama, Vocab, write_gguf

Floats = NDArray[np.float32]
_quiet = api.llama_log_callback(lambda *_: None)  # kept: llama.cpp holds only a pointer to it


def read(path: Path) -> TinyLlama:
    """The network of a GGUF file that `write_gguf` wrote, its weights dequantized to F32."""
    reader = gguf.GGUFReader(path)

    def number(key: str) -> float:
        return float(reader.fields[f"llama.{key}"].parts[-1][0])

    tensors = {
        t.name: torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32))
        for t in reader.tensors
    }
    n_vocab, d_model = tensors["token_embd.weight"].shape
    model = TinyLlama(
        Config(
            n_vocab=n_vocab,
            d_model=d_model,
            n_layers=int(number("block_count")),
            n_heads=int(number("attention.head_count")),
            d_ff=int(number("feed_forward_length")),
            n_ctx=int(number("context_length")),
            rope_theta=number("rope.freq_base"),
            norm_eps=number("attention.layer_norm_rms_epsilon"),
        )
    )
    with torch.no_grad():
        model.embed.weight.copy_(tensors["token_embd.weight"])
        model.norm.weight.copy_(tensors["output_norm.weight"])
        for i, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            for key, module in (
                ("attn_norm", block.attn_norm), ("attn_q", block.q), ("attn_k", block.k), ("attn_v", block.v),
                ("attn_output", block.o), ("ffn_norm", block.ffn_norm), ("ffn_gate", block.gate), ("ffn_up", block.up),
                ("ffn_down", block.down),
            ):  # fmt: skip
                module.weight.copy_(tensors[f"blk.{i}.{key}.weight"])
    return model.eval()


def llama_logits(path: Path, texts: Floats) -> Floats:
    """llama.cpp's logits (n, T, V) for input rows texts (n, T, d), F32 throughout."""
    n, t, d = texts.shape
    api.llama_log_set(_quiet, None)
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    weights = api.llama_model_load_from_file(str(path).encode(), params)
    settings = api.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = t
    settings.n_seq_max, settings.n_threads, settings.n_threads_batch = 1, 1, 1
    settings.type_k = settings.type_v = int(gguf.GGMLQuantizationType.F32)
    settings.flash_attn_type = 0
    if hasattr(settings, "n_outputs_max"):
        settings.n_outputs_max = t
    context = api.llama_init_from_model(weights, settings)
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(weights))
    batch = api.llama_batch_init(t, d, 1)
    out = np.empty((n, t, n_vocab), dtype=np.float32)
    for i, text in enumerate(np.ascontiguousarray(texts, dtype=np.float32)):
        api.llama_memory_clear(api.llama_get_memory(context), True)
        batch.n_tokens = t
        ctypes.memmove(batch.embd, text.ctypes.data, text.nbytes)
        for j in range(t):
            batch.pos[j], batch.n_seq_id[j], batch.seq_id[j][0], batch.logits[j] = j, 1, 0, 1
        if api.llama_decode(context, batch):
            raise RuntimeError(f"llama.cpp could not evaluate text {i} of {path}")
        for j in range(t):
            out[i, j] = np.ctypeslib.as_array(api.llama_get_logits_ith(context, j), shape=(n_vocab,))
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(weights)
    return out


def furthest(model: TinyLlama, vocab: Vocab, texts: Floats) -> float:
    """Largest absolute difference of a logit between llama.cpp and PyTorch, over input rows texts (n, T, d)."""
    with TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "f32.gguf"
        write_gguf(model, vocab, path, name="f32", description="for comparison")
        theirs = llama_logits(path, texts)
        ours = model(embeds=torch.from_numpy(texts)).numpy()  # (n, T, V)
    return float(np.abs(theirs - ours).max())
