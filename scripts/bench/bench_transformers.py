"""Soft thinking in a plain Hugging Face transformers loop, for comparison: random weights of a published shape.

    pip install ".[bench]"; python scripts/bench/bench_transformers.py qwen3-0.6b [--dtype float32] [--threads 2] [--n 10]

The loop is what one writes with public parts: softmax of the last logits, the n likeliest renormalised, their rows of the
embedding table weighted and summed, `inputs_embeds` with the KV cache. Nothing is fetched: the model is built from a
configuration of the same dimensions as `scripts/bench/shape_model.py` writes. Prints tokens per second, hard and soft,
interleaved, and the process's memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `scripts` and `tests` are packages there


def build(name: str, dtype: str) -> Any:
    """A model of the shape."""
    import torch
    import transformers

    from scripts.bench.shape_model import SHAPES

    s = SHAPES[name]
    common = {
        "num_hidden_layers": s.n_layer, "hidden_size": s.n_embd, "num_attention_heads": s.n_head,
        "num_key_value_heads": s.n_head_kv, "head_dim": s.head, "intermediate_size": s.n_ff, "vocab_size": s.n_vocab,
        "tie_word_embeddings": True, "max_position_embeddings": 32_768,
    }  # fmt: skip
    config = {
        "qwen3": transformers.Qwen3Config, "llama": transformers.LlamaConfig, "gemma3": transformers.Gemma3TextConfig,
    }[s.arch](**common)  # fmt: skip
    torch.manual_seed(0)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        return transformers.AutoModelForCausalLM.from_config(config).eval()
    finally:
        torch.set_default_dtype(previous)


def run(model: Any, steps: int, n: int, temperature: float) -> float:
    """Seconds a step; n = 0 feeds the likeliest token."""
    import torch

    table = model.get_input_embeddings().weight
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([[1, 2, 3, 4]]), use_cache=True)
        start = time.perf_counter()
        for _ in range(steps):
            z = out.logits[:, -1]
            if n:
                p = torch.softmax(z.float() / temperature, dim=-1)
                w, ids = p.topk(n, dim=-1)
                w = (w / w.sum(dim=-1, keepdim=True)).to(table.dtype)
                fed = {"inputs_embeds": (w.unsqueeze(-1) * table[ids]).sum(dim=1, keepdim=True)}
            else:
                fed = {"input_ids": z.argmax(dim=-1, keepdim=True)}
            out = model(**fed, past_key_values=out.past_key_values, use_cache=True)
        return (time.perf_counter() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=5)
    a = parser.parse_args()
    import torch

    torch.set_num_threads(a.threads)
    model = build(a.shape, a.dtype)
    times: dict[str, list[float]] = {"hard": [], "soft": []}
    for _ in range(a.repeat):
        times["hard"].append(run(model, a.steps, 0, a.temperature))
        times["soft"].append(run(model, a.steps, a.n, a.temperature))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    result = {
        "shape": a.shape, "dtype": a.dtype, "threads": a.threads, "torch": torch.__version__, "memory_mib": most >> 20,
        **{f"{k}_tokens_per_second": [round(1 / t, 2) for t in (statistics.median(v), max(v), min(v))] for k, v in times.items()},
    }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
