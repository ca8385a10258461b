"""All that is to be measured of soft decoding on a GPU, in one run with a limit of time; without one it is a dry run.

    python scripts/bench/bench_gpu.py --models qwen3-0.6b.gguf,8b.gguf [--seconds 500] [--out gpu.json] [--n-gpu-layers N]

In this order, each with what is left of the time: `doctor` for exactness; tokens against one-hot rows over architectures and
adapters of tests/support (what needs a GPU's tolerance is reported, not judged); `bench` of greedy and soft steps and their
parts, and of 1, 8 and 32 streams beside hard ones. "waits" is what a soft step spends outside llama.cpp's call, part by part.
Writes JSON after each part, so that a run that is cut off leaves what it has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ("greedy", "soft_thinking:n=10", "full:epsilon=1e-4")
ARCHITECTURES = """
import json, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import softllama as sl
from softllama.vectors.mixture import Mixture
from tests.support import tiny
layers = None if sys.argv[2] == "all" else int(sys.argv[2])
ids, out = [3, 17, 5, 40, 8], {}
with tempfile.TemporaryDirectory() as folder:
    for arch in sorted(tiny.ARCHS):
        try:
            path = tiny.write_model(Path(folder) / f"{arch}.gguf", arch)
            with sl.load(path, n_gpu_layers=layers) as m, m.session(64) as a, m.session(64) as b:
                x, y = a.feed(ids).logits, b.feed([Mixture.one_hot(i) for i in ids]).logits
                out[arch] = {"difference": float(np.abs(x - y).max()), "largest": float(np.abs(x).max()), "device": m.device}
        except sl.SoftLlamaError as e:
            out[arch] = {"refused": e.message}
print(json.dumps(out))
"""


class Run:
    """Commands with what is left of a limit of time; their results in a file."""

    def __init__(self, seconds: float, out: Path) -> None:
        self._end, self._out = time.monotonic() + seconds, out
        self.results: dict[str, Any] = {}

    def part(self, name: str, command: list[str]) -> None:
        """Run a command that prints JSON, and keep it under a name, with how long it took."""
        left, start = self._end - time.monotonic(), time.monotonic()
        result: dict[str, Any]
        if left < 5:
            result = {"left out": "no time was left"}
        else:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=left, cwd=ROOT)
                result = {"result": json.loads(done.stdout)} if done.stdout.strip() else {"failed": done.stderr[-2000:]}
            except subprocess.TimeoutExpired:
                result = {"left out": f"not done in {left:.0f} s"}
            except ValueError:
                result = {"failed": (done.stdout + done.stderr)[-2000:]}
        self.results[name] = {"seconds": round(time.monotonic() - start, 1), **result}
        self._out.write_text(json.dumps(self.results, indent=1))
        print(f"{name}: {', '.join(k for k in result)} in {self.results[name]['seconds']} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="")
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--n-gpu-layers", default="all")
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    a = parser.parse_args()
    run = Run(a.seconds, a.out)
    on = [] if a.n_gpu_layers == "all" else ["--n-gpu-layers", a.n_gpu_layers]
    softllama = [sys.executable, "-m", "softllama"]
    models = [[] if not m else ["-m", m] for m in a.models.split(",")]
    for m in models:
        run.part(f"doctor {''.join(m[1:]) or 'bundled'}", [*softllama, "doctor", *m, *on, "--json", "-q"])
    run.part("architectures", [sys.executable, "-c", ARCHITECTURES, str(ROOT), a.n_gpu_layers])
    policies = [x for p in POLICIES for x in ("--policy", p)]
    size = ["--steps", str(a.steps), "--repeat", str(a.repeat), "--streams", a.streams]
    for m in models:
        run.part(
            f"bench {''.join(m[1:]) or 'bundled'}", [*softllama, "bench", *m, *on, *policies, *size, "--json", "-q"]
        )


if __name__ == "__main__":
    main()
