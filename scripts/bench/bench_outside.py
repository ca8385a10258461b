"""What a step takes outside llama.cpp, here and in another checkout, in turns: processor time of the thread that calls llama.cpp.

    python scripts/bench/bench_outside.py model.gguf --against ../main [--policy greedy] [--rounds 5] [--steps 32] [--json]

Each turn is a process of its own. A step's time outside is all of it but llama.cpp's decode, with the policy in it and the record.
Medians, with the quartiles of all steps; and the tenth, which says most on a busy machine. `softllama bench` has the parts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
POLICIES = ("greedy", "sample", "soft_thinking:n=10", "gumbel", "route", "full:epsilon=1e-4")


def measure(path: str, policies: list[str], steps: int, n_threads: int | None) -> dict[str, list[float]]:
    """Microseconds outside llama.cpp of each step, by policy. Uses only what earlier versions have, too."""
    import softllama as sl
    from softllama.diagnostics.bench import generation
    from softllama.generation import loop
    from softllama.llama.bindings import api

    model, clock = sl.load(path, n_threads=n_threads), time.thread_time
    model.pace = None
    decode, inside = api.llama_decode, [0.0]

    def timed(context: Any, batch: Any) -> Any:
        start = clock()
        code = decode(context, batch)
        api.llama_synchronize(context)
        inside[0] += clock() - start
        return code

    api.llama_decode = timed
    results: dict[str, list[float]] = {}
    for policy in policies:
        g, marks = generation(model, policy, [1, 2, 3, 4], steps + 1), []
        for _ in loop.run(model, [g], n_ctx=steps + 5):
            marks.append(clock() - inside[0])
        results[policy] = [1e6 * (b - a) for a, b in itertools.pairwise(marks)]
    return results


def turn(checkout: Path, a: argparse.Namespace) -> dict[str, list[float]]:
    """`measure` in a process that imports this checkout's softllama."""
    command = [sys.executable, __file__, a.model, "--measure", "--steps", str(a.steps)]
    command += [x for p in a.policy for x in ("--policy", p)]
    command += [] if a.n_threads is None else ["--n-threads", str(a.n_threads)]
    run = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=checkout, capture_output=True, text=True
    )
    if run.returncode:
        sys.exit(run.stderr)
    found: dict[str, list[float]] = json.loads(run.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--against", type=Path, help="another checkout, with its C module built")
    parser.add_argument("--policy", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--n-threads", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.model.endswith(".gguf"):
        a.model = str(Path(a.model).resolve())
    a.policy = a.policy or list(POLICIES)
    if a.measure:
        print(json.dumps(measure(a.model, a.policy, a.steps, a.n_threads)))
        return
    checkouts = {"here": HERE, **({"against": a.against.resolve()} if a.against else {})}
    times: dict[str, dict[str, list[float]]] = {name: {p: [] for p in a.policy} for name in checkouts}
    for _ in range(a.rounds):
        for name, checkout in checkouts.items():
            for policy, values in turn(checkout, a).items():
                times[name][policy] += values
    if a.json:
        print(json.dumps(times))
        return
    for policy in a.policy:
        for name in checkouts:
            v = times[name][policy]
            q1, middle, q3 = statistics.quantiles(v, n=4)
            print(
                f"{policy:20} {name:8} {middle:6.0f} µs [{q1:.0f}, {q3:.0f}]   tenth {statistics.quantiles(v, n=10)[0]:.0f}"
            )


if __name__ == "__main__":
    main()
