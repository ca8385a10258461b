"""How long a probe takes from the shell, where the time goes, and what a 101-point sweep costs beside one probe.

    python scripts/bench/bench_probe.py -m model.gguf [--prompt TEXT] [--mix MIX] [--repeat 11]

Prints medians and the range over repetitions. Runs are interleaved, so that a noisy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import softllama as sl


def shell(arguments: list[str]) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model")
    parser.add_argument("--prompt", default="The {} says")
    parser.add_argument("--mix", default="dog:0.5,cat:0.5")
    parser.add_argument("--split")
    parser.add_argument("--repeat", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    python = [sys.executable, "-c"]
    named = ["-m", a.model] if a.model else []
    split = ["--split", a.split] if a.split else []
    command = [sys.executable, "-m", "softllama", "probe", *named, "--mix", a.mix, "--prompt", a.prompt, *split]
    model = sl.load(a.model)
    runs = {
        "shell: python -c pass": lambda: shell([*python, "pass"]),
        "shell: softllama --help": lambda: shell([sys.executable, "-m", "softllama", "--help"]),
        "shell: import llama_cpp": lambda: shell([*python, "import llama_cpp"]),
        "shell: softllama probe": lambda: shell(command),
        "shell: softllama probe --sweep 101": lambda: shell([*command, "--sweep", "101"]),
        "python: model.probe": lambda: clock(lambda: model.probe(a.prompt, a.mix, split=a.split)),
        "python: model.probe(sweep=101)": lambda: clock(lambda: model.probe(a.prompt, a.mix, split=a.split, sweep=101)),
        "python: sl.load": lambda: clock(lambda: sl.load(a.model)),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(a.repeat):
        for name, run in runs.items():
            times[name].append(run())
    medians = {name: statistics.median(t) for name, t in times.items()}
    ratios = {
        "sweep of 101 points / one probe, from the shell": medians["shell: softllama probe --sweep 101"]
        / medians["shell: softllama probe"],
        "sweep of 101 points / one probe, in Python": medians["python: model.probe(sweep=101)"]
        / medians["python: model.probe"],
    }
    if a.json:
        print(json.dumps({"times": times, "ratios": ratios}))
        return
    for name, t in times.items():
        print(f"{name:36} {1000 * medians[name]:8.1f} ms   ({1000 * min(t):.1f} to {1000 * max(t):.1f})")
    for name, r in ratios.items():
        print(f"{name:48} {r:.2f}")


def clock(f: object) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    f()  # type: ignore[operator]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
