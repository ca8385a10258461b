"""The first load of a file, beside llama.cpp's own load of it and a later load of ours; each in a process of its own.

    python scripts/bench/bench_load.py -m model.gguf [--repeat 5] [--cold] [--threads N] [--json]

Seconds from the imports to the model, by the clock and of the processor (children included), in turns; medians and the range.
llama.cpp's own load is its model and a context of 256 positions. "first" forgets what is remembered of the file; "later" has
loaded it before. --cold drops the file from the page cache before each load (posix_fadvise); otherwise all of it is read once
before, so that it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CODE = """
import json, os, resource, sys, time
import softllama.api
from softllama.llama import bindings, devices
from softllama.llama.bindings import api
way, path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]) or devices.default_threads()
bindings.init()

def seconds():
    own, of = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, of.ru_utime + of.ru_stime

wall, before = time.perf_counter(), seconds()
if way == "llama.cpp":
    params = api.llama_model_default_params()
    if not devices.gpus():
        params.n_gpu_layers = 0
    if devices.amx():
        params.use_extra_bufts = False
    model = api.llama_model_load_from_file(os.fsencode(path), params)
    params = api.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 256, threads, threads
    assert api.llama_init_from_model(model, params)
else:
    model = softllama.api.load(path, n_threads=int(sys.argv[3]) or None, trial=None if way == "first" else False)
    assert (model.trial is not None) == (way == "first")
    model.session(256)
wall, after = time.perf_counter() - wall, seconds()
print(json.dumps({"wall": wall, "own": after[0] - before[0], "children": after[1] - before[1]}))
"""
WAYS = ("llama.cpp", "later", "first")


def page_cache(path: Path, *, drop: bool) -> None:
    """Drop a file from the page cache, or read all of it into it."""
    with path.open("rb", buffering=0) as f:
        if drop:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while f.read(1 << 24):
                pass


def load(way: str, path: Path, threads: int, cache: Path) -> dict[str, float]:
    """One load in a process of its own."""
    with tempfile.TemporaryDirectory() as empty:
        env = {**os.environ, "SOFTLLAMA_CACHE": empty if way == "first" else str(cache)}
        command = [sys.executable, "-c", CODE, way, str(path), str(threads)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as cache:
        load("later", a.model, a.threads, Path(cache))  # remembers the vocabulary and the calibration
        for _ in range(a.repeat):
            for way in WAYS:
                page_cache(a.model, drop=a.cold)
                results[way].append(load(way, a.model, a.threads, Path(cache)))
    rows = {}
    for way, rs in results.items():
        ratios = [r["wall"] / b["wall"] for r, b in zip(rs, results["llama.cpp"], strict=True)]
        rows[way] = {
            **{key: statistics.median(r[key] for r in rs) for key in rs[0]},
            "ratio": statistics.median(ratios),
            "least": min(ratios),
            "largest": max(ratios),
        }
    if a.json:
        print(
            json.dumps({"model": a.model.name, "bytes": a.model.stat().st_size, "cold": a.cold, "rows": rows}, indent=1)
        )
        return
    print(f"{a.model.name}, {a.model.stat().st_size / 1e9:.2f} GB, {'cold' if a.cold else 'warm'}")
    for way, row in rows.items():
        print(
            f"{way:10} {row['wall']:.2f} s, of the processor {row['own']:.2f} and {row['children']:.2f} in children; "
            f"{row['ratio']:.2f} of llama.cpp ({row['least']:.2f} to {row['largest']:.2f})"
        )


if __name__ == "__main__":
    main()
