"""What may change logits although seed, model and prompt stay the same, measured.

    python scripts/dev/determinism.py                  the bundled models and tiny ones of several table types
    python scripts/dev/determinism.py -m model.gguf    others; may be repeated

Prints a markdown table of the largest absolute difference of a logit over all positions of one sequence of mixtures and
tokens, beside the spread (standard deviation) of the logits. The memory of the sequence is F16, as always here. The
columns: the same again in this process, and in another one; two threads for one; batches of 64, of 8 and of one position
for one batch of all; eight sequences side by side for the same alone, a position at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import softllama as sl

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `scripts` and `tests` are packages there


LENGTH = 160
ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("again", "other process", "2 threads", "n_batch 64", "n_batch 8", "n_batch 1", "8 streams")
F32 = NDArray[np.float32]


def items(model: sl.Model, seed: int, n: int = LENGTH) -> list[int | sl.Mixture]:
    """Mixtures of two to ten tokens, and tokens, by turns."""
    rng = np.random.default_rng(seed)
    found: list[int | sl.Mixture] = []
    for i in range(n):
        k = int(rng.integers(2, 11)) if i % 2 else 1
        ids = np.sort(rng.choice(model.n_vocab, k, replace=False))
        w = rng.dirichlet(np.ones(k))
        found.append(sl.Mixture(ids, w / w.sum()) if k > 1 else int(ids[0]))
    return found


def logits(model: sl.Model, sequence: list[Any], n_batch: int = 512, streams: int = 1, n_threads: int = 1) -> F32:
    """(len(sequence), n_vocab) after each item, of the first of `streams` sequences; the others hold something else."""
    model.n_threads = n_threads
    others = [items(model, 100 + i, len(sequence)) for i in range(streams - 1)]
    rows = [sequence, *others]
    n = len(sequence)
    out = []
    context = model.new_context(n * streams, streams, n_batch=max(n_batch, streams), n_outputs=max(n_batch, streams))
    try:
        for start in range(0, n, n_batch):
            part = [x for row in rows for x in row[start : start + n_batch]]
            m = len(part) // streams
            seqs, positions = np.repeat(np.arange(streams), m), np.tile(np.arange(start, start + m), streams)
            out.append(context.decode(seqs, positions, seqs == 0, rows=model.rows(part)))
    finally:
        context.close()
    return np.concatenate(out)


def differences(path: str) -> dict[str, float]:
    """The largest difference for each column, the spread, and how many of the likeliest tokens changed at worst."""
    with sl.load(path, n_threads=1) as model:
        sequence = items(model, 0, min(LENGTH, model.n_ctx_limit))
        base = logits(model, sequence)
        stepwise = logits(model, sequence, n_batch=1)
        code = "import sys; from scripts.dev.determinism import digest; print(digest(sys.argv[1]))"
        other = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.strip()
        found = {
            "again": logits(model, sequence) - base,
            "2 threads": logits(model, sequence, n_threads=2) - base,
            "n_batch 64": logits(model, sequence, n_batch=64) - base,
            "n_batch 8": logits(model, sequence, n_batch=8) - base,
            "n_batch 1": stepwise - base,
            "8 streams": logits(model, sequence, n_batch=1, streams=8) - stepwise,
        }
        worst = {k: float(np.abs(v).max()) for k, v in found.items()}
        worst["other process"] = 0.0 if other == _digest(base) else float("nan")
        worst["spread"] = float(base.std())
        order = stepwise.argmax(axis=1) != base.argmax(axis=1)
        return worst | {"changed": float(order.mean())}


def _digest(z: F32) -> str:
    return hashlib.sha256(z.tobytes()).hexdigest()


def digest(path: str) -> str:
    """Of the base's bytes."""
    with sl.load(path, n_threads=1) as model:
        return _digest(logits(model, items(model, 0, min(LENGTH, model.n_ctx_limit))))


def row(name: str, d: dict[str, float]) -> str:
    def cell(x: float) -> str:
        return "0" if x == 0 else "differs" if np.isnan(x) else f"{x:.1e}"

    return (
        f"| {name} | {d['spread']:.2f} | "
        + " | ".join(cell(d[c]) for c in COLUMNS)
        + f" | {100 * d['changed']:.1f} % |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append", metavar="FILE", help="instead of the usual ones")
    given = parser.parse_args()
    print(f"| model | spread | {' | '.join(COLUMNS)} | likeliest token changed, n_batch 1 |")
    print("|---|---|" + "---|" * (len(COLUMNS) + 1))
    with tempfile.TemporaryDirectory() as folder:
        models = [(Path(m).name, m) for m in given.model or ()]
        if not models:
            from tests.support import tiny

            names = sorted(p.stem for p in (ROOT / "softllama" / "models").glob("*.gguf"))
            models = [(f"bundled:{n}", f"bundled:{n}") for n in names]
            for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"):
                path = tiny.write_model(Path(folder) / f"{kind}.gguf", "llama", table_type=kind)
                models.append((f"tiny llama, {kind} table", str(path)))
            for arch in ("gemma3", "qwen2vl", "mamba", "lfm2", "qwen35"):
                models.append((f"tiny {arch}, F32", str(tiny.write_model(Path(folder) / f"{arch}.gguf", arch))))
        for name, path in models:
            print(row(name, differences(path)), flush=True)


if __name__ == "__main__":
    main()
