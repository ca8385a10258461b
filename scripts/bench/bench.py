"""Measure softllama beside llama.cpp: a model's steps, the kernels alone, and starting.

    python scripts/bench/bench.py model -m model.gguf [--json]        as `softllama bench`
    python scripts/bench/bench.py model --shape qwen3-0.6b [--mix Q4_K_M] [--out FILE]
    python scripts/bench/bench.py kernels [--threads 2]               mixing a whole vocabulary: GB/s, and the output layer
    python scripts/bench/bench.py types                               mixing by type of table, one thread, processor time
    python scripts/bench/bench.py start                               from the shell to --help and to a probe

Everything is interleaved; medians, with the least and the largest. Nothing here is asserted by a test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `scripts` and `tests` are packages there


TYPES = (
    *("Q5_0", "Q5_1", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4", "Q8_0", "F16"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS", "IQ3_S"),
)
SIZES = (("Q6_K", 151_936, 1024), ("Q8_0", 131_072, 2048), ("F16", 131_072, 2048))


def model(a: argparse.Namespace) -> None:
    """The CLI's benchmark on a model, or on one of a shape that is written for it."""
    from softllama.cli import main

    with tempfile.TemporaryDirectory() as folder:
        path = a.model
        if a.shape:
            from scripts.bench.shape_model import write

            path = str(a.out or Path(folder, "shape.gguf"))
            print(f"writing {a.shape}, {a.mix}, random weights, entropy about {a.entropy} nats", file=sys.stderr)
            write(Path(path), a.shape, a.mix, a.entropy)
        rest = ["--json"] if a.json else []
        main(["bench", *(["-m", path] if path else []), *a.rest, *rest])


