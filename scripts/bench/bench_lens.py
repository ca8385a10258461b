"""What reading the layers along a generation costs, and finding the nearest tokens: CPU time, with one thread.

    python scripts/bench/bench_lens.py MODEL.gguf [--steps 48] [--rounds 5]

A lens that is off is the generation without it: no callback is installed. "on, nothing read" is the callback alone. The ways
take turns, and the median of the rounds is shown, so that a busy machine matters little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import softllama as sl

WAYS = {"off": None, "on, nothing read": 10**6, "every:4": 4, "every:1": 1}


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    with sl.load(a.model, n_threads=1) as model:

        def generate(lens: int | None) -> object:
            options: dict[str, object] = {} if lens is None else {"lens": lens}
            return model.generate("Once upon a time", chat=False, policy="greedy", max_tokens=a.steps, **options)  # type: ignore[arg-type]

        generate(None)
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(a.rounds):
            for name, lens in WAYS.items():
                times[name].append(seconds(lambda lens=lens: generate(lens)))  # type: ignore[misc]
        for name, values in times.items():
            print(f"lens {name:<16} {1e3 * statistics.median(values) / a.steps:7.2f} ms a step")
        word = model.embed(model.n_vocab // 2)
        nearest = statistics.median(seconds(lambda: model.nearest(word, 10)) for _ in range(a.rounds))
        print(
            f"nearest of {model.n_vocab:,} rows of {model.n_embd} ({model.table.quantization}): {1e3 * nearest:.0f} ms"
        )


if __name__ == "__main__":
    main()
