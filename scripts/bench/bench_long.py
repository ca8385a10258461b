"""What grows with the length of a context: steps, prompts and turns of a chat at so many positions, beside llama.cpp's own loop.

    python scripts/bench/bench_long.py [-m model.gguf] [--positions 1024,8192,32768] [--policy soft_thinking:n=10]
        [--steps 32] [--cpu-time] [--json] [--cache-type q8_0] [--flash-attn off] [--no-chat]

For each length: milliseconds of a step of llama.cpp's greedy loop, and of ours; microseconds of a step that are spent outside
llama.cpp; the prompt's positions a second, by llama.cpp and by us; a chat's next turn, outside llama.cpp; bytes of the process
that are no file's. Positions beyond what the model was trained on cost the same as those before, and mean nothing.
--cpu-time counts processor time with one thread, for a machine that is busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import softllama as sl
from softllama.base.child import own_memory
from softllama.chat.conversation import Conversation
from softllama.diagnostics import llama_loop
from softllama.engine.engine import Engine
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.state import Generation
from softllama.llama.bindings import api
from softllama.policy import parse

Clock = Callable[[], float]


class Inside:
    """Seconds that are spent in llama_decode."""

    def __init__(self, clock: Clock) -> None:
        self.seconds = 0.0
        decode = api.llama_decode

        def timed(*a: Any) -> Any:
            start = clock()
            try:
                return decode(*a)
            finally:
                self.seconds += clock() - start

        api.llama_decode = timed


def steps(model: Engine, prompt: list[int], policy: str, n: int, clock: Clock, inside: Inside) -> dict[str, float]:
    """A generation after the prompt: seconds of a step, those outside llama.cpp, and of the prompt. Medians."""
    options = GenerationOptions(max_tokens=n + 1, stop=("no such text",), on_loop="warn")
    g = Generation(model, parse(policy), tuple(prompt), options, 1, eog=False)
    start, marks = clock(), []
    for _ in loop.run(model, [g], n_ctx=len(prompt) + n + 1):
        marks.append((clock(), inside.seconds))
    each = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
    return {
        "step": statistics.median(total for total, _ in each),
        "outside": statistics.median(total - within for total, within in each),
        "prompt": marks[0][0] - start,
    }


def plain(model: Engine, prompt: list[int], n: int, clock: Clock) -> dict[str, float]:
    """The same by llama.cpp alone, greedy."""
    start = clock()
    bare = llama_loop.Loop(model.new_context(len(prompt) + n + 1), prompt)
    middle = clock()
    try:
        return {"step": statistics.median(bare.run(1, clock) for _ in range(n)), "prompt": middle - start}
    finally:
        bare.close()


def turn(model: sl.Model, n_positions: int, policy: str, clock: Clock, inside: Inside) -> float:
    """Seconds outside llama.cpp of one more turn in a chat that holds about so many positions: 8 tokens are answered."""
    talk = Conversation(model, n_ctx=n_positions + 512, policy=policy, max_tokens=8, seed=1)
    per_word = len(model.tokenize(" dog" * 64)) / 64
    talk.reply("dog " * int(0.9 * n_positions / per_word))
    start, within = clock(), inside.seconds
    talk.reply("And now?")
    seconds = clock() - start - (inside.seconds - within)
    talk.cache.clear()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model")
    parser.add_argument("--positions", default="1024,8192,32768")
    parser.add_argument("--policy", default="soft_thinking:n=10")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--cache-type", default="f16")
    parser.add_argument("--flash-attn", default="auto")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--no-chat", action="store_true")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    lengths = [int(n) for n in a.positions.split(",")]
    clock = time.process_time if a.cpu_time else time.perf_counter
    model = sl.load(
        a.model,
        n_ctx=max(lengths) + 1024,
        n_threads=1 if a.cpu_time else None,
        cache_type_k=a.cache_type,
        cache_type_v=a.cache_type,
        flash_attn=a.flash_attn,
    )
    inside, rows = Inside(clock), []
    for n in lengths:
        words = model.tokenize("One day a dog and a cat went out to see what the world was like. ") or [1]
        prompt = (words * (n // len(words) + 1))[:n]
        before = own_memory()
        ours = steps(model, prompt, a.policy, a.steps, clock, inside)
        memory = own_memory()
        bare = plain(model, prompt, a.steps, clock)
        talk = None if a.no_chat else turn(model, n, a.policy, clock, inside)
        row = {
            "positions": n,
            "llama.cpp_step_ms": 1e3 * bare["step"],
            "step_ms": 1e3 * ours["step"],
            "ratio": ours["step"] / bare["step"],
            "outside_us": 1e6 * ours["outside"],
            "llama.cpp_prompt_per_s": n / bare["prompt"],
            "prompt_per_s": n / ours["prompt"],
            "turn_outside_ms": None if talk is None else 1e3 * talk,
            "own_mb": memory / 1e6,
            "before_mb": before / 1e6,
        }
        rows.append(row)
        if not a.json:
            print(*(f"{k} {v:,.4g}" if v is not None else f"{k} -" for k, v in row.items()), sep=", ", flush=True)
    if a.json:
        print(json.dumps({"model": model.name, "policy": a.policy, "clock": clock.__name__, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
