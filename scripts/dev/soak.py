"""Very long runs: many steps, streams, forks, sessions, chats and searches, and the memory that the process takes.

    python scripts/dev/soak.py --steps 20000           a line for each kind of work; exits with 1 if any of them grows

Each kind of work is done in rounds. The first half warms up; growth is what the resident memory gains from there to the
end, per step. An allocator takes a megabyte or two at once, which is a hundred bytes for each of 10,000 steps; a step that
was forgotten would be a thousand or more. A run's own record grows by design, so it is let go after each round.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import softllama as sl

POLICIES = ("greedy", "full", "soft_thinking:tau=0", "gumbel", "moi", "swir", "multiplex", "soft_noise", "hidden")


def resident() -> int:
    """Bytes of memory that the process holds now."""
    gc.collect()
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:  # only the most there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def works(model: sl.Model) -> dict[str, Callable[[int], int]]:
    """Name -> a function that works once, with a seed, and returns the steps that it took."""
    endless = {"max_tokens": 100, "where": "everywhere"}

    def generate(policy: str) -> Callable[[int], int]:
        return lambda i: len(model.generate("Once upon a time", chat=False, policy=policy, seed=i, **endless).steps)

    def stream(i: int) -> int:
        return sum(1 for _ in model.stream("The dog", policy="full", seed=i, **endless))

    def samples(i: int) -> int:
        found = sl.search.sample(model, "The dog", 8, policy="gumbel", seed=i, **endless)
        return sum(len(t.steps) for t in found.traces)

    def beams(i: int) -> int:
        return sl.search.beam(model, "The dog", beams=4, max_tokens=25).cost.tokens

    def sessions(i: int) -> int:
        n = 0
        for _ in range(4):
            with model.session(64) as s:
                s.feed(model.tokenize("The dog"))
                s.feed(sl.Mixture([5 + i % 9, 20], [0.5, 0.5]))
                n += s.position
        return n

    held = model.session()
    held.feed(model.tokenize("Once"))

    def forks(i: int) -> int:
        with held.fork() as a, a.fork() as b:
            for s in (a, b):
                for token in range(10):
                    s.feed(token + 5)
        return 20

    def back_and_forth(i: int) -> int:
        for token in range(40):
            held.feed(sl.Mixture([token + 5, 60], [0.5, 0.5]))
        held.truncate(1)
        return 40

    def to_the_end(i: int) -> int:
        """The context is full: the generation ends and says so."""
        trace = model.generate("Once", policy="sample", seed=i, max_tokens=10**6, where="everywhere", stop=["\ue000"])
        return len(trace.steps)

    def models(i: int) -> int:
        with sl.load() as other, other.session(64) as s:
            s.feed([5, 6, 7])
        return 3

    def probes(i: int) -> int:
        model.probe("The {} says", mix="dog:0.5,cat:0.5", sweep=9, continue_tokens=5)
        return 14

    talk = sl.Conversation(model, seed=1, max_tokens=40)

    def chat(i: int) -> int:
        """The oldest turns are left out when the context is full; messages and traces of the last 20 are kept here."""
        n = len(talk.reply(("Who is bigger, the dog or the cat?", "And the cow?")[i % 2]).steps)
        while len(talk.messages) > 40:
            del talk.messages[:2]
        return n

    done: dict[str, Callable[[int], int]] = {f"generate {p}": generate(p) for p in POLICIES}
    return done | {
        "stream full": stream, "8 samples": samples, "4 beams": beams, "sessions": sessions, "forks": forks,
        "feed, truncate": back_and_forth, "until full": to_the_end, "load, close": models, "probes": probes, "chat": chat,
    }  # fmt: skip


def soak(name: str, work: Callable[[int], int], steps: int) -> float:
    """Work for so many steps; returns the growth in bytes for each step of the second half."""
    done, i, began = 0, 0, time.perf_counter()
    seen: list[tuple[int, int]] = []
    while done < steps or len(seen) < 2:
        done, i = done + max(1, work(i)), i + 1
        if done >= steps * (1 + len(seen)) / 4:
            seen.append((done, resident()))
    half = seen[(len(seen) - 1) // 2]
    growth = (seen[-1][1] - half[1]) / max(1, seen[-1][0] - half[0])
    sizes = " ".join(f"{size / 2**20:7.1f}" for _, size in seen[:4])
    rate = done / (time.perf_counter() - began)
    print(f"{name:28} {done:7} steps {sizes} MiB {growth:8.1f} bytes/step {rate:8.0f} steps/s", flush=True)
    return growth


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20000, help="of each kind of work")
    parser.add_argument("--only", help="kinds whose name has this in it")
    parser.add_argument("-m", "--model")
    parser.add_argument("--most", type=float, default=300, help="bytes that a step may leave behind")
    given = parser.parse_args()
    os.environ.setdefault("SOFTLLAMA_STATE", "/nonexistent")
    loaded = sl.load(given.model)
    started = resident()
    grown = {}
    for kind, function in works(loaded).items():
        if given.only is None or given.only in kind:
            grown[kind] = soak(kind, function, given.steps)
    print(f"resident: {started / 2**20:.1f} MiB at the start, {resident() / 2**20:.1f} MiB at the end")
    too_much = [kind for kind, g in grown.items() if g > given.most]
    print(f"grown by more than {given.most:g} bytes a step: {', '.join(too_much) or 'none'}")
    sys.exit(bool(too_much))
