"""How long it takes to read a header with a 256k vocabulary, and to list 50 models.

    python scripts/bench/bench_models.py [--vocabulary 262144] [--models 50] [--listed-vocabulary 131072] [--repeat 5]

Writes files of random weights with a real vocabulary's size into a temporary folder, whose headers are what counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np


def write(path: Path, n_vocab: int, name: str) -> None:
    """A llama with `n_vocab` tokens and as many merges, of one layer's norms and a tiny table."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_name(name)
    for key, value in {
        "context_length": 4096,
        "embedding_length": 32,
        "block_count": 1,
        "feed_forward_length": 32,
    }.items():
        w.add_uint32(f"llama.{key}", value)
    w.add_uint32("llama.attention.head_count", 1)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    w.add_tokenizer_model("gpt2")
    tokens = [f"token{i}" for i in range(n_vocab)]
    w.add_token_list(tokens)
    w.add_token_types([1] * n_vocab)
    w.add_token_merges([f"to{i} ken{i}" for i in range(n_vocab)])
    w.add_chat_template("{{ messages[0].content }}<think></think>")
    w.add_tensor("token_embd.weight", np.zeros((n_vocab, 32), dtype=np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def clock(command: list[str], environment: dict[str, str]) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Write the files, and time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=262_144)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--listed-vocabulary", type=int, default=131_072)
    parser.add_argument("--repeat", type=int, default=5)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large, many = Path(folder) / "large.gguf", Path(folder) / "many"
        many.mkdir()
        write(large, a.vocabulary, "large")
        write(many / "m0.gguf", a.listed_vocabulary, "m")
        for i in range(1, a.models):  # files of their own, as hard links would share one entry of the cache
            (many / f"m{i}.gguf").write_bytes((many / "m0.gguf").read_bytes())
        from softllama.llama import header

        times = []
        for _ in range(a.repeat):
            start = time.perf_counter()
            header.read(large)
            times.append(time.perf_counter() - start)
        show(f"a header with {a.vocabulary:,} tokens and merges", times)
        command = [sys.executable, "-m", "softllama", "models", "--json"]
        environment = {
            **os.environ,
            "SOFTLLAMA_MODELS": str(many),
            "HOME": folder,
            "SOFTLLAMA_CACHE": f"{folder}/cache",
        }
        first = []
        for _ in range(a.repeat):
            for f in (Path(folder) / "cache").glob("*"):
                f.unlink()
            first.append(clock(command, environment))
        show(f"softllama models, {a.models} files of {a.listed_vocabulary:,} tokens, for the first time", first)
        show("softllama models, again", [clock(command, environment) for _ in range(a.repeat)])
        complete = {
            **environment,
            "_SOFTLLAMA_COMPLETE": "bash_complete",
            "COMP_WORDS": "softllama run -m m1",
            "COMP_CWORD": "3",
        }
        show("completing a name", [clock([sys.executable, "-m", "softllama"], complete) for _ in range(a.repeat)])


def show(what: str, times: list[float]) -> None:
    """Median and range."""
    print(f"{what}: {1000 * statistics.median(times):.0f} ms ({1000 * min(times):.0f} to {1000 * max(times):.0f})")


if __name__ == "__main__":
    main()
