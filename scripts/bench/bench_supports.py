"""Mixing real supports: milliseconds of one thread's processor time, beside a copy of the same rows.

    python scripts/bench/bench_supports.py [--repeat 11] [--json]
    python scripts/bench/bench_supports.py --save model.gguf...          makes supports.npz anew

supports.npz holds which ids `full` fed at steps 8 and 24 of a story, at two epsilons: of SmolLM2-135M-Instruct (49,152 ids, a
table in Q8_0) and of Qwen2.5-Coder-0.5B-Instruct (151,936 ids, Q5_0), a bit for each id. Rows and weights are random, as speed
does not depend on them. The table is pushed out of the caches before each measurement.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `scripts` and `tests` are packages there

FILE = Path(__file__).with_name("supports.npz")
PROMPT = "Write a short story about a dog and a cat who cross a river."
EPSILONS, STEPS = ("1e-4", "1e-6"), (8, 24)
CACHES = 64 << 20  # bytes that push everything else out of the caches


def save(paths: list[str]) -> None:
    """Generate with `full`, and keep which ids were fed."""
    import softllama as sl

    kept = {}
    for path in paths:
        m = sl.load(path, n_threads=1)
        for epsilon in EPSILONS:
            r = m.generate(
                PROMPT,
                chat=True,
                policy=f"full:epsilon={epsilon}",
                where="everywhere",
                max_tokens=max(STEPS) + 1,
                keep="all",
            )
            for i in STEPS:
                fed = np.isin(np.arange(m.n_vocab), r.steps[i].mixture.ids)
                kept[f"{m.table.quantization} {m.n_embd} {m.n_vocab} {epsilon} {i}"] = np.packbits(fed)
        m.close()
    np.savez_compressed(FILE, **kept)


def measure(repeat: int) -> dict[str, dict[str, float]]:
    """For each support its share of the vocabulary, the median milliseconds of mixing and of copying its rows, and their spread."""
    import gguf

    from softllama.llama import bindings
    from softllama.vectors import kernels
    from tests.support import tiny

    r, found, cold = np.random.default_rng(0), {}, np.zeros(CACHES // 4, dtype=np.float32)
    for name, bits in np.load(FILE).items():
        kind, n_embd, n = name.split()[0], *map(int, name.split()[1:3])
        number = gguf.GGMLQuantizationType[kind]
        some = tiny.quantize(r.standard_normal((512, n_embd)).astype(np.float32), kind).view(np.uint8).reshape(512, -1)
        t, out = bindings.table_type(number.value), np.empty((1, n_embd), dtype=np.float32)
        rows = kernels.Rows(some[np.arange(n) % 512], n_embd, t.block, t.to_float, number.value)
        ids = np.flatnonzero(np.unpackbits(bits)[:n]).astype(np.int32)
        weights = r.dirichlet(np.ones(len(ids))).astype(np.float32)
        copy = np.empty((len(ids), rows.data.shape[1]), dtype=np.uint8)
        calls: dict[str, Callable[[], object]] = {
            "mixing": partial(kernels.mix, rows, (0, len(ids)), ids, weights, out),
            "copy": partial(np.take, rows.data, ids, axis=0, out=copy, mode="clip"),
        }
        times: dict[str, list[float]] = {what: [] for what in calls}
        for _ in range(repeat):
            for what, call in calls.items():
                cold += 1
                begin = time.thread_time()
                call()
                times[what].append(1000 * (time.thread_time() - begin))
        found[name] = {"ids": len(ids), "share": len(ids) / n, "MB": copy.nbytes / 1e6}
        for what, ms in times.items():
            found[name] |= {what: float(np.median(ms)), f"{what} least": min(ms), f"{what} most": max(ms)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", nargs="+", metavar="MODEL")
    a = parser.parse_args()
    if a.save:
        save(a.save)
        return
    found = measure(a.repeat)
    if a.json:
        print(json.dumps(found, indent=2))
        return
    print("table, width, ids, epsilon, step      fed  share     MB   mixing, ms            copy, ms")
    for name, f in found.items():
        mixing, copy = (f"{f[w]:5.2f} [{f[f'{w} least']:.2f}, {f[f'{w} most']:.2f}]" for w in ("mixing", "copy"))
        print(f"{name:31} {f['ids']:9,} {f['share']:6.0%} {f['MB']:6.1f}   {mixing:20}  {copy}")


if __name__ == "__main__":
    main()