def output_layer(kind: str, n_vocab: int, n_embd: int, threads: int, folder: str) -> list[Any]:
    """[a function that gives the seconds of the output layer of a model with this table], and what keeps it alive."""
    import softllama as sl
    from scripts.bench import shape_model

    shape = shape_model.Shape("llama", 1, n_embd, n_embd // 64, n_embd // 128, 64, 256, n_vocab, 1e4)
    shape_model.SHAPES["table"] = shape
    loaded = sl.load(shape_model.write(Path(folder, f"{kind}.gguf"), "table", kind), n_threads=threads)
    context = loaded.new_context(4096)
    position = [0]

    def run() -> float:
        seconds = []
        for want in (True, False):
            start = time.perf_counter()
            context.decode([0], [position[0]], [want], tokens=[1])
            seconds.append(time.perf_counter() - start)
            position[0] += 1
        return seconds[0] - seconds[1]

    return [run, loaded]


def kernels(a: argparse.Namespace) -> None:
    """Whole-vocabulary mixing beside the machine's copy bandwidth and the model's own output layer."""
    from softllama.diagnostics import bench, machine
    from softllama.vectors import kernels as k
    from softllama.vectors import native

    found: dict[str, Any] = {"isa": native.isa_name(), "threads": a.threads}
    with tempfile.TemporaryDirectory() as folder:
        for kind, n_vocab, n_embd in SIZES:
            output, loaded = output_layer(kind, n_vocab, n_embd, a.threads, folder)
            rows = loaded.table._rows
            ids = np.arange(n_vocab, dtype=np.int32)
            weights = np.random.default_rng(0).dirichlet(np.ones(n_vocab)).astype(np.float32)
            out = np.empty((1, n_embd), dtype=np.float32)
            times: dict[str, list[float]] = {"mixing": [], "output layer": [], "copy": []}
            for _ in range(a.repeat):
                start = time.perf_counter()
                k.mix(rows, (0, n_vocab), ids, weights, out, 1.0, a.threads)
                times["mixing"].append(time.perf_counter() - start)
                times["output layer"].append(output())
                times["copy"].append(rows.data.nbytes / machine.copy_bandwidth(a.threads, repeat=1)[0])
            ratios = {
                "GB/s read": rows.data.nbytes / np.array(times["mixing"]) / 1e9,
                "GB/s copied": rows.data.nbytes / np.array(times["copy"]) / 1e9,
                "of copy bandwidth": np.array(times["copy"]) / np.array(times["mixing"]),
                "mixing / output layer": np.array(times["mixing"]) / np.array(times["output layer"]),
            }
            spreads = {n: bench.spread(v) for n, v in (times | {n: v.tolist() for n, v in ratios.items()}).items()}
            found[f"{kind} {n_vocab} x {n_embd}"] = spreads
            if not a.json:
                print(f"{kind} {n_vocab} x {n_embd}, {a.threads} threads, {native.isa_name()}")
                for name, s in spreads.items():
                    unit = 1e3 if name in times else 1
                    print(f"  {name:24} {unit * s['median']:9.2f}   {unit * s['min']:.2f} to {unit * s['max']:.2f}")
            loaded.close()
    if a.json:
        print(json.dumps(found, indent=2))


def types(a: argparse.Namespace) -> None:
    """Mixing all rows, 95 % and 61 % of them, of a table of 151,936 rows: milliseconds of one thread's processor time."""
    import gguf

    from softllama.diagnostics import bench
    from softllama.llama import bindings
    from softllama.vectors import kernels as k
    from tests.support import tiny

    r, n, found = np.random.default_rng(0), 151_936, {}
    supports = {s: np.sort(r.choice(n, n * s // 100, replace=False)).astype(np.int32) for s in (100, 95, 61)}
    weights = {s: r.dirichlet(np.ones(len(ids))).astype(np.float32) for s, ids in supports.items()}
    for kind in TYPES:
        number = gguf.GGMLQuantizationType[kind]
        n_embd = 896 if gguf.GGML_QUANT_SIZES[number][0] <= 32 else 1024
        some = tiny.quantize(r.standard_normal((512, n_embd)).astype(np.float32), kind).view(np.uint8).reshape(512, -1)
        t, out = bindings.table_type(number.value), np.empty((1, n_embd), dtype=np.float32)
        rows = k.Rows(some[np.arange(n) % 512], n_embd, t.block, t.to_float, number.value)
        times: dict[int, list[float]] = {s: [] for s in supports}
        for _ in range(a.repeat):
            for s, ids in supports.items():
                begin = time.thread_time()
                k.mix(rows, (0, len(ids)), ids, weights[s], out)
                times[s].append(1000 * (time.thread_time() - begin))
        found[kind] = {f"{s} %": bench.spread(v) for s, v in times.items()}
        if not a.json:
            text = "   ".join(
                f"{s:>5} {v['median']:7.2f} [{v['min']:.2f}, {v['max']:.2f}]" for s, v in found[kind].items()
            )
            print(f"{kind:7} {n_embd:5}   {text}", flush=True)
    if a.json:
        print(json.dumps(found, indent=2))


def start(a: argparse.Namespace) -> None:
    """Milliseconds from the shell."""
    from softllama.diagnostics import bench

    python = [sys.executable]
    commands = {
        "python -c pass": [*python, "-c", "pass"],
        "import llama_cpp": [*python, "-c", "import llama_cpp"],
        "softllama --help": [*python, "-m", "softllama", "--help"],
        "softllama probe": [*python, "-m", "softllama", "probe", "--mix", "dog:0.5,cat:0.5", "-q"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(a.repeat):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=os.environ)
            times[name].append(1000 * (time.perf_counter() - begin))
    spreads = {name: bench.spread(v) for name, v in times.items()}
    if a.json:
        print(json.dumps(spreads, indent=2))
        return
    for name, s in spreads.items():
        print(f"{name:20} {s['median']:7.0f} ms   {s['min']:.0f} to {s['max']:.0f}")


def main() -> None:
    from scripts.bench.shape_model import SHAPES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = parser.add_subparsers(required=True)
    p = sub.add_parser("model", help="a model's steps; further options go to `softllama bench`")
    p.add_argument("-m", "--model")
    p.add_argument("--shape", choices=SHAPES)
    p.add_argument("--mix", default="Q4_K_M")
    p.add_argument("--entropy", type=float, default=2.0)
    p.add_argument("--out", type=Path)
    p.set_defaults(run=model)
    for name, run in (("kernels", kernels), ("types", types), ("start", start)):
        p = sub.add_parser(name, help=run.__doc__)
        p.add_argument("--threads", type=int, default=2)
        p.add_argument("--repeat", type=int, default=11)
        p.set_defaults(run=run)
    for p in sub.choices.values():
        p.add_argument("--json", action="store_true")
    a, rest = parser.parse_known_args()
    if rest and a.run is not model:
        parser.error(f"unknown: {' '.join(rest)}")
    a.rest = rest
    a.run(a)


if __name__ == "__main__":
    main()
