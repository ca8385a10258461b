"""What grows with the length of a context: steps, prompts and turns of a chat at so many positions, beside llama.cpp's own loop.

    python scripts/bench/bench_long.py [-m model.gguf] [--positions 1024,8192,32768] [--policy soft_thinking:n=10]
        [--steps 32] [--rounds 3] [--cpu-time] [--json] [--cache-type q8_0] [--flash-attn off] [--no-chat]

The beginning of each length is evaluated once, its first 4,096 positions that is, which are copied: what a memory holds plays no
part for time. What is timed goes on from there, llama.cpp's loop and ours in turn. For each length: milliseconds of a step of
llama.cpp's greedy loop, and the ratio of ours to it, as the median of pairs of four steps with its quartiles; microseconds of a
step that are spent outside llama.cpp; the last 1,024 positions of the prompt, positions a second, by llama.cpp and by us; a chat's
next turn, outside llama.cpp; bytes that two contexts of that length take, and one memory's own share.
Positions beyond what the model was trained on cost the same as those before, and mean nothing. --cpu-time counts processor time
with one thread, for a machine that is busy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import softllama as sl
from softllama.base.child import own_memory
from softllama.chat import messages
from softllama.chat.conversation import Conversation
from softllama.diagnostics import llama_loop
from softllama.engine.engine import Engine
from softllama.generation.feed import after_prompt
from softllama.generation.loop import Loop
from softllama.generation.options import GenerationOptions
from softllama.generation.state import Generation
from softllama.llama.bindings import api
from softllama.llama.context import Context
from softllama.policy import parse

Clock = Callable[[], float]
READ = 4096  # positions of a longer one that are evaluated; the others are copies of them
TAIL = 1024  # positions of the prompt that are timed
BLOCK = 4  # steps of the one loop, then of the other


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


def repeated(state: bytes, times: int) -> bytes | None:
    """A state with its positions several times over, as if so much had been read: what the cells hold plays no part for time.

    None where the state is not one of an ordinary memory, cell by cell: it is then taken apart wrongly.
    """
    head, n = struct.unpack_from("<12sI", state)
    at = 16 + 12 * n
    cells = b"".join(struct.pack("<iII", i, 1, 0) for i in range(n))  # position, one sequence, the first
    transposed, n_layer = struct.unpack_from("<II", state, at)
    if state[16:at] != cells or transposed or not 0 < n_layer < 1000:
        return None
    parts = [head, struct.pack("<I", n * times), b"".join(struct.pack("<iII", i, 1, 0) for i in range(n * times))]
    parts.append(state[at : at + 8])
    at += 8
    for _ in range(2 * n_layer):  # keys of all layers, then values
        (size,) = struct.unpack_from("<Q", state, at + 4)  # of a row, behind its type
        parts += [state[at : at + 12], state[at + 12 : at + 12 + n * size] * times]
        at += 12 + n * size
    return b"".join(parts) if at == len(state) else None


def filled(model: Engine, context: Context, prompt: list[int]) -> bytes:
    """Let the first sequence hold a prompt, or so much; returns its memory."""
    first = next((n for n in range(min(len(prompt), READ), 0, -1) if len(prompt) % n == 0), 1)
    if first < len(prompt) and first > TAIL:
        model.feed(context, 0, prompt[:first], 0, want=False)
        state = repeated(context.state(0), len(prompt) // first)
        context.cut(0, 0)
        if state is not None:
            context.restore(0, state)
            return state
    model.feed(context, 0, prompt, 0, want=False)
    return context.state(0)


def our_steps(model: Engine, loop: Loop, clock: Clock, inside: Inside) -> Iterator[tuple[float, float]]:
    """Seconds of each step of a loop, and those outside llama.cpp."""
    while True:
        start, within = clock(), inside.seconds
        for _ in loop.advance():
            pass
        loop.feed()
        total = clock() - start
        yield total, total - (inside.seconds - within)


def measure(
    model: Engine, prompt: list[int], policy: str, n_steps: int, rounds: int, clock: Clock, inside: Inside
) -> tuple[dict[str, Any], bytes]:
    """Steps and prompts after the beginning of a prompt, in turn, and in each of two contexts, as one may lie better in memory
    than the other; and the memory of all of it."""
    held, tail = prompt[:-TAIL], prompt[-TAIL:]
    cells = len(prompt) + n_steps + 2 * BLOCK
    before = own_memory()
    first, second = model.new_context(cells), model.new_context(cells)
    state = filled(model, first, held) if held else b""
    memory = own_memory() - len(state)
    if state:
        second.restore(0, state)
    prompts: list[tuple[float, float]] = []
    pairs: list[tuple[float, float]] = []
    outside: list[float] = []
    for ours, theirs in ((first, second), (second, first)):
        for _ in range(rounds):
            ours.cut(0, len(held))
            start = clock()
            again = llama_loop.Loop(ours, tail, len(held))
            middle = clock()
            ours.cut(0, len(held))
            logits = model.feed(ours, 0, tail, len(held))
            prompts.append((middle - start, clock() - middle))
            api.llama_batch_free(again.batch)
        theirs.cut(0, len(held))
        bare = llama_loop.Loop(theirs, tail, len(held))
        options = GenerationOptions(max_tokens=cells, stop=("no such text",), on_loop="warn")
        g = Generation(model, parse(policy), tuple(prompt), options, 1, eog=False)
        loop = Loop(model, ours, limit=cells)
        loop.join(g, 0, after_prompt(g, ours, logits, hidden=False))
        steps = our_steps(model, loop, clock, inside)
        for _ in range(max(1, n_steps // BLOCK // 2)):
            theirs_seconds = bare.run(BLOCK, clock)
            each = [next(steps) for _ in range(BLOCK)]
            pairs.append((theirs_seconds / BLOCK, sum(total for total, _ in each) / BLOCK))
            outside += [beyond for _, beyond in each]
        api.llama_batch_free(bare.batch)
    state = first.state(0)
    first.close()
    second.close()
    low, ratio, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    return {
        "positions": len(prompt),
        "llama.cpp_step_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "step_ms": 1e3 * statistics.median(b for _, b in pairs),
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "outside_us": 1e6 * statistics.median(outside),
        "llama.cpp_prompt_per_s": len(tail) / statistics.median(a for a, _ in prompts),
        "prompt_per_s": len(tail) / statistics.median(b for _, b in prompts),
        "prompt_ratio": statistics.median(b / a for a, b in prompts),
        "two_contexts_mb": (memory - before) / 1e6,
        "state_mb": len(state) / 1e6,
    }, state


def turn(model: sl.Model, state: bytes, n: int, policy: str, clock: Clock, inside: Inside) -> float:
    """Seconds outside llama.cpp of one more turn in a chat that holds about n positions: 8 tokens are answered.

    What the memory holds is not what the chat says, which plays no part for time.
    """
    talk = Conversation(model, n_ctx=n + 512, policy=policy, max_tokens=8, seed=1)
    per_word = len(model.tokenize(" dog" * 64)) / 64
    said = messages.user("dog " * int(0.9 * n / per_word), {})
    talk.messages = [said, messages.Message("assistant", "Yes.")]
    items = talk._fit([said])[0].items
    context = talk.cache._open(False)
    context.restore(0, state)
    context.cut(0, len(items))
    talk.cache.items = list(items)
    seconds = []
    for text in ("And now?", "And then?", "Why?"):
        start, within = clock(), inside.seconds
        talk.reply(text)
        seconds.append(clock() - start - (inside.seconds - within))
    talk.cache.clear()
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model")
    parser.add_argument("--positions", default="1024,8192,32768")
    parser.add_argument("--policy", default="soft_thinking:n=10")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
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
        row, state = measure(model, prompt, a.policy, a.steps, a.rounds, clock, inside)
        row["turn_outside_ms"] = None if a.no_chat else 1e3 * turn(model, state, n, a.policy, clock, inside)
        rows.append(row)
        if not a.json:
            print(*(f"{k} {v:,.4g}" if v is not None else f"{k} -" for k, v in row.items()), sep=", ", flush=True)
    if a.json:
        print(json.dumps({"model": model.name, "policy": a.policy, "clock": clock.__name__, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
