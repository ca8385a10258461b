"""Multiple choice by likelihood: `score_pairs` beside llama.cpp's own batches of the same positions, interleaved.

    python scripts/bench/bench_score.py MODEL.gguf [--items 1000] [--rounds 5]

Times are of the processor: with --n-threads 1, what else the machine does counts little.

llama.cpp's own way is that of its perplexity tool: as many items as a batch of 512 holds, the beginning that the four choices
have in common once, with the sequences of all four, and logits where they are scored. Its time is that of llama_decode alone.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import time
from collections.abc import Sequence

import llama_cpp as api
import numpy as np

import softllama as sl
from softllama.engine import score

WORDS = (
    "the",
    "a",
    "cat",
    "dog",
    "house",
    "river",
    "city",
    "of",
    "to",
    "in",
    "was",
    "and",
    "then",
    "saw",
    "took",
    "made",
    "large",
    "small",
    "red",
    "old",
    "new",
    "with",
    "from",
    "over",
)
Item = tuple[list[int], list[list[int]]]


def make_items(model: sl.Model, n: int, seed: int = 0) -> list[Item]:
    """n questions of 40 to 80 words with four choices of 1 to 6 words, as ids."""
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return "".join(" " + WORDS[i] for i in rng.integers(len(WORDS), size=rng.integers(low, high + 1)))

    return [
        (model.tokenize("Q:" + text(40, 80)), [model.tokenizer.tokenize(text(1, 6), lead=False) for _ in range(4)])
        for _ in range(n)
    ]


def shared(choices: Sequence[Sequence[int]]) -> int:
    """How many ids all choices begin with, the last of each left out, as it is not fed."""
    fed = [c[:-1] for c in choices]
    return next((i for i, x in enumerate(zip(*fed, strict=False)) if len(set(x)) > 1), min(map(len, fed)))


class Own:
    """llama.cpp's own batches, made before and timed alone."""

    def __init__(self, model: sl.Model, items: Sequence[Item], size: int = 512, *, exact: bool) -> None:
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = size
        params.n_seq_max, params.kv_unified, params.no_perf = 64, True, True
        if exact:
            params.type_k = params.type_v = api.GGML_TYPE_F32
            params.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.n_threads = params.n_threads_batch = model.n_threads
        self._ctx = api.llama_init_from_model(model._weights.model.handle.pointer, params)
        self._batches: list[tuple[api.llama_batch, int]] = []
        rows: list[tuple[int, int, list[int], bool]] = []
        seq = 0
        for prompt, choices in items:
            k = shared(choices)
            seqs = [*range(seq, seq + 4)]
            common = [*prompt, *choices[0][:k]]
            new = [(t, i, seqs, i >= len(prompt) - 1) for i, t in enumerate(common)]
            new += [
                (t, len(common) + i, [s], True)
                for s, c in zip(seqs, choices, strict=True)
                for i, t in enumerate(c[k:-1])
            ]
            if len(rows) + len(new) > size or seq + 4 > 64:
                self._add(rows)
                rows, seq = [], 0
                new = [(t, i, [s - seqs[0] for s in ss], w) for t, i, ss, w in new]
            rows += new
            seq += 4
        self._add(rows)

    def _add(self, rows: Sequence[tuple[int, int, list[int], bool]]) -> None:
        b = api.llama_batch_init(len(rows), 0, 4)
        b.n_tokens = len(rows)
        for i, (t, p, seqs, want) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = t, p, len(seqs), want
            for j, s in enumerate(seqs):
                b.seq_id[i][j] = s
        self._batches.append((b, len(rows)))

    @property
    def positions(self) -> int:
        return sum(n for _, n in self._batches)

    def run(self) -> float:
        start = time.process_time()
        for b, _ in self._batches:
            api.llama_memory_clear(api.llama_get_memory(self._ctx), True)
            assert api.llama_decode(self._ctx, b) == 0
            ctypes.c_float.from_address(ctypes.addressof(api.llama_get_logits_ith(self._ctx, b.n_tokens - 1).contents))
        return time.process_time() - start


def main() -> None:
    """Measure, and print medians and the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n-threads", type=int)
    parser.add_argument(
        "--fast", action="store_true", help="16-bit keys and values with flash attention, in score, too"
    )
    parser.add_argument(
        "--same", action="store_true", help="32-bit keys and values without it, in llama.cpp's batches, too"
    )
    options = parser.parse_args()
    model = sl.load(options.model, n_threads=options.n_threads)
    size = max(1, options.items // options.rounds)
    ours, theirs = [], []
    for r in range(options.rounds):
        items = make_items(model, size, r)
        own = Own(model, items, exact=options.same)
        pairs = [(p, c) for p, choices in items for c in choices]
        theirs.append(own.run())
        start = time.process_time()
        score.score_pairs(model, pairs, exact=not options.fast)
        ours.append(time.process_time() - start)
        print(
            f"{size} items, {own.positions} positions: {ours[-1]:.2f} s, llama.cpp {theirs[-1]:.2f} s, "
            f"ratio {ours[-1] / theirs[-1]:.3f}",
            flush=True,
        )
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{size * options.rounds} items: {sum(ours):.1f} s, llama.cpp {sum(theirs):.1f} s; ratio, median of "
          f"{options.rounds}: {statistics.median(ratios):.3f}; load {os.getloadavg()[0]:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
